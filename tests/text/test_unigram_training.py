"""Training Unigram: seed, lattice and EM against the slow way, and the laws of the whole."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilm.errors import InputError
from minilm.text.unigram import training as unigram_training
from minilm.text.unigram.lattice import Lattice
from minilm.text.unigram.model import Unigram
from minilm.text.unigram.seed import find_seed
from minilm.text.unigram.training import train_unigram

COUNTS = st.dictionaries(st.text("abc", min_size=1, max_size=7), st.integers(1, 9), min_size=1, max_size=12)
TEXT = "the cat sat on the mat and the dog sat on the log while the rat ran at the cat and the dog " * 3


def lattice_of(counts, max_length=16):
    words = sorted(counts)
    weights = np.array([counts[word] for word in words], float)
    seed = find_seed(words, weights, max_length, 10**6)
    return words, weights, seed, Lattice(np.array([len(word) for word in words]), seed.arcs, weights)


def naive_seed(counts, max_length):
    """{substring: count} as `find_seed` promises it."""
    found = Counter()
    for word, count in counts.items():
        for start in range(len(word)):
            for end in range(start + 1, min(start + max_length + 1, len(word)) + 1):
                found[word[start:end]] += count
    alphabet = {character for word in counts for character in word}
    return {
        text: count
        for text, count in found.items()
        if len(text) == 1
        or (len(text) <= max_length and count > 1 and all(found[text + letter] < count for letter in alphabet))
    }


@given(COUNTS, st.integers(1, 5))
def test_the_seed_has_the_repeated_substrings(counts, max_length):
    words, _, seed, _ = lattice_of(counts, max_length)
    assert dict(zip(seed.pieces, seed.counts)) == naive_seed(counts, max_length)
    flat = "\n".join(words) + "\n"  # nodes count one place per word more than characters
    for start, end, piece in zip(*seed.arcs):
        assert flat[start:end] == seed.pieces[piece]


def test_the_seed_keeps_the_greatest_gains():
    counts = {"abcabc": 3, "abab": 2}
    words, weights, seed, _ = lattice_of(counts)
    small = find_seed(words, weights, 16, 4)
    assert small.pieces[:3] == ["a", "b", "c"]
    gain = {text: len(text) * count for text, count in zip(seed.pieces, seed.counts) if len(text) > 1}
    assert small.pieces[3:] == [max(gain, key=gain.get)]


def cuts_of(word, scores):
    """Every cut of a word into known pieces."""
    if not word:
        return [[]]
    return [
        [word[:n], *rest] for n in range(1, len(word) + 1) if word[:n] in scores for rest in cuts_of(word[n:], scores)
    ]


@given(COUNTS, st.integers(0, 2**32 - 1))
def test_expected_counts_are_those_over_all_cuts(counts, seed_number):
    words, weights, seed, lattice = lattice_of(counts)
    scores = np.log(np.random.default_rng(seed_number).dirichlet(np.ones(len(seed.pieces))) + 1e-9)
    got, likelihood = lattice.expected_counts(scores)
    score = dict(zip(seed.pieces, scores))
    expected, total = Counter(), 0.0
    for word, weight in zip(words, weights):
        cuts = cuts_of(word, score)
        probabilities = np.exp([sum(score[piece] for piece in cut) for cut in cuts])
        total += weight * math.log(probabilities.sum())
        for cut, share in zip(cuts, probabilities / probabilities.sum()):
            for piece in cut:
                expected[piece] += weight * share
    np.testing.assert_allclose(got, [expected[piece] for piece in seed.pieces], rtol=1e-9, atol=1e-12)
    assert math.isclose(likelihood, total, rel_tol=1e-9)
    a, b = lattice.forward(scores), lattice.backward(scores)
    np.testing.assert_allclose(a[lattice.last_nodes], b[lattice.first_nodes], rtol=1e-9)


@given(COUNTS, st.integers(0, 2**32 - 1))
def test_best_cuts_are_those_of_the_model(counts, seed_number):
    words, weights, seed, lattice = lattice_of(counts)
    scores = np.log(np.random.default_rng(seed_number).dirichlet(np.ones(len(seed.pieces))) + 1e-9)
    model = Unigram(list(zip(seed.pieces, scores)))
    expected = np.zeros(len(scores))
    for word, weight in zip(words, weights):
        for n in model.split([word])[0][0]:
            expected[n] += weight
    np.testing.assert_array_equal(lattice.best_counts(scores), expected)


@given(COUNTS)
def test_the_likelihood_never_falls_between_em_steps(counts):
    _, _, seed, lattice = lattice_of(counts)
    scores = np.full(len(seed.pieces), -math.log(len(seed.pieces)))
    model = unigram_training._Vocabulary(np.array(seed.pieces, object), scores, lattice)
    model.single[:] = False  # no floor under any count: EM as it is written
    likelihoods = [model.em_step(drop=False) for _ in range(8)]
    expected, _ = lattice.expected_counts(model.scores)
    model.em_step(drop=False)
    np.testing.assert_allclose(np.exp(model.scores), expected / expected.sum(), atol=1e-12)
    assert (np.diff(likelihoods) >= -1e-9 * np.abs(likelihoods[0])).all()
    assert math.isclose(np.exp(model.scores).sum(), 1)


def test_the_likelihood_never_falls_on_a_real_text(data_folder):
    counts = Counter("▁" + word for word in (data_folder / "tinyshakespeare.txt").read_text("utf-8")[:100_000].split())
    _, _, seed, lattice = lattice_of(counts)
    scores = np.log(seed.counts / seed.counts.sum())
    model = unigram_training._Vocabulary(np.array(seed.pieces, object), scores, lattice)
    likelihoods = [model.em_step(drop=False) for _ in range(6)]
    assert (np.diff(likelihoods) > 0).all()


@settings(max_examples=30)
@given(COUNTS, st.integers(0, 10))
def test_trained_pieces(counts, more):
    characters = set("".join(counts))
    pieces = train_unigram(counts, len(characters) + more)
    texts = [text for text, _ in pieces]
    assert len(set(texts)) == len(texts) <= len(characters) + more
    assert characters <= set(texts)
    assert [score for _, score in pieces] == sorted((score for _, score in pieces), reverse=True)
    assert math.isclose(sum(math.exp(score) for _, score in pieces), 1, rel_tol=1e-9)
    assert pieces == train_unigram(dict(reversed(counts.items())), len(characters) + more)


def test_frequent_words_become_pieces():
    counts = Counter("▁" + word for word in TEXT.split())
    texts = [text for text, _ in train_unigram(counts, 30)]
    assert {"▁the", "▁and"} <= set(texts[:8])
    assert 20 < len(texts) <= 30


def test_pieces_that_no_best_cut_has_go():
    assert [text for text, _ in train_unigram({"ab": 400, "a": 10_000, "b": 10_000}, 2)] == ["a", "b"]


def test_excluded_texts_are_no_piece():
    counts = Counter("▁" + word for word in TEXT.split())
    assert "▁the" not in [text for text, _ in train_unigram(counts, 30, exclude=["▁the"])]


def test_a_text_without_spaces_is_cut():
    assert [text for text, _ in train_unigram({"ab" * 50_000: 1}, 10, max_piece_length=4)]


@pytest.mark.parametrize(
    ("counts", "size", "options", "message"),
    [
        ({}, 10, {}, "no text"),
        ({"ab": 0}, 10, {}, "no text"),
        ({"abc": 1}, 2, {}, "no room for the 3 characters"),
        ({"abc": 1}, 0, {}, "0 pieces"),
        ({"abc": 1}, 5, {"shrinking_factor": 1.0}, "shrinking_factor"),
        ({"abc": 1}, 5, {"em_steps": 0}, "em_steps"),
        ({"abc": 1}, 5, {"max_piece_length": 0}, "max_piece_length"),
    ],
)
def test_bad_training_arguments(counts, size, options, message):
    with pytest.raises(InputError, match=message):
        train_unigram(counts, size, **options)


def test_the_loss_of_a_piece():
    counts = Counter("▁" + word for word in TEXT.split())
    _, _, seed, lattice = lattice_of(counts)
    model = unigram_training._Vocabulary(
        np.array(seed.pieces, object), np.log(seed.counts / seed.counts.sum()), lattice
    )
    model.em_step()
    occurs = model.lattice.best_counts(model.scores)
    used = np.flatnonzero((occurs > 0) & ~model.single)
    losses = model._losses(used, occurs)
    total = occurs.sum()
    assert len(used) > 5
    for n, loss in zip(used, losses):
        rest = [m for m in range(len(model.pieces)) if m != n]
        others = Unigram([(model.pieces[m], model.scores[m]) for m in rest])
        cut = [rest[m] for m in others.split([model.pieces[n]])[0][0]]
        new_total = total + (len(cut) - 1) * occurs[n]
        changed = sum(math.log((occurs[m] + occurs[n]) / new_total) for m in cut)
        assert math.isclose(loss, occurs[n] * (math.log(occurs[n] / total) - changed), rel_tol=1e-9)
