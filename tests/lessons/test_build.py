"""The command makes the book: every cell run, the site and the notebooks of both languages; and it says what is wrong.

The whole build is a slow test; it needs the extra `lessons`, and the network the first time (MathJax).
"""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest
from book_browser import can_look, look

from lessons import build
from lessons.book import LANGUAGES, ROOT, notebooks, running
from lessons.book.fonts import CHINESE
from lessons.book.pages import names
from lessons.book.site import check_links
from minilm.errors import InputError

MISSING = [name for name in build.NEEDED if find_spec(name) is None]
needs_lessons = pytest.mark.skipif(bool(MISSING), reason=f'pip install -e ".[lessons]" (missing: {", ".join(MISSING)})')


def test_a_chapter_is_found_by_its_number_and_by_its_name():
    assert build.pages_to_build(None) == names()
    assert [name for name in build.pages_to_build("3") if name[0].isdigit()] == ["03_autograd"]
    assert build.pages_to_build("03_autograd") == build.pages_to_build("03")
    with pytest.raises(InputError, match="there is no chapter 99; there are 03_autograd"):
        build.pages_to_build("99")


def test_what_is_missing_is_named(monkeypatch, capsys):
    monkeypatch.setattr(build, "NEEDED", ("a_package_that_is_not_there",))
    assert build.main(["--lang", "en"]) == 2
    assert (
        'the book needs a_package_that_is_not_there; install it: pip install -e ".[lessons]"' in capsys.readouterr().err
    )


def test_links_that_lead_nowhere_are_told(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#there">b</a><p id="here"></p>')
    (tmp_path / "b.html").write_text('<p id="there"></p><a href="a.html#here">a</a><a href="https://example.org">x</a>')
    assert check_links(tmp_path) == 2
    (tmp_path / "b.html").write_text(
        '<a href="c.html">c</a><a href="#gone">d</a><script src="https://cdn.example/x.js">'
    )
    with pytest.raises(InputError) as caught:
        check_links(tmp_path)
    for told in ("c.html, which is not there", "#gone: the page has no such place", "loads https://cdn.example/x.js"):
        assert told in str(caught.value)
    assert "a.html points at b.html#there: the page has no such place" in str(caught.value)


@needs_lessons
@pytest.mark.slow
def test_a_cell_that_fails_or_warns_fails_the_build(tmp_path):
    from nbformat import v4

    for code, told in (
        ("1 / 0", "ZeroDivisionError"),
        ("import warnings; warnings.warn('odd')", "'bad' warns"),
        ("print(1)", ""),
    ):
        notebook = v4.new_notebook(cells=[notebooks.code_cell(v4, code, "bad", ())])
        if told:
            with pytest.raises(InputError, match=told):
                running.run(notebook, "en/99_x", tmp_path, lambda what: None)
            assert list(tmp_path.iterdir()) == []
        else:
            assert not running.run(notebook, "en/99_x", tmp_path, lambda what: None).cached
            assert running.run(notebook, "en/99_x", tmp_path, lambda what: None).cached


@needs_lessons
@pytest.mark.slow
def test_the_whole_book(tmp_path):
    command = [sys.executable, "-m", "lessons.build", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for language in LANGUAGES:
        for name in names(language):
            page = (tmp_path / language / f"{name}.html").read_text(encoding="utf-8")
            other = "zh" if language == "en" else "en"
            assert f'href="../{other}/{name}.html"' in page
            if not name[0].isdigit():
                continue
            notebook = json.loads((tmp_path / language / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
            code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
            assert len(code) > 10
            assert all(cell["execution_count"] for cell in code)
            assert any("image/svg+xml" in output.get("data", {}) for cell in code for output in cell["outputs"])
            assert not any("states(" in "".join(cell["source"]) for cell in code)
            if language == "zh":
                assert CHINESE[0] in "".join(code[0]["source"])
    if can_look():
        assert look(tmp_path) == []
