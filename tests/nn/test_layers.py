"""Every layer against its formula, and how its parameters start."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minilm import Tensor, nn
from minilm import functional as F


@pytest.fixture
def x(generator):
    return generator.standard_normal((2, 3, 8)).astype(np.float32)


def close(got, want, tolerance=1e-5):
    np.testing.assert_allclose(getattr(got, "data", got), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("bias", [True, False])
def test_linear(x, generator, bias):
    layer = nn.Linear(8, 5, bias, generator)
    want = x @ layer.weight.data.T + (layer.bias.data if bias else 0)
    close(layer(x), want)
    assert layer(x[0, 0]).shape == (5,)
    assert (layer.bias is None) != bias


def test_linear_starts_uniform_as_in_pytorch(generator):
    layer = nn.Linear(64, 500, generator=generator)
    bound = 1 / math.sqrt(64)
    for p in (layer.weight.data, layer.bias.data):
        assert p.dtype == np.float32
        assert np.abs(p).max() <= bound
    assert abs(layer.weight.data.std() / (bound / math.sqrt(3)) - 1) < 0.02
    assert abs(layer.weight.data.mean()) < bound / 50


def test_embedding(generator):
    layer = nn.Embedding(1000, 8, generator)
    ids = np.array([[0, 999], [5, 5]])
    assert np.array_equal(layer(ids).data, layer.weight.data[ids])
    assert abs(layer.weight.data.std() - 1) < 0.05
    with pytest.raises(IndexError, match="0 to 999"):
        layer(np.array([1000]))


@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm(x, generator, bias):
    layer = nn.LayerNorm(8, eps=1e-3, bias=bias)
    assert (layer.weight.data == 1).all()
    layer.weight.data[...] = generator.standard_normal(8)
    shift = 0
    if bias:
        assert not layer.bias.data.any()
        layer.bias.data[...] = shift = generator.standard_normal(8).astype(np.float32)
    want = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3) * layer.weight.data + shift
    close(layer(x), want)


def test_rms_norm(x, generator):
    layer = nn.RMSNorm(8, eps=1e-3)
    layer.weight.data[...] = generator.standard_normal(8)
    close(layer(x), x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-3) * layer.weight.data)


def test_dropout_only_while_training(x):
    layer = nn.Dropout(0.5, np.random.default_rng(0))
    y = layer(x).data
    assert 0.2 < (y == 0).mean() < 0.8
    close(y[y != 0], 2 * x[y != 0])
    assert layer.eval()(x).data is x
    with pytest.raises(ValueError, match="not between 0 and 1"):
        nn.Dropout(2)


@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_tanh", "silu", "tanh"])
def test_feed_forward(x, generator, activation):
    layer = nn.FeedForward(8, activation=activation, generator=generator)
    assert layer.up.weight.shape == (32, 8), "four times as wide inside, unless told otherwise"
    f = {"gelu_tanh": lambda h: F.gelu(h, approximate="tanh")}.get(activation) or getattr(F, activation)
    h = f(x @ layer.up.weight.data.T + layer.up.bias.data).data
    close(layer(x), h @ layer.down.weight.data.T + layer.down.bias.data)


def test_swiglu(x, generator):
    layer = nn.FeedForward(8, 12, activation="swiglu", bias=False, generator=generator)
    gate, up, down = (linear.weight.data for linear in (layer.gate, layer.up, layer.down))
    g = x @ gate.T
    close(layer(x), (g / (1 + np.exp(-g)) * (x @ up.T)) @ down.T)
    assert all(linear.bias is None for linear in (layer.gate, layer.up, layer.down))


def test_feed_forward_names_the_activations_it_knows():
    with pytest.raises(ValueError, match="'gelo'; choose one of relu, gelu, gelu_tanh, silu, tanh, swiglu"):
        nn.FeedForward(8, activation="gelo")


def test_feed_forward_drops_its_output_while_training(x):
    layer = nn.FeedForward(8, dropout=0.5, generator=np.random.default_rng(0))
    assert (layer(x).data == 0).any()
    assert not (layer.eval()(x).data == 0).any()


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("norm_first", [True, False])
def test_transformer_block(x, generator, norm, norm_first):
    block = nn.TransformerBlock(
        8, 2, intermediate_size=16, norm=norm, norm_first=norm_first, eps=0.1, generator=generator
    )
    for name, p in block.named_parameters():
        if "norm" in name:
            p.data[...] = generator.standard_normal(p.shape)
    attention, forward, norm_1, norm_2 = (
        block.attention,
        block.feed_forward,
        block.attention_norm,
        block.feed_forward_norm,
    )
    options = {"causal": True, "attention_mask": np.array([[1, 1, 0], [1, 1, 1]])}
    X = Tensor(x)
    if norm_first:
        h = X + attention(norm_1(X), **options)
        want = h + forward(norm_2(h))
    else:
        h = norm_1(X + attention(X, **options))
        want = norm_2(h + forward(h))
    close(block(X, **options), want.data)
    assert isinstance(norm_1, {"layer_norm": nn.LayerNorm, "rms_norm": nn.RMSNorm}[norm])
    assert norm_1.eps == 0.1


def test_block_refuses_an_unknown_norm():
    with pytest.raises(ValueError, match="unknown norm 'batch'; choose layer_norm or rms_norm"):
        nn.TransformerBlock(8, 2, norm="batch")


@pytest.mark.parametrize("build", [
    lambda g: nn.Linear(3, 4, generator=g), lambda g: nn.Embedding(3, 4, generator=g),
    lambda g: nn.FeedForward(4, activation="swiglu", generator=g), lambda g: nn.MultiHeadAttention(4, 2, generator=g),
    lambda g: nn.TransformerBlock(4, 2, generator=g),
])  # fmt: skip
def test_the_same_generator_state_gives_the_same_bits(build):
    one, two = (build(np.random.default_rng(5)).state_dict() for _ in range(2))
    assert all(np.array_equal(one[name], two[name]) for name in one)


# --- positions ----------------------------------------------------------------------------------------------------------


def test_sinusoidal_positions():
    layer = nn.SinusoidalPositions(10, 6)
    x = np.zeros((2, 4, 6), np.float32)
    y = layer(x, start=3)
    for t in range(4):
        for i in range(3):
            angle = (t + 3) / 10000 ** (2 * i / 6)
            close(y.data[0, t, 2 * i], math.sin(angle))
            close(y.data[0, t, 2 * i + 1], math.cos(angle))
    assert y.dtype == np.float32
    assert not list(layer.parameters())
    with pytest.raises(ValueError, match="must be even"):
        nn.SinusoidalPositions(10, 5)


def test_learned_positions(x, generator):
    layer = nn.LearnedPositions(10, 8, generator)
    close(layer(Tensor(x), start=4), x + layer.weight.data[4:7])
    layer(Tensor(x), 4).sum().backward()
    assert layer.weight.grad.sum(1).tolist() == [0, 0, 0, 0, 16, 16, 16, 0, 0, 0]


def test_rotary_positions(generator):
    """Features i and i + D/2 of position t are the real and imaginary part of a number that is turned by t θ_i."""
    layer = nn.RotaryPositions(20, 6, base=100.0)
    x = generator.standard_normal((1, 2, 4, 6))
    z = (x[..., :3] + 1j * x[..., 3:]) * np.exp(1j * np.arange(5, 9)[:, None] * 100.0 ** (-np.arange(3) / 3))
    close(layer(Tensor(x), start=5), np.concatenate([z.real, z.imag], -1), 1e-6)
    assert layer(Tensor(x.astype(np.float32))).dtype == np.float32
    with pytest.raises(ValueError, match="even head_dim"):
        nn.RotaryPositions(20, 5)


@pytest.mark.parametrize("layer", [nn.SinusoidalPositions(4, 8), nn.LearnedPositions(4, 8), nn.RotaryPositions(4, 8)])
def test_a_text_longer_than_the_positions_is_refused(layer):
    layer(Tensor(np.zeros((1, 2, 8), np.float32)), start=2)
    with pytest.raises(ValueError, match=r"5 tokens, but this model knows only 4 positions; shorten the text"):
        layer(Tensor(np.zeros((1, 3, 8), np.float32)), start=2)
