"""Post-processors: the special tokens around one text or between two, and offsets without the spaces.

    single   [CLS] A [SEP]              type ids 0 0 0
    pair     [CLS] A [SEP] B [SEP]      type ids 0 0 0 1 1

Each takes the encoding of one text, or of two, and gives the parts that are to be joined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np

from minilm.errors import InputError
from minilm.text.pipeline.encoding import END, START, TYPES, Encoding

_SPACES = {*"\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000", *map(chr, range(0x2000, 0x200B)), "Ġ"}


class PostProcessor(Protocol):
    def added(self, pair: bool) -> int: ...

    def __call__(self, parts: list[Encoding], add_special_tokens: bool) -> list[Encoding]: ...


class Piece(NamedTuple):
    """A part of a template: "A", "B" or the name of a special token, and the type id of its tokens."""

    name: str
    type_id: int
    special: bool


@dataclass(frozen=True)
class TemplateProcessing:
    """Special tokens by a template for one text and one for two.

    special_tokens: {name: (ids, tokens)}, usually one each. Raises InputError for a template that names another token,
    or whose texts are not A, or A and B.
    """

    single: Sequence[Piece]
    pair: Sequence[Piece]
    special_tokens: Mapping[str, tuple[Sequence[int], Sequence[str]]]

    def __post_init__(self) -> None:
        for template, texts in ((self.single, {"A"}), (self.pair, {"A", "B"})):
            if {piece.name for piece in template if not piece.special} != texts:
                raise InputError(f"a template must hold the texts {' and '.join(sorted(texts))}; this has {template}")
            for piece in template:
                if piece.special and piece.name not in self.special_tokens:
                    raise InputError(
                        f"a template names the special token {piece.name!r}, which is not among its special_tokens; add it"
                    )

    @classmethod
    def parse(cls, single: str, pair: str, ids: Mapping[str, int]) -> TemplateProcessing:
        """Templates as text, "[CLS]:0 $A:0 [SEP]:0", with the ids of the special tokens."""
        templates = []
        for text in (single, pair):
            words = [word.rpartition(":") for word in text.split()]
            templates.append([Piece(name.removeprefix("$"), int(n), not name.startswith("$")) for name, _, n in words])
        return cls(templates[0], templates[1], {name: ([n], [name]) for name, n in ids.items()})

    def added(self, pair: bool) -> int:
        """How many special tokens there are around one text, or around a pair."""
        pieces = self.pair if pair else self.single
        return sum(len(self.special_tokens[piece.name][0]) for piece in pieces if piece.special)

    def __call__(self, parts: list[Encoding], add_special_tokens: bool) -> list[Encoding]:
        out = []
        for piece in self.pair if len(parts) == 2 else self.single:
            if not piece.special:
                part = parts[piece.name == "B"]
                same = len(part) == 0 or part.table[0, TYPES] == piece.type_id
                out.append(part if same else part.with_column(TYPES, piece.type_id))
            elif add_special_tokens:
                ids, tokens = self.special_tokens[piece.name]
                out.append(_special(tuple(ids), tuple(tokens), piece.type_id))
        return out


def bert_processing(cls: tuple[str, int], sep: tuple[str, int]) -> TemplateProcessing:
    """[CLS] A [SEP] B [SEP]; cls and sep are (token, id)."""
    c, s = cls[0], sep[0]
    return TemplateProcessing.parse(f"{c}:0 $A:0 {s}:0", f"{c}:0 $A:0 {s}:0 $B:1 {s}:1", dict([cls, sep]))


@dataclass(frozen=True)
class RobertaProcessing:
    """<s> A </s></s> B </s>, all of type 0; cls and sep are (token, id). It trims offsets as ByteLevel does."""

    cls: tuple[str, int]
    sep: tuple[str, int]
    trim_offsets: bool = True
    add_prefix_space: bool = True
    _template: TemplateProcessing = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        c, s = self.cls[0], self.sep[0]
        pair = f"{c}:0 $A:0 {s}:0 {s}:0 $B:0 {s}:0"
        template = TemplateProcessing.parse(f"{c}:0 $A:0 {s}:0", pair, dict([self.cls, self.sep]))
        object.__setattr__(self, "_template", template)

    def added(self, pair: bool) -> int:
        return 4 if pair else 2

    def __call__(self, parts: list[Encoding], add_special_tokens: bool) -> list[Encoding]:
        if self.trim_offsets:
            parts = [trim_offsets(part, self.add_prefix_space) for part in parts]
        return self._template(parts, add_special_tokens)


@dataclass(frozen=True)
class ByteLevelProcessing:
    """GPT-2's: no special tokens; with trim_offsets, offsets without the spaces at the ends of a token."""

    add_prefix_space: bool = True
    trim_offsets: bool = True
    use_regex: bool = True

    def added(self, pair: bool) -> int:
        return 0

    def __call__(self, parts: list[Encoding], add_special_tokens: bool) -> list[Encoding]:
        return [trim_offsets(part, self.add_prefix_space) for part in parts] if self.trim_offsets else parts


@dataclass(frozen=True)
class PostProcessorSequence:
    """One after the other."""

    processors: Sequence[PostProcessor]

    def added(self, pair: bool) -> int:
        return sum(processor.added(pair) for processor in self.processors)

    def __call__(self, parts: list[Encoding], add_special_tokens: bool) -> list[Encoding]:
        for processor in self.processors:
            parts = processor(parts, add_special_tokens)
        return parts


def trim_offsets(encoding: Encoding, add_prefix_space: bool = False) -> Encoding:
    """An encoding, and its windows, with offsets without the spaces at the ends of the tokens."""
    offsets = space_counts(encoding.tokens).trim(encoding.offsets, add_prefix_space)
    windows = [trim_offsets(window, add_prefix_space) for window in encoding.overflowing]
    return Encoding(encoding.with_column(slice(START, END + 1), offsets).table, encoding.tokens, windows)


class SpaceCounts(NamedTuple):
    """How many spaces each token begins with and ends with, (n,) each."""

    leading: np.ndarray
    trailing: np.ndarray

    def trim(self, offsets: np.ndarray, add_prefix_space: bool = False) -> np.ndarray:
        """Offsets (n, 2) without those spaces: "Ġcat" is where "cat" stands.

        add_prefix_space: the one space of a token that stands first may have been added, and is in no text.
        """
        leading, (starts, ends) = self.leading, offsets.T
        if add_prefix_space:
            first = (starts == 0) | (np.arange(len(starts)) == 0)
            leading = np.where(first & (leading == 1), 0, leading)
        starts = np.minimum(starts + leading, ends)
        ends = np.where(ends >= self.trailing, np.maximum(ends - self.trailing, starts), ends)
        return np.stack([starts, ends], axis=1)


def space_counts(tokens: Sequence[str]) -> SpaceCounts:
    """The spaces at the ends of byte-level tokens, written "Ġ", or as they are in added tokens."""
    return SpaceCounts(*np.array([_spaces(token) for token in tokens], np.int64).reshape(-1, 2).T)


@lru_cache(1 << 16)
def _spaces(token: str) -> tuple[int, int]:
    """How many spaces a token begins and ends with."""
    if all(character in _SPACES for character in token):
        return len(token), len(token)
    leading = next(n for n, character in enumerate(token) if character not in _SPACES)
    return leading, next(n for n, character in enumerate(reversed(token)) if character not in _SPACES)


@lru_cache(256)
def _special(ids: tuple[int, ...], tokens: tuple[str, ...], type_id: int) -> Encoding:
    return Encoding.special(ids, tokens, type_id)
