"""Many words in one flat array of symbols: the form in which BPE is trained and applied.

    words      b"low"  b"owl"
    symbols    | l o w | o w l |          "|" is BARRIER: no pair reaches across it

A merge writes the new symbol over the left one, marks the right one DEAD and links around it (`following` and
`preceding`), so nothing is moved. A list of the places where a pair stands stays good, too: a place that is no longer
that pair is known by its symbols and passed over. The lists are Python's own, because one element of a list is read
faster than one of an array.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

BARRIER, DEAD = -1, -2
SHIFT = 32  # a pair (a, b) is the one number a << SHIFT | b: quicker to hash and to compare than a tuple
SEPARATOR = b"\xff"  # a byte that UTF-8 never uses


def lay_out(words: Iterable[str]) -> np.ndarray:
    """The UTF-8 bytes of all words, a separator before, between and after them.

    Returns: uint8, one dimension. Raises UnicodeEncodeError for a lone surrogate.
    """
    pieces = [word.encode() for word in words]
    return np.frombuffer(SEPARATOR + SEPARATOR.join([*pieces, b""]), np.uint8)


def positions_by_key(keys: np.ndarray, positions: np.ndarray) -> dict[int, list[int]]:
    """{key: the positions that have it, ascending}.

    keys, positions: integers of the same length, positions ascending.
    """
    if not len(keys):
        return {}
    order = np.argsort(keys, kind="stable")  # stable: equal keys keep their positions in ascending order
    keys, positions = keys[order], positions[order]
    starts = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
    groups = np.split(positions, starts[1:])
    return {key: group.tolist() for key, group in zip(keys[starts].tolist(), groups)}


def links(length: int) -> tuple[list[int], list[int]]:
    """(following, preceding): the position after and the position before each position, before any merge."""
    return list(range(1, length + 1)), list(range(-1, length - 1))


def split_words(symbols: Sequence[int]) -> list[list[int]]:
    """The symbols of each word after the merges, without barriers and dead ones."""
    alive = np.array(symbols, np.int64)
    alive = alive[alive != DEAD]
    barriers = np.flatnonzero(alive == BARRIER).tolist()
    flat = alive.tolist()
    return [flat[left + 1 : right] for left, right in pairwise(barriers)]
