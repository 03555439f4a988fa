r"""Split: a text cut by a regular expression, as the tokenizers of Llama 3, GPT-4 and Qwen have it.

    (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+

Beside GPT-2's pattern (gpt2_pattern.py): contractions in capitals too, any one character before a word instead of a space
only, digits in groups of at most three, and line ends by themselves.

tokenizer.json writes patterns for the Oniguruma library. Python's `re` has all of it that these use, but for the classes
\p{...}, and its \s is another: these are written out as ranges of code points. What can not be translated so is
given to the package `regex`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from minilm.errors import InputError
from minilm.optional import require
from minilm.text.unicode.aligned import AlignedText
from minilm.text.words.gpt2_pattern import LATER_LETTERS, LATER_NUMBERS, WHITESPACE, parse_ranges
from minilm.text.words.pre_tokenizers import Words

BEHAVIORS = ("Isolated", "Removed")
_CATEGORIES = {
    *(
        "L",
        "Lu",
        "Ll",
        "Lt",
        "Lm",
        "Lo",
        "M",
        "Mn",
        "Mc",
        "Me",
        "N",
        "Nd",
        "Nl",
        "No",
        "P",
        "Pc",
        "Pd",
        "Ps",
        "Pe",
        "Pi",
    ),
    *("Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp", "C", "Cc", "Cf", "Co", "Cn"),
}
_TOKEN = re.compile(r"\\p\{\^?\w+\}|\\P\{\w+\}|\\.|\[\^?|\]|.", re.DOTALL)
_KEPT = set("rntfv0")  # escapes that mean the same to both
_LATER = {"L": LATER_LETTERS, "N": LATER_NUMBERS}


class _Unknown(Exception):  # noqa: N818  no error: the next engine is asked
    """A pattern that has no translation."""


@dataclass(frozen=True)
class Split:
    """Cuts where the pattern matches.

    pattern: a regular expression, or (regex=False) a text. behavior: "Isolated", what matches is a word and so is what stands
    between; "Removed", only what stands between. invert: the two change places.

    Raises InputError for another behavior and for a pattern that is none.
    """

    pattern: str
    regex: bool = True
    behavior: str = "Isolated"
    invert: bool = False

    def __post_init__(self) -> None:
        if self.behavior not in BEHAVIORS:
            raise InputError(f"Split has the behavior {self.behavior!r}, and minilm has {' and '.join(BEHAVIORS)}")
        compiled(self.pattern, self.regex)

    def __call__(self, aligned: AlignedText) -> Words:
        matches = [match.span() for match in compiled(self.pattern, self.regex).finditer(aligned.text)]
        spans, done = [], 0
        for start, end in [*matches, (len(aligned.text),) * 2]:
            gap, match = (done, start), (start, end)
            if self.behavior == "Isolated":
                spans += [gap, match]
            else:
                spans.append(match if self.invert else gap)
            done = end
        found = np.array([span for span in spans if span[0] < span[1]], np.intp).reshape(-1, 2)
        return Words(aligned, found[:, 0], found[:, 1])


@lru_cache(32)
def compiled(pattern: str, regex: bool = True) -> Any:
    """The pattern, ready to search with. Raises InputError for one that is no regular expression."""
    if not regex:
        return re.compile(re.escape(pattern))
    try:
        return re.compile(translated(pattern))
    except (_Unknown, re.error):
        other = require("regex", f"the pattern {pattern!r:.60} of this tokenizer")
    try:
        return other.compile(pattern)
    except other.error as error:
        raise InputError(f"the pattern {pattern!r:.80} of Split is no regular expression: {error}") from None


def translated(pattern: str) -> str:
    r"""The same pattern for `re`: \p{L} and \s as ranges. Raises _Unknown for what has no translation."""
    out: list[str] = []
    inside = False
    for token in _TOKEN.findall(pattern):
        if token in ("[", "[^") and inside:
            raise _Unknown("a class within a class")
        if token in ("[", "[^", "]"):
            inside = token != "]"
            out.append(token)
        elif token[0] != "\\":
            if inside and token == "&":
                raise _Unknown("an intersection of classes")
            out.append(token)
        elif token[1] in "pP":
            name, negated = token[3:-1].removeprefix("^"), token[1] == "P" or token[3] == "^"
            if name not in _CATEGORIES or (inside and negated):
                raise _Unknown(token)
            out.append(category(name) if inside else f"[{'^' * negated}{category(name)}]")
        elif token[1] in "sSdD":
            if inside and token[1] in "SD":
                raise _Unknown(token)
            members = WHITESPACE if token[1] in "sS" else category("Nd")
            out.append(members if inside else f"[{'^' * (token[1] in 'SD')}{members}]")
        elif token[1].isalnum() and token[1] not in _KEPT:
            raise _Unknown(token)
        else:
            out.append(token)
    return "".join(out)


@lru_cache(None)
def category(name: str) -> str:
    """The characters of a Unicode category, as they stand between the brackets of a pattern."""
    codes = np.array([n for n in range(0x110000) if unicodedata.category(chr(n)).startswith(name)])
    edges = np.flatnonzero(np.diff(codes, prepend=-2, append=0x110001) != 1)  # where runs of code points begin
    ranges = [(int(codes[a]), int(codes[b - 1])) for a, b in pairwise(edges.tolist())]
    ranges += parse_ranges(_LATER.get(name, ""))
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)
