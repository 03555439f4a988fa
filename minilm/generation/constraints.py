"""Which tokens may, must and should come, by rules that somebody gave: words that are forbidden, tokens that are forced.

As in processors.py every function takes logits (B, V) and returns new ones; a token that may not come has the logit −∞.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Array = np.ndarray


def forbid_sequences(logits: Array, seen: Array, sequences: Sequence[Sequence[int]]) -> Array:
    """−∞ for each token that would complete one of the sequences of tokens.

    logits: (B, V); seen: (B, T), the texts so far. Of [5, 3, 8] the 8 is forbidden where a text ends with 5, 3.
    """
    logits = logits.copy()
    T = seen.shape[1]
    for *before, last in sequences:
        n = len(before)
        if n > T:
            continue
        rows = (seen[:, T - n :] == np.array(before, seen.dtype)).all(axis=1)  # all of them, if nothing stands before
        logits[rows, last] = -np.inf
    return logits


def forbid_ngrams_of(logits: Array, seen: Array, source: Array, n: int) -> Array:
    """−∞ for each token that would end n tokens which stand in the source.

    logits: (B, V); seen: (B, T); source: (B, S), what the encoder read, or the prompt. So that a summary does not copy.
    """
    T = seen.shape[1]
    if n > source.shape[1] or n - 1 > T:
        return logits
    windows = np.lib.stride_tricks.sliding_window_view(source, n, axis=1)  # (B, S − n + 1, n)
    rows, places = np.nonzero((windows[..., :-1] == seen[:, None, T + 1 - n :]).all(axis=-1))
    tokens = windows[rows, places, -1]
    known = tokens < logits.shape[-1]  # a table may have rows that no logit stands for
    logits = logits.copy()
    logits[rows[known], tokens[known]] = -np.inf
    return logits


def force_tokens(logits: Array, tokens: Sequence[int]) -> Array:
    """0 for these tokens and −∞ for all others: one of them must come."""
    forced = np.full_like(logits, -np.inf)
    forced[..., list(tokens)] = 0
    return forced


def prefer_end(logits: Array, tokens: Sequence[int], factor: float, steps: int) -> Array:
    """z + |z| (f^steps − 1) for the tokens that end a text: with f > 1 more and more probable, step by step.

    steps: how many tokens the text is beyond the length where this begins.
    """
    ends = list(tokens)
    z = logits[..., ends]
    more = np.where(np.isfinite(z), np.abs(z) * (factor**steps - 1), 0)  # what is forbidden stays so
    logits = logits.copy()
    logits[..., ends] = z + more.astype(logits.dtype)
    return logits
