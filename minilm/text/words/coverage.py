"""How much of a text a vocabulary knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from typing import NamedTuple

from minilm.errors import InputError


class Coverage(NamedTuple):
    """Shares from 0 to 1: of the running words (tokens), and of the different words (types); and the unknown ones."""

    tokens: float
    types: float
    unknown: Counter[str]


def vocabulary_coverage(words: Iterable[str], vocabulary: Container[str]) -> Coverage:
    r"""c_tokens = Σ_{w ∈ V} n(w) / Σ_w n(w),   c_types = |{w : n(w) > 0} ∩ V| / |{w : n(w) > 0}|.

    [eq:coverage] [F18; 003 FAQ Q2]

    words: a text as a tokenizer cut it, n(w) times the word w. vocabulary: V, a set or dict of the known words.
    Returns both shares and how often each unknown word occurs. The two differ, since a
    vocabulary holds the frequent words: the rare ones it lacks are many types and few tokens.
    Raises InputError if there is no word.
    """
    counts = Counter(words)
    if not counts:
        raise InputError("there is no word to look up, so no coverage to measure; give a text with at least one")
    unknown = Counter({word: count for word, count in counts.items() if word not in vocabulary})
    known_tokens, known_types = counts.total() - unknown.total(), len(counts) - len(unknown)
    return Coverage(known_tokens / counts.total(), known_types / len(counts), unknown)
