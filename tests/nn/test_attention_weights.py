"""MultiHeadAttention's options (head_dim, scale, biases, dropouts) and the attention weights it can return."""

from __future__ import annotations

import numpy as np
import pytest
from properties.gradcheck import check_gradient

from minilm import Tensor, nn

B, T, C, HIDDEN, HEADS = 2, 5, 3, 12, 4


def softmax(S):
    e = np.exp(S - S.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def split_heads(a, head_dim):
    return a.reshape(*a.shape[:2], -1, head_dim).swapaxes(1, 2)


def weights_by_hand(layer, x, context=None, causal=False, attention_mask=None, bias=None):
    """softmax(Q Kᵀ · scale + mask), with each key head repeated for its group of query heads."""
    if layer.cross:
        q, kv = x @ layer.query.weight.data.T, context @ layer.key_value.weight.data.T
    else:
        qkv, width = x @ layer.query_key_value.weight.data.T, layer.num_heads * layer.head_dim
        q, kv = qkv[..., :width], qkv[..., width:]
    Q, K = split_heads(q, layer.head_dim), split_heads(np.split(kv, 2, -1)[0], layer.head_dim)
    K = K.repeat(layer.num_heads // layer.num_kv_heads, axis=1)
    S = Q @ K.swapaxes(-1, -2) * (1 / np.sqrt(layer.head_dim) if layer.scale is None else layer.scale)
    if bias is not None:
        S = S + bias
    if causal:
        S = np.where(np.tril(np.ones(S.shape[-2:], bool)), S, -np.inf)
    if attention_mask is not None:
        S = np.where(np.asarray(attention_mask, bool)[:, None, None], S, -np.inf)
    return softmax(S)


MASKS = [
    {}, {"causal": True}, {"attention_mask": [[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]]},
    {"bias": np.linspace(-2, 2, HEADS * T * T).reshape(1, HEADS, T, T)},
]  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"head_dim": 5}, {"scale": 1.0}, {"num_kv_heads": 2, "head_dim": 2}])
@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("masks", MASKS)
def test_weights_are_the_softmax_of_the_scores(generator, options, cross, masks):
    layer = nn.MultiHeadAttention(HIDDEN, HEADS, bias=False, cross=cross, generator=generator, **options).double()
    x = generator.standard_normal((B, T, HIDDEN))
    context = generator.standard_normal((B, T, HIDDEN)) if cross else None
    given = None if context is None else Tensor(context)
    y, W = layer(Tensor(x), given, weights=True, **masks)
    want = weights_by_hand(layer, x, context, **masks)
    assert W.shape == (B, HEADS, T, T)
    np.testing.assert_allclose(W.data, want, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(W.data.sum(-1), 1, rtol=1e-12)
    assert np.array_equal(y.data, layer(Tensor(x), given, **masks).data), "asking for the weights changed the result"


@pytest.mark.parametrize("cross", [False, True])
def test_the_result_is_weights_times_values(generator, cross):
    """Also for an inner width that is not the hidden size, and a scale of 1: T5's layer."""
    layer = nn.MultiHeadAttention(
        HIDDEN, HEADS, bias=False, cross=cross, generator=generator, head_dim=5, scale=1.0
    ).double()
    assert layer.output.weight.shape == (HIDDEN, HEADS * 5)
    x, context = generator.standard_normal((B, T, HIDDEN)), generator.standard_normal((B, C, HIDDEN))
    y, W = layer(Tensor(x), Tensor(context) if cross else None, weights=True)
    projection = layer.key_value if cross else layer.query_key_value
    V = split_heads((context if cross else x) @ projection.weight.data[-HEADS * 5 :].T, 5)
    heads = (W.data @ V).swapaxes(1, 2).reshape(B, T, HEADS * 5)
    np.testing.assert_allclose(y.data, heads @ layer.output.weight.data.T, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cross", [False, True])
def test_gradients_flow_through_result_and_weights(generator, cross):
    layer = nn.MultiHeadAttention(
        6, 2, cross=cross, generator=generator, head_dim=2, scale=0.7, output_bias=False
    ).double()
    names = [name for name, _ in layer.named_parameters()]

    def function(F, x, context, bias, *parameters):
        for name, parameter in zip(names, parameters):
            owner, attribute = name.split(".")
            setattr(getattr(layer, owner), attribute, parameter)
        y, W = layer(x, context if cross else None, causal=True, bias=bias, weights=True)
        return F.cat([y.flatten(), W.flatten(), context.flatten()])  # self-attention knows no context

    arrays = [generator.standard_normal(shape) for shape in [(2, 3, 6), (2, 3, 6), (1, 2, 3, 3)]]
    check_gradient(function, *arrays, *[p.data.copy() for p in layer.parameters()])


def test_biases_can_be_left_out_one_by_one():
    layer = nn.MultiHeadAttention(HIDDEN, HEADS, output_bias=False)
    assert layer.query_key_value.bias is not None
    assert layer.output.bias is None
    assert nn.MultiHeadAttention(HIDDEN, HEADS, bias=False).output.bias is None
    assert nn.MultiHeadAttention(HIDDEN, HEADS, bias=False, output_bias=True).output.bias is not None


def test_a_width_that_the_heads_do_not_divide_needs_a_head_dim(generator):
    layer = nn.MultiHeadAttention(10, 4, head_dim=3, generator=generator)
    assert layer(Tensor(generator.standard_normal((B, T, 10)).astype(np.float32))).shape == (B, T, 10)
    with pytest.raises(ValueError, match="10 is not a multiple"):
        nn.MultiHeadAttention(10, 4)


def test_weights_and_result_drop_apart(generator):
    """attention_dropout acts on the weights, dropout on the result; the returned weights are those before dropout."""
    x = Tensor(generator.standard_normal((B, T, HIDDEN)).astype(np.float32))
    only_weights = nn.MultiHeadAttention(HIDDEN, HEADS, generator=generator, attention_dropout=0.5)
    y, W = only_weights(x, weights=True)
    assert not np.array_equal(y.data, only_weights(x).data)
    assert (y.data != 0).all()
    np.testing.assert_allclose(W.data.sum(-1), 1, rtol=1e-5)
    only_result = nn.MultiHeadAttention(HIDDEN, HEADS, generator=generator, dropout=0.5, attention_dropout=0.0)
    y = only_result(x).data
    assert 0.2 < (y == 0).mean() < 0.8
    only_result.eval()
    np.testing.assert_allclose(y[y != 0], 2 * only_result(x).data[y != 0], rtol=1e-4)


def test_a_query_that_sees_nothing_has_weights_of_zero(generator):
    layer = nn.MultiHeadAttention(HIDDEN, HEADS, generator=generator)
    x = Tensor(generator.standard_normal((2, T, HIDDEN)).astype(np.float32))
    _, W = layer(x, attention_mask=[[1] * T, [0] * T], weights=True)
    assert (W.data[1] == 0).all()
    np.testing.assert_allclose(W.data[0].sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("rotary", [False, True])
def test_weights_with_a_cache_are_the_last_rows_of_those_without(generator, rotary):
    positions = nn.RotaryPositions(T, 4) if rotary else None
    layer = nn.MultiHeadAttention(16, HEADS, 2, rotary=positions, generator=generator).double()
    x = Tensor(generator.standard_normal((B, T, 16)))
    _, whole = layer(x, causal=True, weights=True)
    cache = nn.KVCache(B, 2, T, 4, np.float64)
    layer(x[:, :3], causal=True, cache=cache)
    _, W = layer(x[:, 3:], causal=True, cache=cache, weights=True)
    np.testing.assert_allclose(W.data, whole.data[:, :, 3:], rtol=1e-10, atol=1e-14)
