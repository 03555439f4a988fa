"""The numbers in the text are what the cells give: cells and checks run here as plain Python, without Jupyter or Sphinx."""

import re

import pytest

from lessons.book.pages import Prose, Run, names, read
from lessons.book.stating import states
from minilm_kernels import use_kernels

CHAPTERS = [name for name in names() if name[0].isdigit()]
LONG = {"07_gpt", "12_kernels"}  # they train, or compile and measure


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in CHAPTERS]
)
def test_the_text_states_what_the_code_gives(name, capsys, monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    names_of_the_page = {"plt": plt, "states": states}
    with use_kernels("numba" if name in LONG else "reference"):
        for part in read(name, "en").parts:
            if isinstance(part, Run):
                exec(compile(part.cell.code, f"<cell {part.cell.name}>", "exec"), names_of_the_page)
            elif isinstance(part, Prose):
                for check in part.checks:
                    assert eval(check, names_of_the_page), f"{name}: {check}"


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_checks_numbers(name):
    checks = [check for part in read(name, "en").parts if isinstance(part, Prose) for check in part.checks]
    assert len(checks) >= 2
    assert all(re.search(r"[A-Za-z]", check) for check in checks)
