"""The bigram model: what one can know from counting pairs. A network should do better, or it has learned nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from minilm.errors import InputError

DENSE_LIMIT = 2048  # up to this vocabulary all V² counts are kept as a table, 34 MB at most
CHUNK = 1 << 20  # pairs that are counted at a time

Counts = tuple[np.ndarray, np.ndarray]


class BigramModel:
    r"""P(b | a) = (c(ab) + α) / (c(a) + α V): how often b followed a, with add-α smoothing.    [eq:bigram]

    [F15; 000 §1.2, §2.1] The chain rule P(w_1 … w_n) = Π P(w_t | w_<t), in which only the last token is looked at.

    c(ab) is the number of times the pair occurs, c(a) the number of times a is followed by anything, V the vocabulary.
    α > 0 lends every pair a part of a count, so that one never seen has a small probability and not none. The default
    is near the best for Shakespeare cut into 65, 1,000 or 8,000 different tokens; α = 1 would make a weak opponent.

    Up to V = 2,048 the counts are a table (V, V); beyond that only pairs that occur are kept, sorted, so memory grows
    with their number and neither with V² nor with the length of the text.
    """

    def __init__(self, vocab_size: int, alpha: float = 0.03):
        if vocab_size < 1:
            raise InputError(f"vocab_size is {vocab_size}; it must be at least 1")
        if not 0 < alpha < math.inf:
            raise InputError(f"alpha is {alpha}; it must be a positive number, such as 0.03")
        self.vocab_size, self.alpha = vocab_size, alpha
        self.first_counts = np.zeros(vocab_size, np.int64)  # c(a)
        self.dense = vocab_size <= DENSE_LIMIT
        self.table = np.zeros(vocab_size**2 if self.dense else 0, np.int64)  # c(ab) at a V + b
        self.pairs: Counts = np.zeros(0, np.int64), np.zeros(0, np.int64)  # the pairs a V + b that occur, and c(ab)

    @classmethod
    def fit(cls, tokens: np.ndarray, vocab_size: int, alpha: float = 0.03) -> BigramModel:
        """Count the pairs of `tokens`: (n,) integers, in memory or memory-mapped (read once, in pieces).

        Raises InputError for a token outside the vocabulary.
        """
        model = cls(vocab_size, alpha)
        model.add(tokens)
        return model

    def add(self, tokens: np.ndarray) -> None:
        """Count the pairs of one more text."""
        for first, second in self._pairs_of(tokens):
            keys = first * self.vocab_size + second
            self.first_counts += np.bincount(first, minlength=self.vocab_size)
            if self.dense:
                self.table += np.bincount(keys, minlength=self.table.size)
            else:
                self.pairs = merge_counts(self.pairs, np.unique(keys, return_counts=True))

    def counts(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """c(ab) for arrays of equal shape: how often each `second` followed each `first`."""
        keys = first * self.vocab_size + second
        if self.dense:
            return self.table[keys]
        known, counts = self.pairs
        if not known.size:
            return np.zeros(keys.shape, np.int64)
        places = np.minimum(np.searchsorted(known, keys), known.size - 1)
        return np.where(known[places] == keys, counts[places], 0)

    def probabilities(self, token: int) -> np.ndarray:
        """P(b | token) for every b: (V,) float64 that sums to 1."""
        if not 0 <= token < self.vocab_size:
            raise InputError(self._outside(token))
        followers = np.arange(self.vocab_size)
        counts = self.counts(np.full_like(followers, token), followers)
        return (counts + self.alpha) / (self.first_counts[token] + self.alpha * self.vocab_size)  # [eq:bigram]

    def loss(self, tokens: np.ndarray) -> float:
        """−(1/(n−1)) Σ_t ln P(w_t | w_(t−1)) in nats per token, over all tokens but the first; e^loss is the perplexity.

        tokens: (n,) integers, n ≥ 2. Raises InputError for fewer, or for a token outside the vocabulary.
        """
        if len(tokens) < 2:
            raise InputError(f"{len(tokens)} token(s) have no pair to measure; use a longer text")
        total = 0.0
        for first, second in self._pairs_of(tokens):
            given = self.first_counts[first] + self.alpha * self.vocab_size
            total -= float(np.log((self.counts(first, second) + self.alpha) / given).sum())
        return total / (len(tokens) - 1)

    def _pairs_of(self, tokens: np.ndarray) -> Iterator[Counts]:
        """The pairs (w_t, w_(t+1)) as two int64 arrays, at most CHUNK at a time."""
        for start in range(0, len(tokens) - 1, CHUNK):
            chunk = np.asarray(tokens[start : start + CHUNK + 1])
            if chunk.dtype.kind not in "iu":
                raise InputError(f"a bigram model counts integer tokens, not {chunk.dtype}; encode the text first")
            for token in (int(chunk.min()), int(chunk.max())):
                if not 0 <= token < self.vocab_size:
                    raise InputError(self._outside(token))
            chunk = chunk.astype(np.int64)
            yield chunk[:-1], chunk[1:]

    def _outside(self, token: int) -> str:
        return (
            f"token {token} is not in the vocabulary of {self.vocab_size} (0 to {self.vocab_size - 1}); "
            "use the tokenizer that the model was counted with"
        )


def merge_counts(left: Counts, right: Counts) -> Counts:
    """Join two lists (sorted distinct keys, counts) into one; the counts of a key in both are added."""
    keys = np.concatenate((left[0], right[0]))
    counts = np.concatenate((left[1], right[1]))
    order = np.argsort(keys, kind="stable")  # two sorted runs: this is one merge
    keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    return keys[starts], np.add.reduceat(counts, starts)
