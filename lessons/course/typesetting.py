"""In feedback, formulas are MathML, which browsers set by themselves: a page is one file and needs no network."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from nbgrader.preprocessors import NbGraderPreprocessor

from minilm.files import write_text

MATH = re.compile(r"(?P<code>`+[^`]*`+)|\$\$(?P<display>.+?)\$\$|\$(?P<inline>[^$\n]+?)\$", re.DOTALL)
MATHJAX = re.compile(r"<!-- Load mathjax -->.*?<!-- End of mathjax configuration -->", re.DOTALL)


class FormulasAsMathML(NbGraderPreprocessor):
    """Takes $LaTeX$ out of a notebook's text."""

    def preprocess_cell(self, cell: Any, resources: Any, cell_index: int) -> tuple[Any, Any]:
        if cell.cell_type == "markdown":
            cell.source = MATH.sub(mathml, cell.source)
        return cell, resources


def mathml(found: re.Match[str]) -> str:
    """What stands for a formula in Markdown. Code, and what a student wrote that is no formula, stays as it is."""
    from latex2mathml.converter import convert

    if found["code"]:
        return found[0]
    try:
        made = convert(found["display"] or found["inline"], display="block" if found["display"] else "inline")
    except Exception:  # whatever a student wrote
        return found[0]
    made = re.sub(r"&#(?!x0*(?:3C|3E|26);)\w+;", lambda entity: html.unescape(entity[0]), made)
    # signs that Markdown would take for its own
    return re.sub(r"(?<=>)([*_`\\])(?=<)", lambda sign: f"&#{ord(sign[0])};", made)


def without_network(page: Path) -> None:
    """Take MathJax, which nbgrader's pages load from elsewhere, out of a page."""
    write_text(page, MATHJAX.sub("", page.read_text(encoding="utf-8")))
