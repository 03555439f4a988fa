"""From text to ids with offsets: normalize, cut into words, look each word up.

text → normalizer → pre-tokenizer → words → model → ids; offsets: where each token stands in the given text
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np

from minilm.text.unicode.aligned import AlignedText, concatenated
from minilm.text.unicode.cleaning import refuse_surrogates
from minilm.text.unicode.normalization import Normalizer
from minilm.text.words.pre_tokenizers import PreTokenizer, WholeText, Words

Pieces = tuple[list[int], list[int], list[int]]  # the ids of a word's pieces; where each starts and ends in the word
CACHE_LIMIT = 2_000_000  # characters of words whose pieces are remembered


class Cut(NamedTuple):
    """ids: (n,). offsets: (n, 2) in the given text. words: (n,) the number of the word that each token belongs to,
    below word_count. text, spans: the text that was cut, and where in it the tokens are, (n, 2).
    """

    ids: np.ndarray
    offsets: np.ndarray
    words: np.ndarray
    word_count: int
    text: str
    spans: np.ndarray


class Model(Protocol):
    """What cuts words: WordPiece, WordLevel, ByteLevelBPE."""

    @property
    def vocabulary(self) -> dict[str, int]: ...

    def split(self, words: Sequence[str]) -> list[Pieces]: ...


class Pipeline:
    """normalizer and pre_tokenizer may be None: then the text is left as it is, and is one word."""

    def __init__(
        self, model: Model, normalizer: Normalizer | None = None, pre_tokenizer: PreTokenizer | None = None
    ) -> None:
        self.model, self.normalizer, self.pre_tokenizer = model, normalizer, pre_tokenizer
        self._cache: dict[str, Pieces] = {}
        self._cached_characters = 0

    @property
    def vocabulary(self) -> dict[str, int]:
        return self.model.vocabulary

    def encode_offsets(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The ids of `text` (n,) and where each token stands in it (n, 2): characters, the end not included.

        Raises InputError for a lone surrogate.
        """
        refuse_surrogates(text)
        cut = self.encode_aligned(self.normalize(AlignedText.of(text)))
        return cut.ids, cut.offsets

    def normalize(self, aligned: AlignedText) -> AlignedText:
        return aligned if self.normalizer is None else self.normalizer(aligned)

    def words(self, aligned: AlignedText) -> Words:
        """The words of a text that is normalized."""
        return (self.pre_tokenizer or WholeText())(aligned)

    def encode_aligned(self, aligned: AlignedText) -> Cut:
        """The tokens of a text that is normalized."""
        words = self.words(aligned)
        ids, starts, ends = zip(*found) if (found := self._look_up(words.strings())) else ((), (), ())
        counts = np.fromiter(map(len, ids), np.intp, len(ids))
        shifts = np.repeat(words.starts, counts)
        spans = np.empty((len(shifts), 2), np.intp)
        spans[:, 0], spans[:, 1] = concatenated(starts), concatenated(ends)
        spans += shifts[:, None]
        offsets = words.aligned.spans(spans[:, 0], spans[:, 1])
        numbers = np.repeat(np.arange(len(counts)), counts)
        return Cut(concatenated(ids), offsets, numbers, len(counts), words.aligned.text, spans)

    def _look_up(self, words: list[str]) -> list[Pieces]:
        """The pieces of each word; the model is asked for those that are not remembered."""
        cache = self._cache  # may be replaced below or by another thread; this call keeps its own
        new = [word for word in dict.fromkeys(words) if word not in cache]
        if new:
            cache.update(zip(new, self.model.split(new)))
            self._cached_characters += sum(map(len, new))
            if self._cached_characters > CACHE_LIMIT:
                # Keep the half that came last, or nothing if that is too much; frequent words soon come back.
                kept = dict(islice(cache.items(), len(cache) // 2, None))
                characters = sum(map(len, kept))
                fits = characters <= CACHE_LIMIT // 2
                self._cache, self._cached_characters = (kept, characters) if fits else ({}, 0)
        return [*map(cache.__getitem__, words)]
