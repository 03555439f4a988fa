"""Words as tokens: a vocabulary of the most frequent ones, and [UNK] for the rest.    [000 §3.1, 003 Q3]"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from minilm.errors import InputError
from minilm.text.wordpiece import Pieces


class WordLevel:
    """vocabulary: {word: id}. unk_token: what a word becomes that is not in it.

    Raises InputError if the vocabulary lacks unk_token.
    """

    def __init__(self, vocabulary: Mapping[str, int], unk_token: str = "[UNK]") -> None:
        if unk_token not in vocabulary:
            raise InputError(
                f"the vocabulary of {len(vocabulary)} words lacks the unknown token {unk_token!r}; add it, or name another"
            )
        self.vocabulary = dict(vocabulary)
        self.unk_token = unk_token

    def split(self, words: Sequence[str]) -> list[Pieces]:
        """One piece for each word."""
        unknown = self.vocabulary[self.unk_token]
        return [([self.vocabulary.get(word, unknown)], [0], [len(word)]) for word in words]
