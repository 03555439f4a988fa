"""The two texts of the book belong together, and to the code: the same cells, places, headings; quotations have partners."""

import ast
import re

import pytest

from lessons.book import LANGUAGES, LESSONS
from lessons.book.cells import cells_of, phrases, skeleton, split, words_of
from lessons.book.notebooks import shown
from lessons.book.pages import Equation, Prose, Quote, names, path_of, read, without_checks
from lessons.book.quoting import quoted, source_of
from lessons.book.stating import states
from minilm import formulas
from minilm.errors import InputError

CHINESE = re.compile("[\u4e00-\u9fff]")
NAMES = names()
CHAPTERS = [name for name in NAMES if name[0].isdigit()]
PARTS = 7  # aims, picture, formula, …, exercises, further reading: a chapter has at least so many sections


def test_both_languages_have_the_same_pages():
    assert names("en") == names("zh")
    assert {"index", "install"} < set(NAMES)


def test_every_file_of_cells_has_its_page():
    assert sorted(path.name.partition(".")[0] for path in (LESSONS / "cells").glob("*.py")) == CHAPTERS
    assert {path.name.partition(".")[0] for path in (LESSONS / "cells").glob("*.toml")} <= set(CHAPTERS)


@pytest.mark.parametrize("name", NAMES)
def test_cells_labels_figures_and_headings_agree(name):
    english, chinese = (read(name, language) for language in LANGUAGES)
    kinds = [[type(part).__name__ for part in page.parts if not isinstance(part, Prose)] for page in (english, chinese)]
    assert kinds[0] == kinds[1]
    assert [run.cell.name for run in english.runs] == [run.cell.name for run in chinese.runs]
    assert [sorted(run.options) for run in english.runs] == [sorted(run.options) for run in chinese.runs]
    assert [run.options.get("label") for run in english.runs] == [run.options.get("label") for run in chinese.runs]
    assert english.labels == chinese.labels
    assert len(set(english.labels)) == len(english.labels)
    assert english.headings == chinese.headings
    quotes = [[(part.what, part.code) for part in page.parts if isinstance(part, Quote)] for page in (english, chinese)]
    assert quotes[0] == quotes[1]
    assert [part for part in english.parts if isinstance(part, Equation)] == [
        part for part in chinese.parts if isinstance(part, Equation)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_both_languages_state_the_same_numbers_formulas_and_links(name):
    english, chinese = (read(name, language) for language in LANGUAGES)
    checks = [
        sorted(check for part in page.parts if isinstance(part, Prose) for check in part.checks)
        for page in (english, chinese)
    ]
    assert checks[0] == checks[1]
    for pattern in (r"^\$\$ \((eq-[\w-]+)\)$", r"\]\((\w+)\.md\)"):
        found = [sorted(set(re.findall(pattern, page.source, re.MULTILINE))) for page in (english, chinese)]
        assert found[0] == found[1]
    for target in re.findall(r"\]\((\w+)\.md\)", english.source):
        assert path_of(target, "en").exists()


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_has_its_parts(name):
    for language in LANGUAGES:
        page = read(name, language)
        short = name.partition("_")[2]
        assert {f"{short}-{part}" for part in ("aims", "picture", "formula", "exercises", "further")} <= set(
            page.labels
        )
        assert page.headings.count(2) >= PARTS
        assert any(label.endswith(("mistake", "mistakes", "trap")) for label in page.labels)
        assert page.source.count(":::{solution}") >= 3
        assert any("caption" in run.options for run in page.runs)
        assert any(isinstance(part, Quote) for part in page.parts)


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_cell_is_used_once(name):
    assert sorted(run.cell.name for run in read(name, "en").runs) == sorted(cells_of(name))


@pytest.mark.parametrize("name", CHAPTERS)
def test_only_words_differ_between_the_cells(name):
    words, comments, strings = words_of(name), set(), set()
    for cell in cells_of(name).values():
        assert skeleton(cell.code) == skeleton(cells_of(name, "zh")[cell.name].code), cell.name
        ast.parse(cell.code)
        assert max(map(len, cell.code.splitlines())) <= 120
        found = phrases(cell.code)
        comments |= found[0]
        strings |= found[1]
    assert set(words) <= comments | strings, "words that no cell has"
    assert all(CHINESE.search(chinese) or "：" in chinese for chinese in words.values())
    untold = [comment for comment in comments - set(words) if re.search("[A-Za-z]{4}", comment)]
    assert untold == [], "comments without Chinese words"
    for english, chinese in words.items():  # what is computed inside a string stays the same
        assert sorted(re.findall(r"\{[^}]*\}", english)) == sorted(re.findall(r"\{[^}]*\}", chinese))


@pytest.mark.parametrize("name", NAMES)
def test_each_text_is_in_its_language(name):
    assert not CHINESE.search(read(name, "en").source.replace("中文", ""))
    chinese = read(name, "zh")
    assert CHINESE.search(chinese.title) or "GPT" in chinese.title
    for part in chinese.parts:
        if isinstance(part, Prose) and len(part.text) > 60 and not part.text.startswith("```"):
            assert CHINESE.search(part.text), part.text
    for run in chinese.runs:
        for option in ("caption", "alt"):
            assert option not in run.options or CHINESE.search(run.options[option])


@pytest.mark.parametrize("name", NAMES)
def test_tags_in_the_text_are_in_the_registry(name):
    known = {formula.name for family in formulas.all_formulas().values() for formula in family}
    for language in LANGUAGES:
        source = read(name, language).source
        asked = re.findall(r"minilm explain (\w[\w-]*)", source) + re.findall(r"\[eq:([\w-]+)\]", source)
        assert [each for each in asked if each not in known] == []
        for equation in (part for part in read(name, language).parts if isinstance(part, Equation)):
            assert equation.name in known


@pytest.mark.parametrize("name", NAMES)
def test_the_readers_notebook_has_no_sphinx_in_it(name):
    for language in LANGUAGES:
        page = read(name, language)
        for part in page.parts:
            if isinstance(part, Prose | Quote | Equation):
                text = shown(part, page, reader=True)
                assert not re.search(r"\{(n|check|ref|eq|numref)\}`|^:::|^\([\w-]+\)=$|^\$\$ \(", text, re.MULTILINE), (
                    text
                )


def test_a_formula_says_where_the_documents_have_it():
    assert source_of("weighted-sum", "en") == "F5 [004 §3.1] · `minilm explain weighted-sum`"
    assert source_of("unscaled-weights", "zh") == "文档中有误 · F4 [004 §3.1] · `minilm explain unscaled-weights --zh`"
    assert source_of("unbroadcast", "en") == "`minilm explain unbroadcast`"
    page = read("04_attention", "en")
    equation = next(part for part in page.parts if isinstance(part, Equation))
    for reader in (True, False):
        assert "F1 [000 §4.2" in shown(equation, page, reader)


def test_chinese_is_emphasized_by_dots_and_titles_are_slanted():
    page, text = read("04_attention", "zh"), Prose("输出*就是*权重，**头**见 *Deep Sets*，$a * b$ 与 $c * d$。")
    assert shown(text, page, reader=True) == text.text
    wanted = '输出<em class="zh">就是</em>权重，**头**见 *Deep Sets*，$a * b$ 与 $c * d$。'
    assert shown(text, page, reader=False) == wanted


def test_numbers_are_compared_to_their_last_digit():
    assert states("0.5329", 0.53286)
    assert states("1,024", 1024)
    assert states("37 %", 0.372)
    assert states("−2.7e-8", -2.68e-8)
    for said, value in (("0.5329", 0.5330), ("1,024", 1025), ("37 %", 0.38), ("2.7e-8", 2.8e-8), ("4", -4)):
        with pytest.raises(AssertionError, match="the code gives"):
            states(said, value)
    assert without_checks("so {n}`0.73 = y[0]`, and{check}`loss < 2` more") == "so 0.73, and more"


def test_what_has_no_partner_is_refused():
    with pytest.raises(InputError, match="no code carries the tag eq:atention"):
        quoted("atention")
    with pytest.raises(InputError, match=r"there is no gone in minilm\.tape"):
        quoted("minilm.tape:gone")
    with pytest.raises(InputError, match="two cells named 'a'"):
        split("# %% a\nx = 1\n# %% a\n", "cells.py")
    with pytest.raises(InputError, match="a cell begins with"):
        split("# %%a\n", "cells.py")
    assert skeleton('f(x, "a")') == skeleton('f(x, "b")  # other') != skeleton('f(y, "a")')


def test_a_page_with_an_unknown_cell_is_refused(tmp_path, monkeypatch):
    page = tmp_path / "en" / "01_x.md"
    page.parent.mkdir()
    monkeypatch.setattr("lessons.book.pages.LESSONS", tmp_path)
    for text, message in (
        ("```{cell} gone\n```\n", "line 1: there is no cell 'gone'"),
        ("# A\n\n```{quoted} attention\n:inside: x\n```\n", "line 4: ':inside: x' is no option of quoted"),
        ("```{formula} attention\n", "line 1: the fence is not closed"),
        ("```{formula} gone\n```\n", "line 1: there is no formula 'gone'"),
        ("```{cell}\n```\n", "lacks a name"),
    ):
        page.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            read("01_x", "en")
