"""What SentencePiece does to a text before it is cut into pieces, beside the steps that other tokenizers have, too.

    "ﬁne\\tday"  → Nmt, NFKC, spaces collapsed →  "fine day"  → Metaspace →  "▁fine"  "▁day"

NFKC and Replace are in unicode/normalization.py, T5's precompiled table in unicode/charsmap.py, Metaspace in
words/pre_tokenizers.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from minilm.text.unicode.aligned import AlignedText
from minilm.text.unicode.normalization import NormalizerSequence, Replace, UnicodeForm
from minilm.text.words.gpt2_pattern import WHITESPACE
from minilm.text.words.pre_tokenizers import Words

METASPACE = "▁"  # U+2581, a space that is seen

_DROPPED = re.compile("[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]+")
_AS_SPACE = re.compile("[\t\n\x0c\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]")
_NOT_SPACE = re.compile(f"[^{WHITESPACE}]+")
_WORD = re.compile(f"{METASPACE}?[^{METASPACE}]+|{METASPACE}")


@dataclass(frozen=True)
class Nmt:
    """Control characters go; tabs, line ends, zero-width characters and ▁ itself become spaces."""

    def __call__(self, aligned: AlignedText) -> AlignedText:
        text, places = aligned
        if _DROPPED.search(text):
            kept = np.ones(len(text), bool)
            for match in _DROPPED.finditer(text):
                kept[match.start() : match.end()] = False
            text, places = _DROPPED.sub("", text), places[kept]
        return AlignedText(_AS_SPACE.sub(" ", text), places)


def sentencepiece_normalizer() -> NormalizerSequence:
    """What a tokenizer that is trained here does: Nmt, NFKC, and one space for several."""
    return NormalizerSequence((Nmt(), UnicodeForm("NFKC"), Replace(" {2,}", " ", regex=True)))


@dataclass(frozen=True)
class WhitespaceMetaspace:
    """T5's cut: words are what stands between whitespace, and each gets a ▁ in front (unless it has one).

    The same as the sequence of WhitespaceSplit and Metaspace("▁", "always"), but for all words at once.
    split: a ▁ inside a word begins another one.
    """

    split: bool = True

    def __call__(self, aligned: AlignedText) -> Words:
        spans = np.array([match.span() for match in _NOT_SPACE.finditer(aligned.text)], np.intp).reshape(-1, 2)
        parts = _NOT_SPACE.findall(aligned.text)
        words = [part if part[0] == METASPACE else METASPACE + part for part in parts]
        lengths = np.fromiter(map(len, words), np.intp, len(words))
        ends = np.cumsum(lengths)
        # the places of a word's characters, the first of them twice where a ▁ was added
        within = np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
        added = np.repeat(lengths - (spans[:, 1] - spans[:, 0]), lengths)
        places = np.repeat(spans[:, 0], lengths) + np.maximum(within - added, 0)
        joined = AlignedText("".join(words), aligned.places[places])
        if self.split and joined.text.count(METASPACE) > len(words):
            spans = np.array([match.span() for match in _WORD.finditer(joined.text)], np.intp)
            return Words(joined, spans[:, 0], spans[:, 1])
        return Words(joined, ends - lengths, ends)
