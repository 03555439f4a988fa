"""Unicode's normal forms, with the place of every character: decomposition, canonical order, composition.

`unicodedata` does the same without places. Its tables are used here, but a character that Unicode 9 did not know is
left as it is: tokenizers were trained so, and so does the Rust package `tokenizers`.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache, partial
from itertools import pairwise

from minilm.text.unicode.aligned import AlignedText, CharacterTable, join
from minilm.text.unicode.tables import LATER_NORMALIZATION, brackets, members


def normal_form(form: str, aligned: AlignedText) -> AlignedText:
    """The Unicode form (as of Unicode 9) of a text; a composed character has the place of its first part."""
    if aligned.text.isascii():
        return aligned
    # A character that Unicode 9 did not know neither moves nor changes: the text falls into parts there.
    if _later().search(aligned.text):
        cuts = [0, *(end for match in _later().finditer(aligned.text) for end in match.span()), len(aligned.text)]
        parts = [aligned.cut(start, end) for start, end in pairwise(cuts)]
        return join(part if n % 2 else normal_form(form, part) for n, part in enumerate(parts))
    if unicodedata.is_normalized(form, aligned.text):  # type: ignore[arg-type]  # form is one of the four
        return aligned
    decomposed = _decompose("NFKD" if "K" in form else "NFD", aligned.text)
    return aligned.transform(decomposed if form.endswith("D") else _compose(decomposed))


def _decompose(form: str, text: str) -> list[tuple[str, int]]:
    """The parts of each character, marks in canonical order: (part, 0 if it is the first of its character else 1)."""
    table, parts, marks = _TABLES[form], [], []
    for character in text:
        for n, part in enumerate(table[character]):
            if unicodedata.combining(part):
                marks.append((part, int(n > 0)))
                continue
            if marks:
                parts += sorted(marks, key=_combining_class)
                marks.clear()
            parts.append((part, int(n > 0)))
    return parts + sorted(marks, key=_combining_class)


def _combining_class(part: tuple[str, int]) -> int:
    return unicodedata.combining(part[0])


def _compose(parts: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Canonical composition: a mark joins the starter before it unless a mark of its class or a higher one is between.

    The change of what is composed is that of its parts together, less one for each that joined.
    """
    composed: list[tuple[str, int]] = []
    starter, last = -1, 0  # where the starter stands in `composed`; the class of the mark that stands before this part
    for character, change in parts:
        combining = unicodedata.combining(character)
        adjacent = starter == len(composed) - 1
        if starter >= 0 and (adjacent or last < combining):
            base, its_change = composed[starter]
            both = unicodedata.normalize("NFC", base + character)
            if len(both) == 1 and both not in _later_members():
                composed[starter] = (both, its_change + change - 1)
                continue
        if combining == 0:
            starter = len(composed)
        last = combining
        composed.append((character, change))
    return composed


@cache
def _later_members() -> frozenset[str]:
    return members(LATER_NORMALIZATION)


@cache
def _later() -> re.Pattern[str]:
    return re.compile(f"[{brackets(LATER_NORMALIZATION)}]+")


_TABLES = {form: CharacterTable(partial(unicodedata.normalize, form)) for form in ("NFD", "NFKD")}
