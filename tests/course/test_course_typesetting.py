"""Formulas of a feedback page become MathML; everything else of the text stays as it is."""

import pytest

pytest.importorskip("nbgrader", reason='needs nbgrader: pip install -e ".[course]"')
pytest.importorskip("latex2mathml", reason='needs latex2mathml: pip install -e ".[course]"')

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lessons.course.sources import LANGUAGES, in_language, load, names
from lessons.course.typesetting import FormulasAsMathML, without_network


def typeset(text: str) -> str:
    return FormulasAsMathML().preprocess(new_notebook(cells=[new_markdown_cell(text)]), {})[0].cells[0].source


def test_formulas_are_set_and_code_is_not():
    made = typeset(r"Let $x_i * y * z$ be, and `cost = $5 or $6`: $$\frac{a}{b}$$")
    assert made.count("<math") == 2
    assert "<mfrac>" in made
    assert "`cost = $5 or $6`" in made
    assert "*" not in made.replace("&#42;", "")  # Markdown would take two of them for emphasis
    assert typeset(r"a student's $\frac{$ stays") == r"a student's $\frac{$ stays"
    code = new_notebook(cells=[new_code_cell("'$x$'")])
    assert FormulasAsMathML().preprocess(code, {})[0].cells[0].source == "'$x$'"


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_formula_of_an_assignment_can_be_set(name, language):
    for cell in in_language(load(name).cells, language):
        if cell.kind == "text":
            assert "$" not in typeset(cell.source)


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        "<p>一</p><!-- Load mathjax -->\n<script src='https://cdn.example/x.js'>\n<!-- End of mathjax configuration --><p>2",
        encoding="utf-8",
    )
    without_network(page)
    assert page.read_text(encoding="utf-8") == "<p>一</p><p>2"
