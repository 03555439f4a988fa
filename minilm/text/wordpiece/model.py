"""WordPiece, the model of BERT's tokenizers: a word is cut into the longest pieces that the vocabulary has.

    "unaffable" → un ##aff ##able      "##" marks a piece that continues a word

Wu et al., "Google's neural machine translation system", 2016, section 4.1; greedy longest match as in BERT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from minilm.errors import InputError
from minilm.text.pipeline.pipeline import Pieces


class WordPiece:
    """vocabulary: {piece: id}. unk_token: what a word becomes that cannot be cut, or is longer than
    max_input_chars_per_word characters. continuing_subword_prefix: the mark of pieces inside a word.

    Raises InputError if the vocabulary lacks unk_token.
    """

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        unk_token: str = "[UNK]",
        continuing_subword_prefix: str = "##",
        max_input_chars_per_word: int = 100,
    ) -> None:
        if unk_token not in vocabulary:
            raise InputError(
                f"the vocabulary of {len(vocabulary)} pieces lacks the unknown token {unk_token!r}, which every word "
                "becomes that it does not cover; add it, or name another unk_token"
            )
        self.vocabulary = dict(vocabulary)
        self.unk_token = unk_token
        self.continuing_subword_prefix = continuing_subword_prefix
        self.max_input_chars_per_word = max_input_chars_per_word
        prefix = continuing_subword_prefix
        inside = {p.removeprefix(prefix): n for p, n in self.vocabulary.items() if p.startswith(prefix)}
        self._tables = self.vocabulary, inside  # for the beginning of a word, and for what follows
        self._longest = max(map(len, self.vocabulary))

    def split(self, words: Sequence[str]) -> list[Pieces]:
        """The pieces of each word, with their places in it: un ##aff ##able is ([..], [0, 2, 5], [2, 5, 9])."""
        return [self._split(word) for word in words]

    def _split(self, word: str) -> Pieces:
        ids: list[int] = []
        ends: list[int] = []
        start, length = 0, len(word)
        if length > self.max_input_chars_per_word:
            return self._unknown(word)
        table = self._tables[0]
        while start < length:
            for end in range(min(length, start + self._longest), start, -1):
                found = table.get(word[start:end])
                if found is not None:
                    break
            else:
                return self._unknown(word)
            ids.append(found)
            ends.append(end)
            start, table = end, self._tables[1]
        return ids, [0, *ends[:-1]], ends

    def _unknown(self, word: str) -> Pieces:
        return [self.vocabulary[self.unk_token]], [0], [len(word)]
