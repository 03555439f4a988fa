"""What is known of one formula: how it reads, what its letters are, where it stands, what proves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple


class Text(NamedTuple):
    """The same said in English and in Chinese."""

    en: str
    zh: str

    def said(self, language: str) -> str:
        """language: "en" or "zh"."""
        return self.zh if language == "zh" else self.en


class Letter(NamedTuple):
    """One letter of a formula: Letter("Q", "(T_q, d_k)", Text("the queries", "查询"))."""

    name: str
    shape: str
    meaning: Text


class Step(NamedTuple):
    """One line of a worked example.

    formula: "S = Q Kᵀ", or a letter alone for what is given. value: a number, an array, or a string.
    """

    formula: str
    value: Any
    words: Text | None = None

    @property
    def symbol(self) -> str:
        """What stands to the left of the equals sign."""
        return self.formula.split(" = ")[0]

    @property
    def given(self) -> bool:
        return " = " not in self.formula


@dataclass(frozen=True)
class Formula:
    """An entry of the registry. The code is no part of it: it is found by its tag, `eq:` and the name in brackets.

    formula: readable lines; latex: the same for a typesetter. idea: one or two sentences.
    documents: F-numbers (or "") and sections, such as ("F1", "000 §4.2, 001 §4.1"); papers: where the field has it.
    tests: "tests/.../test_x.py::test_y", from the root of the repository.
    example: makes the steps of a worked example.

    A formula that a document has wrong is an entry of its own, with right: the entry that is right, and compare: a function
    that gives what the document's version gives, and what is right. Its example is the counter-example.
    """

    name: str
    title: Text
    formula: str
    latex: str
    idea: Text
    letters: tuple[Letter, ...]
    example: Callable[[], list[Step]]
    tests: tuple[str, ...]
    documents: tuple[tuple[str, str], ...] = ()
    papers: tuple[str, ...] = ()
    right: str = ""
    compare: Callable[[], tuple[Any, Any]] | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """The F-numbers of the documents' formulas that this entry is about."""
        return tuple(number for number, _ in self.documents if number)
