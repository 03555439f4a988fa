"""Tags, entries, tests and languages belong together: each has its partner."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from formula_numbers_more import ALL_RECOMPUTED

import minilm.formulas as formulas
from minilm import cli
from minilm.errors import InputError
from minilm.formulas.registry import by_name
from minilm.formulas.tags import excerpts, tidy
from minilm.formulas.writing import WIDTH, code_lines, width, wrapped

ROOT = Path(__file__).parents[2]
ENTRIES = [formula for family in formulas.all_formulas().values() for formula in family]
WRONG_NUMBERS = ["F4", "F6", "F8", "F9", "F10", "F11", "F12", "F13"]


def name_of(formula):
    return formula.name


def test_names_are_unique():
    assert len(by_name()) == len(ENTRIES)


def test_every_tag_has_an_entry():
    assert sorted(set(formulas.tagged_code()) - set(by_name())) == []


def test_every_entry_has_a_tag():
    assert sorted(set(by_name()) - set(formulas.tagged_code())) == []


@pytest.mark.parametrize("formula", ENTRIES, ids=name_of)
def test_every_entry_shows_code(formula):
    assert any(piece.code for piece in formulas.code_of(formula.name))


def test_every_right_entry_has_numbers_computed_twice():
    assert {formula.name for formula in ENTRIES if not formula.right} == set(ALL_RECOMPUTED)


@cache
def names_in(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("formula", ENTRIES, ids=name_of)
def test_every_named_test_is_there(formula):
    assert formula.tests
    for test in formula.tests:
        path, _, name = test.partition("::")
        assert (ROOT / path).is_file(), test
        assert name.startswith("test_"), test
        assert name in names_in(path), test


def test_all_formulas_of_the_documents_are_there():
    numbers = {number for formula in ENTRIES for number in formula.ids}
    assert numbers == {f"F{n}" for n in range(1, 19)}
    wrong = {formula.ids: formula for formula in ENTRIES if formula.right}
    assert sorted(wrong) == sorted((number,) for number in WRONG_NUMBERS)
    for number in WRONG_NUMBERS:  # two entries: the number leads to the one that is right, and this to the other
        right = formulas.find(number)
        assert not right.right
        assert wrong[number,] in formulas.documents_versions(right)
        assert wrong[number,].name in formulas.explain(right.name)
        assert wrong[number,].compare is not None


@pytest.mark.parametrize("formula", ENTRIES, ids=name_of)
def test_pages_fit_and_both_languages_have_the_same_numbers(formula):
    pages = {language: formulas.explain(formula.name, language, latex=True) for language in ("en", "zh")}
    for page in pages.values():
        assert [line for line in page.splitlines() if width(line) > WIDTH] == []
    numbers = {language: re.findall(r"-?\d+\.\d{4}", page) for language, page in pages.items()}
    assert numbers["en"] == numbers["zh"]
    assert re.search("[\u4e00-\u9fff]", pages["zh"])
    assert not re.search("[\u4e00-\u9fff]", pages["en"].replace("ab你好", ""))
    assert formula.latex.splitlines()[0] in pages["en"]


def test_the_list_has_every_entry_in_both_languages():
    for language in ("en", "zh"):
        page = formulas.overview(language)
        lines = page.splitlines()
        for formula in ENTRIES:
            assert any(line.startswith(f"  {formula.name} ") for line in lines)
        assert all(width(line) <= WIDTH for line in lines)


def test_names_are_found_in_any_spelling():
    assert formulas.find("Layer_Norm").name == "layer-norm"
    assert formulas.find("f1").name == "attention"
    assert formulas.find("F13").name == "self-attention"


def test_an_unknown_name_is_told_its_neighbours():
    with pytest.raises(InputError, match=r"there is no formula 'atention'; did you mean attention"):
        formulas.explain("atention")
    with pytest.raises(InputError, match=r"there is no formula 'xyzzy'; minilm explain lists all"):
        formulas.find("xyzzy")


def test_the_command(capsys):
    assert cli.main(["explain", "F1", "--zh"]) == 0
    assert capsys.readouterr().out == formulas.explain("attention", "zh") + "\n"
    assert cli.main(["explain", "rotary", "--latex"]) == 0
    assert capsys.readouterr().out == formulas.explain("rotary", latex=True) + "\n"
    assert cli.main(["explain"]) == 0
    assert capsys.readouterr().out == formulas.overview() + "\n"
    assert cli.main(["explain", "atention"]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert "there is no formula 'atention'; did you mean attention" in err


SOURCE = '''
def f(x):
    """y = 2 x.    [eq:double]

    x: a number.
    """
    a = x
    # [eq:sum]: (n,)
    y = a + x  # two of them  [eq:double]
    return y


def g(x):  # [eq:whole]
    """More."""
    return x


class C:
    """C.    [eq:class]"""

    def forward(self):
        return 1
'''


def test_what_a_tag_marks():
    found = {}
    for name, piece in excerpts("a.py", SOURCE):
        found.setdefault(name, []).append(piece)
    assert [(piece.code, piece.statement) for piece in found["sum"]] == [("# (n,)\ny = a + x  # two of them", True)]
    assert found["double"][0].code == "def f(x):\n    a = x\n    # (n,)\n    y = a + x  # two of them\n    return y"
    assert found["double"][1].code == "y = a + x  # two of them"
    assert found["whole"][0].code == "def g(x):\n    return x"
    assert found["class"][0].definition == "C.forward"
    assert found["class"][0].code == "def forward(self):\n    return 1"


def test_what_is_said_to_tools_is_not_shown():
    code = [
        "    def f(  # type: ignore[override]  # why",
        "        x",
        "    ):  # fmt: skip",
        "        y = x  # [eq:double]",
    ]
    assert tidy(code) == "def f(  # why\n    x\n):\n    y = x"


def test_a_long_comment_leaves_no_empty_line():
    lines = list(code_lines("    # " + "so many words " * 12 + "\n    return x", "  "))
    assert all(line.strip() for line in lines)
    assert lines[-1] == "      return x"


def test_long_lines_are_broken():
    lines = list(code_lines("    value = " + "some_function(argument), " * 8 + " # why", "  "))
    assert all(width(line) <= WIDTH for line in lines)
    assert "".join("".join(lines).split()).count("some_function(argument)") == 8
    assert all(width(line) <= WIDTH for line in wrapped("词" * 200 + "。", "  "))
    assert not any(line.lstrip().startswith("。") for line in wrapped("词" * 200 + "。", "  "))
