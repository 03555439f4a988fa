"""Splitting examples: all of them, none twice, groups whole, the same way every time."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilm.data import split_examples
from minilm.errors import InputError


@given(st.lists(st.integers(0, 30), min_size=3), st.integers(0, 2**32))
def test_every_example_once_and_in_order(numbers, seed):
    examples = list(enumerate(numbers))
    parts = split_examples(examples, (0.5, 0.5), seed=seed)
    assert Counter(e for part in parts for e in part) == Counter(examples)
    assert all(part == sorted(part) for part in parts)
    assert abs(len(parts[0]) - len(examples) / 2) <= 0.5
    assert parts == split_examples(examples, (0.5, 0.5), seed=seed)


@given(st.lists(st.integers(0, 6), min_size=40, max_size=80), st.integers(0, 2**32))
def test_a_group_stays_together(numbers, seed):
    examples = list(enumerate(numbers))
    try:
        parts = split_examples(examples, (0.6, 0.4), seed=seed, group=lambda example: example[1])
    except InputError:
        return  # groups too large to split so
    assert sum(map(len, parts)) == len(examples)
    assert not {number for _, number in parts[0]} & {number for _, number in parts[1]}
    largest = max(Counter(numbers).values())
    assert abs(len(parts[0]) - 0.6 * len(examples)) <= largest + 0.5


def test_the_shares():
    parts = split_examples(range(1000), seed=3)
    assert [len(part) for part in parts] == [800, 100, 100]
    assert [len(part) for part in split_examples(range(10), (0.7, 0.2, 0.1), seed=0)] == [7, 2, 1]
    assert split_examples("ab", (1.0,), seed=0) == [["a", "b"]]


def test_the_seed_decides():
    one, other = (split_examples(range(100), (0.5, 0.5), seed=seed)[0] for seed in (0, 1))
    assert one != other
    assert one != list(range(50))


def test_the_parts_are_what_they_always_were():
    """A change here would mix tomorrow's test set into today's training set."""
    assert split_examples(range(12), (0.5, 0.25, 0.25), seed=7) == [[0, 1, 3, 4, 6, 10], [2, 7, 8], [5, 9, 11]]


@pytest.mark.parametrize(
    ("examples", "fractions", "message"),
    [
        ("abc", (0.5, 0.6), r"fractions are \(0.5, 0.6\); give positive numbers that sum to 1"),
        ("abc", (1.5, -0.5), "give positive numbers"),
        ("abc", (1.0, 0.0), "give positive numbers"),
        ("abc", (), "give positive numbers"),
        ("abc", (float("nan"), 0.5), "give positive numbers"),
        ("abc", (0.9, 0.1), "3 examples in 3 groups leave nothing for the part of 0.1"),
        ("aaaa", (0.5, 0.5), "4 examples in 1 groups leave nothing"),
        ("", (1.0,), "0 examples in 0 groups"),
    ],
)
def test_bad_input(examples, fractions, message):
    with pytest.raises(InputError, match=message):
        split_examples(examples, fractions, seed=0, group=str)
