"""Perplexity, bits per character, and the loss over a whole text."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilm import functional as F
from minilm.data.windows import SequentialWindows
from minilm.errors import InputError
from minilm.metrics import bits_per_character, evaluate_loss, perplexity
from minilm.models import GPT, GPTConfig
from minilm.tensor import Tensor


@pytest.fixture
def model(generator):
    config = GPTConfig(vocab_size=11, context_length=8, num_layers=1, num_heads=2, hidden_size=8, dropout=0.3)
    model = GPT(config, generator)
    for parameter in model.parameters():
        parameter.data *= 10
    return model.double()


@given(st.integers(1, 10**6))
def test_even_hesitation_between_k_tokens_is_perplexity_k(k):
    assert perplexity(math.log(k)) == pytest.approx(k)


def test_perplexity_overflows_to_infinity_and_keeps_nan():
    assert perplexity(709.7) < math.inf
    assert perplexity(709.79) == perplexity(1e300) == perplexity(math.inf) == math.inf
    assert math.isnan(perplexity(math.nan))


def test_bits_per_character():
    # 6 tokens that spell 12 characters, each token one of 8 at random: 3 bits for 2 characters
    assert bits_per_character(math.log(8), 6, 12) == pytest.approx(1.5)
    with pytest.raises(InputError, match="at least one"):
        bits_per_character(1.0, 1, 0)


@given(st.integers(1, 7), st.integers(1, 9), st.integers(2, 200), st.integers(0, 2**32 - 1))
def test_the_batches_do_not_matter(batch_size, context_length, count, seed):
    """A model without memory has the same loss for every way to cut the text: the mean over all tokens at once."""
    generator = np.random.default_rng(seed)
    table = generator.normal(size=(5, 5))
    tokens = generator.integers(0, 5, count)
    windows = SequentialWindows(tokens, batch_size, context_length)
    result = evaluate_loss(Memoryless(table), windows)
    losses = [np.log(np.exp(table[a]).sum()) - table[a, b] for a, b in itertools.pairwise(tokens)]
    assert result.tokens == count - 1
    assert result.loss == pytest.approx(np.mean(losses), rel=1e-12)
    assert result.perplexity == pytest.approx(math.exp(np.mean(losses)))


class Memoryless(GPT):
    """Scores of the next token from the last one only."""

    def __init__(self, table):
        self.table = table

    def forward(self, input_ids):
        return Tensor(self.table[input_ids]), None


def test_one_big_batch_gives_the_same(model, generator):
    tokens = generator.integers(0, 11, 6 * 8 + 1)
    small = evaluate_loss(model, SequentialWindows(tokens, 4, 8))  # batches of 4 and 2 rows
    _, loss = model.eval()(tokens[:-1].reshape(6, 8), tokens[1:].reshape(6, 8))
    assert small.loss == pytest.approx(loss.item(), rel=1e-12)
    assert small.tokens == 48


def test_targets_that_do_not_count(model, generator):
    inputs, targets = generator.integers(0, 11, (2, 3, 8))
    targets[0, 2:] = -100
    result = evaluate_loss(model, [(inputs, targets), (inputs[:1], np.full((1, 8), -100))])
    expected = F.cross_entropy(model.eval()(inputs)[0], targets)
    assert result.loss == pytest.approx(expected.item(), rel=1e-12)
    assert result.tokens == 2 * 8 + 2


def test_the_sum_is_float64():
    """300,000 losses of 0.1 in float32: summed in float32 their mean would be off in the eighth digit."""
    table = np.zeros((2, 2), np.float32)
    tokens = np.zeros(300_001, np.int64)
    table[0] = [0, math.log(math.expm1(0.1))]
    each = evaluate_loss(Memoryless(table), SequentialWindows(tokens[:2], 1, 1)).loss
    many = evaluate_loss(Memoryless(table), SequentialWindows(tokens, 1000, 100)).loss
    assert many == pytest.approx(each, rel=1e-12)


def test_the_model_is_left_as_it_was(model):
    model.train()
    model.blocks[0].eval()
    modes = [module.training for module in model.modules()]
    windows = [(np.array([[1, 2]]), np.array([[2, 3]]))]
    assert evaluate_loss(model, windows) == evaluate_loss(model, windows)  # no dropout: it would differ
    assert [module.training for module in model.modules()] == modes
    with pytest.raises(IndexError):
        evaluate_loss(model, [(np.array([[99]]), np.array([[1]]))])
    assert [module.training for module in model.modules()] == modes


def test_nothing_to_measure(model):
    with pytest.raises(InputError, match="no token to predict"):
        evaluate_loss(model, [])


def test_progress_shows_a_bar(model, capsys):
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    evaluate_loss(model, [(np.array([[1]]), np.array([[2]]))], progress=True)
    assert "evaluating" in capsys.readouterr().err
