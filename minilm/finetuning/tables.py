"""Tables in Markdown whose columns are aligned, so that they can be read as they stand, in a terminal too."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any

import numpy as np

from minilm.finetuning.task import Table
from minilm.metrics import ConfusionMatrix

LONGEST = 200  # characters of a cell
MOST_CLASSES = 12  # a larger confusion matrix is told by what it confuses most
TO_A_HUNDRED = ("BLEU", "chrF")  # metrics that go to 100


def lines_of(table: Table, heading: str = "") -> Iterator[str]:
    """The lines of a table with its title; heading: what stands before the title, as in "## "."""
    cells = [[as_text(value) for value in row] for row in (table.header, *table.rows)]
    numeric = [all(isinstance(row[n], int | float | np.number) for row in table.rows) for n in range(len(table.header))]
    widths = [max(3, *(width(row[n]) for row in cells)) for n in range(len(table.header))]
    yield heading + table.title
    yield ""
    for n, row in enumerate(cells):
        yield "| " + " | ".join(padded(*column) for column in zip(row, widths, numeric)) + " |"
        if n == 0:
            rules = ("-" * (w - 1) + ":" if right else "-" * w for w, right in zip(widths, numeric))
            yield "| " + " | ".join(rules) + " |"


def confusion_table(confusion: ConfusionMatrix) -> Table:
    """The confusion matrix in words: all of it for a few classes, the most frequent confusions of many."""
    labels, counts = [str(label) for label in confusion.labels], confusion.counts
    if len(labels) <= MOST_CLASSES:
        rows = [(label, *row) for label, row in zip(labels, counts.tolist())]
        return Table("Confusion matrix: rows expected, columns predicted", ("", *labels), rows)
    wrong = counts * (1 - np.eye(len(labels), dtype=counts.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CLASSES]
    pairs = [divmod(int(n), len(labels)) for n in order if wrong.flat[n]]
    of_all = counts.sum(1)
    rows = [(labels[a], labels[b], int(wrong[a, b]), int(of_all[a])) for a, b in pairs]
    title = f"Confusion matrix of {len(labels)} classes: the most frequent confusions"
    return Table(title, ("expected", "predicted", "times", "of all expected"), rows)


def number(value: float, metric: str = "") -> str:
    """A score for a reader."""
    return f"{value:.2f}" if metric in TO_A_HUNDRED else f"{value:.3f}"


def as_text(value: Any) -> str:
    """A cell: one line, without what would break the table or command a terminal."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        return f"{value:.3f}"
    text = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return text.replace("|", "\\|").replace("<", "\\<")


def width(text: str) -> int:
    """Columns that a text takes in a terminal: Chinese characters take two."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def padded(text: str, columns: int, right: bool) -> str:
    """A text filled up with spaces."""
    space = " " * (columns - width(text))
    return space + text if right else text + space
