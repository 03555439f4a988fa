"""Normalizers: what a tokenizer does to a text before it is cut, with the way back to the given text.

Each is a small object with the settings that tokenizer.json has for it; calling it maps an AlignedText to another.
The results, and the places too, are those of the Rust package `tokenizers`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

import numpy as np

from minilm.errors import InputError
from minilm.text.unicode.aligned import AlignedText, CharacterTable, join
from minilm.text.unicode.cleaning import FORMS
from minilm.text.unicode.normal_forms import normal_form
from minilm.text.unicode.tables import (
    BERT_ACCENTS,
    CONTROLS,
    LATER_LOWER,
    MARKS,
    members,
)

WHITESPACE = (
    "\t\n\r \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)


class Normalizer(Protocol):
    def __call__(self, aligned: AlignedText) -> AlignedText: ...


def lower(character: str) -> str:
    """The small letter of one character: every Σ becomes σ, and letters newer than this Python are known, too."""
    return LATER_LOWER.get(character) or character.lower()


@dataclass(frozen=True)
class BertNormalizer:
    """BERT's cleaning: controls, whitespace, Chinese, accents and capitals, each step on demand.

    clean_text: control characters go, all whitespace becomes a space. handle_chinese_chars: spaces around every Han
    character, so that each is a word. strip_accents: decompose (NFD) and drop the nonspacing marks; None means: as
    lowercase says. lowercase: small letters.
    """

    clean_text: bool = True
    handle_chinese_chars: bool = True
    strip_accents: bool | None = None
    lowercase: bool = True
    _first: CharacterTable = field(init=False, repr=False, compare=False)
    _second: CharacterTable = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_first", CharacterTable(self._clean))
        object.__setattr__(self, "_second", CharacterTable(self._simplify))

    def __call__(self, aligned: AlignedText) -> AlignedText:
        if not (aligned.text.isascii() and aligned.text.isprintable()):  # else there is nothing to clean
            aligned = aligned.map(self._first)
        if aligned.text.isascii():  # quicker, and there are no accents
            return AlignedText(aligned.text.lower(), aligned.places) if self.lowercase else aligned
        if self._strips:
            aligned = normal_form("NFD", aligned)
        if self._strips or self.lowercase:
            aligned = aligned.map(self._second)
        return aligned

    @property
    def _strips(self) -> bool:
        return self.lowercase if self.strip_accents is None else self.strip_accents

    def _clean(self, character: str) -> str:
        if self.clean_text:
            if character in _controls():
                return ""
            if character in WHITESPACE:
                return " "
        if self.handle_chinese_chars and is_han(character):
            return f" {character} "
        return character

    def _simplify(self, character: str) -> str:
        if self._strips and character in _accents():
            return ""
        return lower(character) if self.lowercase else character


@dataclass(frozen=True)
class UnicodeForm:
    """NFC, NFD, NFKC or NFKD."""

    form: str

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise InputError(f"{self.form!r} is no Unicode normalization form; use one of {', '.join(FORMS)}")

    def __call__(self, aligned: AlignedText) -> AlignedText:
        return normal_form(self.form, aligned)


@dataclass(frozen=True)
class Lowercase:
    """Small letters, character by character."""

    def __call__(self, aligned: AlignedText) -> AlignedText:
        return aligned.map(_LOWER)


@dataclass(frozen=True)
class StripAccents:
    """All combining marks (spacing ones, too) go; only after NFD or NFKD are accents such marks."""

    def __call__(self, aligned: AlignedText) -> AlignedText:
        return aligned.map(_UNMARKED)


@dataclass(frozen=True)
class Replace:
    """`content` for every match of `pattern`, which is a plain text, or a regular expression if `regex` is set."""

    pattern: str
    content: str
    regex: bool = False
    _compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            compiled = re.compile(self.pattern if self.regex else re.escape(self.pattern))
        except re.error as error:
            raise InputError(
                f"the pattern {self.pattern!r} of a Replace normalizer cannot be read here ({error}); write it in the "
                "language of Python's module re"
            ) from None
        object.__setattr__(self, "_compiled", compiled)

    def __call__(self, aligned: AlignedText) -> AlignedText:
        """What is written has the place of the last character that it replaces."""
        parts, end = [], 0
        for match in self._compiled.finditer(aligned.text):
            place = aligned.places[max(match.end() - 1, 0) : max(match.end(), 1)]
            parts += [
                aligned.cut(end, match.start()),
                AlignedText(self.content, np.repeat(place, len(self.content)) if len(place) else place),
            ]
            end = match.end()
        return join([*parts, aligned.cut(end, len(aligned.text))]) if parts else aligned


@dataclass(frozen=True)
class Prepend:
    """A text before the whole, unless that is empty."""

    prepend: str

    def __call__(self, aligned: AlignedText) -> AlignedText:
        return aligned.prepend(self.prepend)


@dataclass(frozen=True)
class Strip:
    """Whitespace at the ends goes."""

    strip_left: bool = True
    strip_right: bool = True

    def __call__(self, aligned: AlignedText) -> AlignedText:
        text = aligned.text
        start = len(text) - len(text.lstrip(_SPACES)) if self.strip_left else 0
        end = len(text.rstrip(_SPACES)) if self.strip_right else len(text)
        return aligned.cut(start, max(start, end))


@dataclass(frozen=True)
class NormalizerSequence:
    """One normalizer after the other."""

    normalizers: Sequence[Normalizer]

    def __call__(self, aligned: AlignedText) -> AlignedText:
        for normalizer in self.normalizers:
            aligned = normalizer(aligned)
        return aligned


def is_han(character: str) -> bool:
    """Whether BERT takes it for Chinese: the ideographs of Unicode 8 (Japanese kanji, too), no kana, no Hangul."""
    n = ord(character)
    return (
        0x4E00 <= n <= 0x9FFF
        or 0x3400 <= n <= 0x4DBF
        or 0x20000 <= n <= 0x2A6DF
        or 0x2A700 <= n <= 0x2B81F
        or 0x2B920 <= n <= 0x2CEAF
        or 0xF900 <= n <= 0xFAFF
        or 0x2F800 <= n <= 0x2FA1F
    )


@cache
def _controls() -> frozenset[str]:
    return members(CONTROLS)


@cache
def _accents() -> frozenset[str]:
    return members(BERT_ACCENTS)


@cache
def _marks() -> frozenset[str]:
    return members(MARKS)


_SPACES = WHITESPACE + "\x0b\x0c\x85"
_LOWER = CharacterTable(lower)
_UNMARKED = CharacterTable(lambda character: "" if character in _marks() else character)
