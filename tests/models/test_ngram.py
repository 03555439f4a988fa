"""The bigram model against counting by hand."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilm.errors import InputError
from minilm.models import BigramModel, ngram


@pytest.fixture(params=["dense", "sparse"])
def storage(request, monkeypatch):
    """Both ways to keep the counts, and pieces so small that pairs lie across their borders."""
    monkeypatch.setattr(ngram, "DENSE_LIMIT", 2048 if request.param == "dense" else 0)
    monkeypatch.setattr(ngram, "CHUNK", 7)
    return request.param


def brute_force_loss(training, measured, V, alpha):
    pairs, firsts = Counter(itertools.pairwise(training)), Counter(training[:-1])
    losses = [-math.log((pairs[a, b] + alpha) / (firsts[a] + alpha * V)) for a, b in itertools.pairwise(measured)]
    return sum(losses) / len(losses)


def test_counts_and_loss_are_those_of_counting_by_hand(storage):
    @given(
        st.integers(1, 6).flatmap(
            lambda V: st.tuples(
                st.just(V),
                st.lists(st.integers(0, V - 1), max_size=60),
                st.lists(st.integers(0, V - 1), min_size=2, max_size=40),
            )
        ),
        st.sampled_from([0.01, 1.0, 3.0]),
    )
    def check(case, alpha):
        V, training, measured = case
        model = BigramModel.fit(np.array(training, np.uint16), V, alpha)
        assert model.dense == (storage == "dense")
        assert model.loss(np.array(measured)) == pytest.approx(
            brute_force_loss(training, measured, V, alpha), rel=1e-12
        )
        pairs = Counter(itertools.pairwise(training))
        first, second = np.divmod(np.arange(V * V), V)
        assert model.counts(first, second).tolist() == [pairs[pair] for pair in zip(first.tolist(), second.tolist())]

    check()


def test_probabilities_sum_to_one_and_are_the_formula(storage, generator):
    tokens = generator.integers(0, 4, 100)
    model = BigramModel.fit(tokens, 5, alpha=0.5)  # token 4 never occurs
    for a in range(5):
        P = model.probabilities(a)
        assert P.sum() == pytest.approx(1)
        followers = tokens[1:][tokens[:-1] == a]
        assert P[2] == pytest.approx(((followers == 2).sum() + 0.5) / (len(followers) + 2.5))
    assert np.allclose(model.probabilities(4), 0.2)


def test_texts_add_up(storage):
    model = BigramModel.fit(np.array([0, 1, 2]), 3)
    model.add(np.array([0, 1]))
    assert model.counts(np.array([0, 1, 2]), np.array([1, 2, 0])).tolist() == [2, 1, 0]  # no pair across the two texts


def test_both_storages_agree_on_a_memory_mapped_text(tmp_path, generator, monkeypatch):
    path = tmp_path / "tokens.npy"
    np.save(path, (generator.integers(0, 40, 50_000) ** 2 % 3000).astype(np.uint16))
    tokens = np.load(path, mmap_mode="r")
    sparse = BigramModel.fit(tokens, 3000)
    assert not sparse.dense
    assert sparse.pairs[1].sum() == 49_999
    monkeypatch.setattr(ngram, "DENSE_LIMIT", 3000)
    dense = BigramModel.fit(tokens, 3000)
    assert dense.dense
    assert sparse.loss(tokens) == pytest.approx(dense.loss(tokens), rel=1e-12)


def test_a_large_vocabulary_takes_no_table():
    model = BigramModel.fit(np.array([50_000, 7, 50_000]), 50_257)
    assert model.table.size == 0
    assert len(model.pairs[0]) == 2


def test_shakespeare(data_folder):
    """The baseline printed after training: about 12 characters to choose from, in steps of one."""
    codes = np.frombuffer((data_folder / "tinyshakespeare.txt").read_bytes(), np.uint8)
    _, tokens = np.unique(codes, return_inverse=True)
    cut = len(tokens) * 9 // 10
    loss = BigramModel.fit(tokens[:cut], 65).loss(tokens[cut:])
    assert math.exp(loss) == pytest.approx(12.0, abs=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BigramModel(0), "vocab_size is 0"),
        (lambda: BigramModel(5, alpha=0), "positive number"),
        (lambda: BigramModel(5, alpha=math.nan), "positive number"),
        (lambda: BigramModel.fit(np.array([0, 5]), 5), r"token 5 is not in the vocabulary of 5 \(0 to 4\)"),
        (lambda: BigramModel.fit(np.array([-1, 0]), 5), "token -1"),
        (lambda: BigramModel.fit(np.array([0.0, 1.0]), 5), "integer tokens"),
        (lambda: BigramModel(5).loss(np.array([1])), "use a longer text"),
        (lambda: BigramModel(5).loss(np.array([1, 9])), "token 9"),
        (lambda: BigramModel(5).probabilities(5), "token 5"),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError, match=message):
        call()
