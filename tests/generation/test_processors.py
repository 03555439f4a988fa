"""Properties of the functions between logits and token."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilm.errors import InputError
from minilm.functional.normalization import softmax_array
from minilm.generation import (
    apply_temperature,
    forbid_repeated_ngrams,
    forbid_tokens,
    greedy,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalize_repetition,
    sample,
)

seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from([np.float32, np.float64])


@st.composite
def distinct_logits(draw, max_tokens=40):
    """(V,) or (B, V), all different within a row, now and then far apart."""
    generator = np.random.default_rng(draw(seeds))
    V = draw(st.integers(1, max_tokens))
    shape = draw(st.sampled_from([(V,), (1, V), (3, V)]))
    ranks = generator.permuted(np.broadcast_to(np.arange(V, dtype=draw(dtypes)), shape), axis=-1)
    return (ranks - V / 2) * draw(st.sampled_from([0.01, 0.3, 1.0, 40.0]))


@given(distinct_logits(), st.integers(1, 50))
def test_top_k_keeps_exactly_the_k_largest(logits, k):
    kept = keep_top_k(logits, k)
    assert kept.shape == logits.shape
    assert kept.dtype == logits.dtype
    for row, before in zip(np.atleast_2d(kept), np.atleast_2d(logits)):
        chosen = np.flatnonzero(row > -np.inf)
        assert set(chosen) == set(np.argsort(before)[-k:])
        assert np.array_equal(row[chosen], before[chosen])


def test_top_k_keeps_all_that_equal_the_kth():
    assert np.array_equal(keep_top_k(np.array([2.0, 1.0, 1.0, 0.0]), 2) > -np.inf, [True, True, True, False])


@given(distinct_logits(), st.floats(0.001, 1.0))
def test_top_p_keeps_the_smallest_set_that_reaches_p(logits, p):
    kept = keep_top_p(logits, p)
    assert kept.shape == logits.shape
    assert kept.dtype == logits.dtype
    P = np.atleast_2d(softmax_array(logits.astype(np.float64)))
    for row, before, probabilities in zip(np.atleast_2d(kept), np.atleast_2d(logits), P):
        chosen = row > -np.inf
        size = int(chosen.sum())
        assert size >= 1
        assert np.array_equal(row[chosen], before[chosen])
        assert set(np.flatnonzero(chosen)) == set(np.argsort(before)[-size:])  # the most probable ones
        assert probabilities[chosen].sum() >= p - 1e-12
        without_last = np.sort(probabilities[chosen])[1:].sum()
        assert size == 1 or p == 1 or without_last < p + 1e-12  # one fewer would not reach p


def test_top_p_takes_the_lower_of_two_equals_and_never_nothing():
    assert np.array_equal(keep_top_p(np.zeros(4), 0.5) > -np.inf, [True, True, False, False])
    logits = np.log([[0.2, 0.2, 0.4, 0.2], [0.1, 0.3, 0.3, 0.3]])
    assert np.array_equal(keep_top_p(logits, 0.5) > -np.inf, [[True, False, True, False], [False, True, True, False]])
    assert np.array_equal(keep_top_p(np.array([0.0, 100.0, 1.0]), 1e-9) > -np.inf, [False, True, False])


def test_top_p_just_below_one_survives_rounding():
    for V in range(1, 300):  # added up in floating point, V times 1/V may be below p
        kept = keep_top_p(np.zeros(V), np.nextafter(1, 0)) > -np.inf
        assert kept.sum() >= V - 1


def test_top_p_respects_what_top_k_has_hidden():
    logits = keep_top_k(np.log([0.4, 0.3, 0.2, 0.1]), 2)  # renormalized: 4/7 and 3/7
    assert np.array_equal(keep_top_p(logits, 0.57) > -np.inf, [True, False, False, False])
    assert np.array_equal(keep_top_p(logits, 0.58) > -np.inf, [True, True, False, False])


@given(distinct_logits(), st.floats(0.0, 1.0))
def test_min_p_keeps_what_is_probable_enough(logits, p):
    kept = keep_min_p(logits, p)
    assert kept.dtype == logits.dtype
    P = np.atleast_2d(softmax_array(logits.astype(np.float64)))
    for row, before, probabilities in zip(np.atleast_2d(kept), np.atleast_2d(logits), P):
        chosen = row > -np.inf
        assert np.array_equal(chosen, probabilities >= p * probabilities.max())
        assert chosen[before.argmax()]
        assert np.array_equal(row[chosen], before[chosen])


@given(st.integers(1, 4), st.integers(1, 12), seeds)
def test_forbidden_are_the_tokens_that_would_repeat_n_tokens(n, length, seed):
    V = 4
    seen = np.random.default_rng(seed).integers(0, V, (3, length))
    out = forbid_repeated_ngrams(np.zeros((3, V), np.float32), seen, n)
    assert out.dtype == np.float32
    for row, text in zip(out, seen.tolist()):
        there = {tuple(text[i : i + n]) for i in range(length - n + 1)}
        for token in range(V):
            would_be = tuple([*text, token][-n:])
            assert (row[token] == -np.inf) == (length >= n and would_be in there)


def test_forbidden_tokens():
    logits = np.zeros((2, 4))
    assert np.array_equal(forbid_tokens(logits, [1, 3]) > -np.inf, [[True, False, True, False]] * 2)
    assert not logits.any()


@given(distinct_logits(), st.floats(0.05, 20), seeds)
def test_repetition_penalty_is_the_formula(logits, penalty, seed):
    V = logits.shape[-1]
    seen = np.random.default_rng(seed).integers(0, V, (*logits.shape[:-1], 5))  # tokens may occur repeatedly
    penalized = penalize_repetition(logits, seen, penalty)
    assert penalized.dtype == logits.dtype
    for row, before, tokens in zip(np.atleast_2d(penalized), np.atleast_2d(logits), np.atleast_2d(seen)):
        for token in range(V):
            z = before[token]
            expected = (z / penalty if z > 0 else z * penalty) if token in tokens else z
            assert row[token] == pytest.approx(expected, rel=1e-6)


def test_the_functions_leave_their_argument_alone():
    logits = np.array([[1.0, 2.0, 3.0, -1.0]])
    before = logits.copy()
    apply_temperature(logits, 0.5), keep_top_k(logits, 2), keep_top_p(logits, 0.5)
    penalize_repetition(logits, np.array([[0, 3]]), 1.5)
    assert np.array_equal(logits, before)


@given(distinct_logits(), seeds)
def test_a_temperature_near_zero_is_greedy(logits, seed):
    P = softmax_array(apply_temperature(logits, 1e-4))
    assert np.array_equal(sample(P, np.random.default_rng(seed)), greedy(logits))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_are_distributed_as_the_probabilities(temperature, generator):
    """Pearson's χ² over 20,000 draws: below the 99.9 % point of its distribution with V − 1 = 9 degrees of freedom."""
    P = softmax_array(apply_temperature(generator.normal(0, 1.5, 10), temperature))
    n = 20_000
    drawn = sample(np.broadcast_to(P, (n, 10)), generator)
    assert drawn.shape == (n,)
    observed = np.bincount(drawn, minlength=10)
    assert ((observed - n * P) ** 2 / (n * P)).sum() < 27.88


