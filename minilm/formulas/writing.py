"""Lines that fit: numbers, matrices, code and running text in English and Chinese, at most WIDTH columns wide."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np

WIDTH = 100
NO_LINE_BEGINS_WITH = "，。；：、！？）》”’"


def width(text: str) -> int:
    """The columns that a text takes in a terminal: a Chinese character takes two, an accent none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def padded(text: str, columns: int) -> str:
    return text + " " * max(0, columns - width(text))


def wrapped(text: str, indent: str = "", first: str | None = None) -> list[str]:
    """Running text as lines of at most WIDTH columns; a break goes where a space is, or between Chinese characters."""
    lines, line = [], indent if first is None else first
    empty = True
    for piece in pieces(text):
        if not empty and width(line + piece.rstrip()) > WIDTH:
            lines.append(line.rstrip())
            line, piece = indent, piece.lstrip()
        line += piece
        empty = False
    return [*lines, line.rstrip()]


def pieces(text: str) -> list[str]:
    """What must not be broken: words with the space behind them, single Chinese characters with their punctuation."""
    closing = re.escape(NO_LINE_BEGINS_WITH)
    narrow = r"[^\s\u2e80-\uffef]"
    return re.findall(rf"[“‘（《]*(?:{narrow}+|[^\s])[{closing}]*\s*", text)


def number(value: Any) -> str:
    """Four digits behind the point; integers as they are."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | np.integer):
        return str(int(value))
    value = float(value)
    if (value != 0 and abs(value) < 5e-4) or abs(value) >= 1e6:
        return f"{value:.3e}" if np.isfinite(value) else "−∞" if value < 0 else str(value)
    return f"{value:.4f}".replace("-0.0000", "0.0000")


def matrix(value: Any) -> list[str]:
    """An array as rows of aligned numbers; of more than two axes, block after block."""
    array = np.asarray(value)
    if array.ndim == 0:
        return [number(array[()])]
    if array.ndim > 2:
        blocks = [[f"[{i}]", *("  " + row for row in matrix(part))] for i, part in enumerate(array)]
        return [line for block in blocks for line in block]
    rows = [[number(cell) for cell in row] for row in np.atleast_2d(array)]
    widest = max((len(cell) for row in rows for cell in row), default=0)
    return ["  ".join(cell.rjust(widest) for cell in row) for row in rows]


def code_lines(code: str, indent: str) -> Iterable[str]:
    """Code that fits: a comment that is too long goes above its line, a line that is too long is broken at a space."""
    for line in code.splitlines():
        inner = indent + " " * (len(line) - len(line.lstrip()))
        if len(indent + line) > WIDTH and "  #" in line:
            line, _, comment = line.partition("  #")
            yield from wrapped("#" + comment, inner + "# ", inner)
            if not line.strip():
                continue
        line = indent + line
        while len(line) > WIDTH:
            cut = line.rfind(" ", len(inner) + 1, WIDTH)
            if cut < 0:
                break
            yield line[:cut]
            line = inner + "        " + line[cut + 1 :]
        yield line.rstrip()
