"""Splitting examples into training, validation and test, the same way every time."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np

from minilm.errors import InputError

Example = TypeVar("Example")


def split_examples(
    examples: Sequence[Example],
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    *,
    seed: int,
    group: Callable[[Example], Hashable] | None = None,
) -> list[list[Example]]:
    """As many parts as fractions, every example in just one of them, in the order they came in.

    fractions: shares of the examples, which sum to 1. seed: the same seed, examples and fractions give the same parts.
    group: what must not be torn apart, as a function of an example. A translation corpus that has a sentence several
    times, each time with another translation, is split by `lambda pair: pair.source`: else the test set would ask for
    sentences that training has answered. Parts then have their share only up to the size of a group.

    Raises InputError for fractions that are none, and where a part would be empty.
    """
    shares = np.asarray(fractions, np.float64)
    if shares.ndim != 1 or not len(shares) or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise InputError(
            f"fractions are {tuple(fractions)}; give positive numbers that sum to 1, such as 0.8, 0.1, 0.1"
        )
    numbers: dict[Hashable, int] = {}  # a group's number, in the order in which groups appear
    keys = range(len(examples)) if group is None else map(group, examples)
    group_of = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
    order = np.random.default_rng(seed).permutation(len(numbers))
    sizes = np.bincount(group_of, minlength=len(numbers))[order]
    before = np.cumsum(sizes) - sizes  # how many examples stand before each group, in shuffled order
    ends = np.rint(np.cumsum(shares) * len(examples))[:-1]
    part_of_group = np.empty(len(numbers), np.int64)
    part_of_group[order] = np.searchsorted(ends, before, side="right")
    parts: list[list[Example]] = [[] for _ in shares]
    for example, number in zip(examples, group_of):
        parts[part_of_group[number]].append(example)
    empty = [n for n, part in enumerate(parts) if not part]
    if empty:
        raise InputError(
            f"{len(examples)} examples in {len(numbers)} groups leave nothing for the part of {shares[empty[0]]:g}; give"
            " more examples, or fewer or larger fractions"
        )
    return parts
