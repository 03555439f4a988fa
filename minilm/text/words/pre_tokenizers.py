"""Pre-tokenizers: where a text is cut into words, before a model cuts the words into pieces.

Each is a small object with the settings that tokenizer.json has for it. Calling it gives the text again (some write
a character before it or in place of the spaces) and the words as positions in that text. The cuts are those of the
Rust package `tokenizers`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np

from minilm.errors import InputError
from minilm.text.unicode.aligned import AlignedText, join
from minilm.text.unicode.tables import BERT_PUNCTUATION, MORE_WORD_CHARACTERS, brackets
from minilm.text.words.gpt2_pattern import WHITESPACE, pretokenize

SCHEMES = ("always", "first", "never")


class Words(NamedTuple):
    """A text and its words: word n is text[starts[n] : ends[n]]; none is empty."""

    aligned: AlignedText
    starts: np.ndarray
    ends: np.ndarray

    def strings(self) -> list[str]:
        text = self.aligned.text
        return [text[start:end] for start, end in zip(self.starts.tolist(), self.ends.tolist())]


class PreTokenizer(Protocol):
    def __call__(self, aligned: AlignedText) -> Words: ...


@dataclass(frozen=True)
class WholeText:
    """No cut: the text is one word. Where tokenizer.json has no pre-tokenizer."""

    def __call__(self, aligned: AlignedText) -> Words:
        return Words(
            aligned, np.zeros(1 if aligned.text else 0, np.intp), np.full(1 if aligned.text else 0, len(aligned.text))
        )


@dataclass(frozen=True)
class BertPreTokenizer:
    """Words between whitespace; every punctuation mark is a word by itself: "it's 3.5" → it ' s 3 . 5"""

    def __call__(self, aligned: AlignedText) -> Words:
        return _matches(_bert_pattern(), aligned)


@dataclass(frozen=True)
class Whitespace:
    """Runs of letters, marks, digits and _, and runs of anything else that is no whitespace."""

    def __call__(self, aligned: AlignedText) -> Words:
        return _matches(_whitespace_pattern(), aligned)


@dataclass(frozen=True)
class WhitespaceSplit:
    """What stands between whitespace."""

    def __call__(self, aligned: AlignedText) -> Words:
        return _matches(re.compile(rf"[^{WHITESPACE}]+"), aligned)


@dataclass(frozen=True)
class Punctuation:
    """Every punctuation mark is a word by itself; the rest is left as it is."""

    def __call__(self, aligned: AlignedText) -> Words:
        P = brackets(BERT_PUNCTUATION)
        return _matches(re.compile(rf"[^{P}]+|[{P}]"), aligned)


@dataclass(frozen=True)
class ByteLevel:
    """GPT-2's cut (gpt2_pattern.py); the words stay text here, the model sees their bytes.

    add_prefix_space: a space before a text that has none. trim_offsets: only kept, the post-processor trims.
    use_regex: cut; without it the text is one word.
    """

    add_prefix_space: bool = True
    trim_offsets: bool = True
    use_regex: bool = True

    def __call__(self, aligned: AlignedText) -> Words:
        if self.add_prefix_space and not aligned.text.startswith(" "):
            aligned = aligned.prepend(" ")
        if not self.use_regex:
            return WholeText()(aligned)
        ends = np.cumsum([len(word) for word in pretokenize(aligned.text)], dtype=np.intp)
        return Words(aligned, np.concatenate([np.zeros(min(len(ends), 1), np.intp), ends[:-1]]), ends)


@dataclass(frozen=True)
class Metaspace:
    """SentencePiece's cut: spaces become "▁", and every "▁" begins a word.

    prepend_scheme: a "▁" before a text that begins with none: "always", "first" (only where the given text begins) or
    "never". split: cut before every "▁"; without it the text is one word.
    """

    replacement: str = "▁"
    prepend_scheme: str = "always"
    split: bool = True

    def __post_init__(self) -> None:
        if self.prepend_scheme not in SCHEMES:
            raise InputError(f"prepend_scheme {self.prepend_scheme!r} is unknown; use one of {', '.join(SCHEMES)}")
        if len(self.replacement) != 1:
            raise InputError(f"the replacement {self.replacement!r} of Metaspace must be one character; usual is '▁'")

    def __call__(self, aligned: AlignedText) -> Words:
        mark = self.replacement
        aligned = AlignedText(aligned.text.replace(" ", mark), aligned.places)
        first = len(aligned.places) > 0 and aligned.places[0] == 0
        if not aligned.text.startswith(mark) and (
            self.prepend_scheme == "always" or (self.prepend_scheme == "first" and first)
        ):
            aligned = aligned.prepend(mark)
        if not self.split:
            return WholeText()(aligned)
        m = re.escape(mark)
        return _matches(re.compile(f"{m}?[^{m}]+|{m}"), aligned)


@dataclass(frozen=True)
class PreTokenizerSequence:
    """One after the other: each cuts the words of the one before."""

    pretokenizers: Sequence[PreTokenizer]

    def __call__(self, aligned: AlignedText) -> Words:
        words = WholeText()(aligned)
        for pretokenizer in self.pretokenizers:
            if isinstance(pretokenizer, ByteLevel) and not (pretokenizer.add_prefix_space or pretokenizer.use_regex):
                continue  # it leaves words as they are
            parts = [
                pretokenizer(words.aligned.cut(start, end))
                for start, end in zip(words.starts.tolist(), words.ends.tolist())
            ]
            words = _joined(parts)
        return words


def _joined(parts: Sequence[Words]) -> Words:
    aligned = join(part.aligned for part in parts)
    shifts = np.cumsum([0, *(len(part.aligned.text) for part in parts)])
    starts = [part.starts + shift for part, shift in zip(parts, shifts)]
    ends = [part.ends + shift for part, shift in zip(parts, shifts)]
    empty = np.empty(0, np.intp)
    return Words(aligned, np.concatenate([empty, *starts]), np.concatenate([empty, *ends]))


def _matches(pattern: re.Pattern[str], aligned: AlignedText) -> Words:
    spans = np.array([match.span() for match in pattern.finditer(aligned.text)], np.intp).reshape(-1, 2)
    return Words(aligned, spans[:, 0], spans[:, 1])


@cache
def _bert_pattern() -> re.Pattern[str]:
    P = brackets(BERT_PUNCTUATION)
    return re.compile(rf"[^{WHITESPACE}{P}]+|[{P}]")


@cache
def _whitespace_pattern() -> re.Pattern[str]:
    r"""\w+|[^\w\s]+ with Unicode's \w: letters, marks, digits, letter-like numbers, connectors, joiners."""
    kinds = {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "Pc"}
    codes = np.array([n for n in range(0xE0200) if unicodedata.category(chr(n)) in kinds])
    edges = np.flatnonzero(np.diff(codes, prepend=-1, append=0x110000) != 1)  # where runs of code points begin
    w = brackets(" ".join(f"{codes[a]:x}-{codes[b - 1]:x}" for a, b in pairwise(edges.tolist())))
    w += brackets(MORE_WORD_CHARACTERS)
    return re.compile(rf"[{w}]+|[^{w}{WHITESPACE}]+")