@given(st.lists(st.sampled_from([0.0, 1e-12, 0.2, 3.0]), min_size=1, max_size=30).filter(any), seeds)
def test_a_token_of_probability_zero_is_never_drawn(weights, seed):
    P = np.array(weights)
    drawn = sample(np.broadcast_to(P, (50, len(P))), np.random.default_rng(seed))
    assert (P[drawn] > 0).all()


class Extreme:
    """Stands for a generator that draws the smallest or the largest number there is."""

    def __init__(self, u):
        self.u = u

    def random(self, shape):
        return np.full(shape, self.u)


@pytest.mark.parametrize(("u", "expected"), [(0.0, 1), (1 - 2**-53, 3)])
@pytest.mark.parametrize("scale", [1e-300, 0.3, 1.0, 7.0])
def test_the_ends_of_the_interval(u, expected, scale):
    assert sample(np.array([0.0, 0.5, 0.25, 0.25, 0.0]) * scale, Extreme(u)) == expected


def test_one_number_per_row_is_drawn_in_the_order_of_the_rows(generator):
    P = softmax_array(generator.normal(size=(4, 6)))
    together = sample(P, np.random.default_rng(1))
    one_by_one = np.random.default_rng(1)
    assert together.tolist() == [int(sample(row, one_by_one)) for row in P]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: apply_temperature(z, 0), "above 0"),
        (lambda z: apply_temperature(z, -1), "above 0"),
        (lambda z: apply_temperature(z, float("nan")), "above 0"),
        (lambda z: keep_top_k(z, 0), "at least 1"),
        (lambda z: keep_top_p(z, 0), "above 0 and at most 1"),
        (lambda z: keep_top_p(z, 1.5), "above 0 and at most 1"),
        (lambda z: keep_min_p(z, -0.1), "at least 0 and at most 1"),
        (lambda z: forbid_repeated_ngrams(z[None], np.array([[0]]), 0), "at least 1"),
        (lambda z: penalize_repetition(z, np.array([0]), 0), "above 0"),
        (lambda z: sample(z * np.nan, np.random.default_rng(0)), "at least 0"),
        (lambda z: sample(z * 0, np.random.default_rng(0)), "not all of them 0"),
        (lambda z: sample(z - 1.5, np.random.default_rng(0)), "at least 0"),
    ],
)
def test_errors_say_the_allowed_range(call, message):
    with pytest.raises(InputError, match=message):
        call(np.array([1.0, 2.0]))
