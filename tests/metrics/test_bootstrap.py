"""Intervals by resampling: what they must be, where that is known; and coverage and bits per byte."""

import math

import numpy as np
import pytest

from minilm.errors import InputError
from minilm.metrics import (
    accuracy,
    bits_per_byte,
    bits_per_character,
    bleu_of,
    bleu_statistics,
    bootstrap_interval,
    paired_bootstrap,
    vocabulary_coverage,
)


def test_the_interval_of_a_mean_is_the_normal_one(generator):
    """For the mean of n values, about ±1.96 σ/√n around it."""
    values = generator.normal(5, 2, 400)
    score, low, high = bootstrap_interval(lambda rows: values[rows].mean(), 400, generator, resamples=4000)
    error = values.std() / math.sqrt(400)
    assert score == values.mean()
    assert low == pytest.approx(score - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(score + 1.96 * error, abs=0.15 * error)


def test_a_wider_level_gives_a_wider_interval_and_the_seed_gives_the_same():
    right = np.arange(100) % 3 > 0

    def metric(rows):
        return accuracy(right[rows], np.ones(100, bool)[rows])

    wide, narrow, again = (
        bootstrap_interval(metric, 100, np.random.default_rng(1), level=p) for p in (0.99, 0.5, 0.99)
    )
    assert wide.low < narrow.low < wide.score < narrow.high < wide.high
    assert wide == again


def test_all_right_is_certain(generator):
    assert bootstrap_interval(lambda rows: 1.0, 7, generator) == (1.0, 1.0, 1.0)


def test_the_bounds_are_percentiles(generator):
    """One example of two is right: a resample of two has 0, 1 or 2 right, with 1/4, 1/2, 1/4."""
    right = np.array([0.0, 1.0])
    result = bootstrap_interval(lambda rows: right[rows].mean(), 2, generator, level=0.4)
    assert result == (0.5, 0.5, 0.5)
    assert bootstrap_interval(lambda rows: right[rows].mean(), 2, generator, level=0.6) == (0.5, 0.0, 1.0)


def test_pairing_sees_what_single_intervals_do_not(generator):
    """The second is better on 1 example in 10, and worse on none; both are far from certain by themselves."""
    first = generator.random(200) < 0.5
    second = first | (np.arange(200) % 10 == 0)
    result = paired_bootstrap(lambda rows: first[rows].mean(), lambda rows: second[rows].mean(), 200, generator)
    assert result.first.high > result.second.low
    assert result.difference.low > 0
    assert result.difference.score == pytest.approx(second.mean() - first.mean())
    assert result.second_wins > 0.99


def test_a_system_beside_itself_wins_half(generator):
    result = paired_bootstrap(lambda rows: rows.mean(), lambda rows: rows.mean(), 50, generator)
    assert result.difference == (0.0, 0.0, 0.0)
    assert result.second_wins == 0.5
    assert result.first == result.second


def test_a_corpus_score_is_resampled_by_its_statistics(generator):
    statistics = bleu_statistics(["a b c d", "a b c x y"] * 20, ["a b c d", "a b c d e"] * 20)
    result = bootstrap_interval(lambda rows: bleu_of(statistics[rows].sum(0)).score, 40, generator, 200)
    assert result.low < bleu_of(statistics.sum(0)).score == result.score < result.high


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"examples": 0}, "no example to resample"),
        ({"resamples": 0}, "resamples is 0"),
        ({"level": 1.0}, "level is 1.0"),
        ({"level": 95}, "level is 95; give one between 0 and 1"),
    ],
)
def test_bad_input(generator, arguments, message):
    arguments = {"examples": 3, "generator": generator} | arguments
    with pytest.raises(InputError, match=message):
        bootstrap_interval(lambda rows: 0.0, **arguments)
    with pytest.raises(InputError, match=message):
        paired_bootstrap(lambda rows: 0.0, lambda rows: 0.0, **arguments)


def test_coverage_by_hand():
    words = ["the", "cat", "sat", "on", "the", "mat", "on", "Monday"]
    coverage = vocabulary_coverage(words, {"the", "cat", "on"})
    assert coverage.tokens == pytest.approx(5 / 8)
    assert coverage.types == pytest.approx(3 / 6)
    assert coverage.unknown == {"sat": 1, "mat": 1, "Monday": 1}
    assert vocabulary_coverage(["a"], {"a": 0})[:2] == (1, 1)
    assert vocabulary_coverage(["a"], [])[:2] == (0, 0)
    with pytest.raises(InputError, match="no word to look up"):
        vocabulary_coverage([], {"a"})


def test_bits_per_byte_by_hand():
    # 2 tokens, each one of 8 at random, spell 月光 in 6 bytes: 6 bits in 6 bytes
    assert bits_per_byte(math.log(8), 2, "月光") == pytest.approx(1)
    assert bits_per_byte(1.7, 5, "plain") == pytest.approx(bits_per_character(1.7, 5, 5))
    with pytest.raises(InputError, match="empty text"):
        bits_per_byte(1.0, 1, "")
