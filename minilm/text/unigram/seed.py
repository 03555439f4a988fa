"""The first, too large vocabulary for a Unigram model: every substring that may be worth a piece."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minilm.text.unigram.lattice import Arcs

# of one length: where substrings stand, the number of each, and for each number its count and whether it is kept
Found = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class Seed(NamedTuple):
    """pieces: the texts, all single characters first. counts: (pieces,) how often each occurs. arcs: where."""

    pieces: list[str]
    counts: np.ndarray
    arcs: Arcs


def find_seed(words: list[str], weights: np.ndarray, max_length: int, max_seed: int) -> Seed:
    """All single characters, and the substrings of up to max_length characters that occur more than once.

    words: distinct. weights: (words,) how often each occurs; a substring's count is the sum over its places.
    A substring after which always the same character comes is left out: the longer one says more. If more
    than max_seed are left, those with the greatest count · length stay.

    Substrings get numbers, length by length: a substring of length L + 1 is the pair (number of its first L
    characters, number of its last character), so equal ones are found by sorting pairs of numbers. Only places whose
    substring occurs more than once can grow, so the arrays shrink quickly.
    """
    text = "".join(words)
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    characters, kind = np.unique(np.frombuffer(text.encode("utf-32-le"), "<u4"), return_inverse=True)
    word = np.repeat(np.arange(len(words)), lengths)
    weight = weights[word]
    node = np.arange(len(text)) + word  # the place before each character, as the lattice counts them
    last = np.cumsum(lengths)[word]  # the end of each character's word in `text`

    singles = np.bincount(kind, weight, minlength=len(characters))
    places, number, counts = np.arange(len(text)), kind, singles
    found: list[Found] = [(places, number, counts, np.ones(len(characters), bool))]  # of length 1 all are kept
    for length in range(2, max_length + 2):
        growing = (places + length <= last[places]) & (counts[number] > 1)
        places, parent = places[growing], number[growing]
        if not len(places):
            break
        keys, number = np.unique(parent * len(characters) + kind[places + length - 1], return_inverse=True)
        longer = np.bincount(number, weight[places])
        # a parent that occurs as often as one of its children is always followed by the same character
        parents = keys // len(characters)
        if length > 2:
            followed = np.zeros(len(counts))
            np.maximum.at(followed, parents, longer)
            found[-1][3][:] &= followed < counts
        if length <= max_length:
            found.append((places, number, longer, longer > 1))
        counts = longer
    return _collect(found, text, node, max_seed)


def _collect(found: list[Found], text: str, node: np.ndarray, max_seed: int) -> Seed:
    """The substrings that are kept, with their places as arcs."""
    least = 0.0
    gains = np.concatenate(
        [(n + 2) * counts[kept] for n, (_, _, counts, kept) in enumerate(found[1:])] or [np.zeros(0)]
    )
    room = max(max_seed - len(found[0][2]), 0)
    if len(gains) > room:
        least = np.sort(gains)[::-1][room - 1] if room else np.inf
    pieces: list[str] = []
    counts_of, starts, ends, numbers = [], [], [], []
    for n, (places, number, counts, kept) in enumerate(found):
        length = n + 1
        wanted = kept & (length * counts >= least) if length > 1 else kept
        new = np.cumsum(wanted) - 1 + len(pieces)
        example = np.zeros(len(counts), np.int64)
        example[number] = places  # some place of each substring
        pieces += [text[place : place + length] for place in example[wanted].tolist()]
        counts_of.append(counts[wanted])
        here = wanted[number]
        starts.append(node[places[here]])
        ends.append(node[places[here]] + length)
        numbers.append(new[number[here]])
    arcs = Arcs(np.concatenate(starts), np.concatenate(ends), np.concatenate(numbers))
    return Seed(pieces, np.concatenate(counts_of), arcs)
