"""The reference's attention: against einsum and central differences; dtypes, empty arrays, dropout, and inputs left alone."""

from __future__ import annotations

import numpy as np
import pytest

from minilm_kernels import reference
from minilm_kernels.random import dropout_mask


def inputs(generator, dtype=np.float64, B=2, H=4, H_kv=2, Tq=3, Tk=5, D=4, Dv=3):
    shapes = [(B, H, Tq, D), (B, H_kv, Tk, D), (B, H_kv, Tk, Dv)]
    return [generator.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("bias_shape", [None, (3, 5), (1, 4, 1, 5), (2, 1, 3, 1), (2, 4, 3, 5), ()])
def test_attention_in_einsum(generator, causal, bias_shape):
    Q, K, V = inputs(generator)
    bias = None if bias_shape is None else generator.standard_normal(bias_shape)
    padding = np.array([[1, 1, 1, 0, 1], [0, 1, 1, 1, 1]], bool)
    O, residuals = reference.attention(Q, K, V, causal=causal, bias=bias, key_padding_mask=padding)
    S = np.einsum("bhqd,bhkd->bhqk", Q, K.repeat(2, 1)) / 2 + (0 if bias is None else bias)
    hidden = ~padding[:, None, None, :] | (causal & (np.arange(5) > np.arange(3)[:, None] + 2))
    W = np.exp(np.where(hidden, -np.inf, S))
    W /= W.sum(-1, keepdims=True)
    np.testing.assert_allclose(residuals.weights, W, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(O, np.einsum("bhqk,bhkd->bhqd", W, V.repeat(2, 1)), rtol=1e-12, atol=1e-14)
    dQ, dK, dV, dbias = reference.attention_backward(np.ones_like(O), residuals)
    assert (dQ.shape, dK.shape, dV.shape) == (Q.shape, K.shape, V.shape)
    assert dbias is None if bias is None else dbias.shape == bias.shape


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_everything_stays_in_the_dtype_of_the_inputs(generator, dtype):
    Q, K, V = inputs(generator, dtype)
    bias = generator.standard_normal((3, 5)).astype(dtype)
    O, residuals = reference.attention(Q, K, V, causal=True, bias=bias, scale=0.3, dropout=0.5, seed=1)
    assert O.dtype == residuals.weights.dtype == residuals.keep.dtype == dtype
    assert {g.dtype for g in reference.attention_backward(np.ones_like(O), residuals)} == {np.dtype(dtype)}


def test_inputs_and_residuals_are_not_written_to(generator):
    arrays = [*inputs(generator), generator.standard_normal((3, 5)), np.ones((2, 5), bool)]
    for a in arrays:
        a.flags.writeable = False
    Q, K, V, bias, padding = arrays
    O, residuals = reference.attention(Q, K, V, bias=bias, key_padding_mask=padding, dropout=0.2, seed=3)
    residuals.weights.flags.writeable = residuals.keep.flags.writeable = False
    dO = np.ones_like(O)
    dO.flags.writeable = False
    first = reference.attention_backward(dO, residuals)
    assert all(np.array_equal(a, b) for a, b in zip(first, reference.attention_backward(dO, residuals)))


def test_dropout_is_drawn_from_the_seed(generator):
    Q, K, V = inputs(generator)
    one, two, other = (reference.attention(Q, K, V, dropout=0.5, seed=s)[1].keep for s in (7, 7, 8))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
    assert set(np.unique(one)) == {0.0, 2.0}
    assert not reference.attention(Q, K, V, dropout=1.0, seed=1)[0].any()


def test_no_keys_and_no_queries(generator):
    Q, K, V = inputs(generator, Tk=0)
    O, residuals = reference.attention(Q, K, V)
    assert O.shape == (2, 4, 3, 3)
    assert not O.any()
    assert reference.attention_backward(O, residuals)[1].shape == K.shape
    Q, K, V = inputs(generator, Tq=0)
    assert reference.attention(Q, K, V, causal=True)[0].shape == (2, 4, 0, 3)


def test_grouped_puts_the_heads_that_share_a_key_together():
    a = np.arange(6).reshape(1, 6, 1, 1)
    assert reference.grouped(a, 2)[0, :, :, 0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("bias_shape", [(3, 5), (1, 4, 1, 5), (2, 1, 3, 1)])
def test_a_bool_bias_says_what_is_seen(generator, bias_shape):
    Q, K, V = inputs(generator)
    seen = generator.random(bias_shape) < 0.6
    O, residuals = reference.attention(Q, K, V, bias=seen)
    additive = np.where(seen, 0, -np.inf)
    want, others = reference.attention(Q, K, V, bias=additive)
    np.testing.assert_array_equal(O, want)
    *gradients, dbias = reference.attention_backward(np.ones_like(O), residuals)
    assert dbias is None
    for got, exact in zip(gradients, reference.attention_backward(np.ones_like(O), others)):
        np.testing.assert_array_equal(got, exact)


def test_gradients_by_central_differences(generator):
    Q, K, V = inputs(generator)
    bias, padding = generator.standard_normal((4, 3, 5)), np.array([[1, 1, 1, 0, 1], [0, 1, 1, 1, 1]], bool)
    options = {"causal": True, "key_padding_mask": padding, "scale": 0.7, "dropout": 0.3, "seed": 5}
    O, residuals = reference.attention(Q, K, V, bias=bias, **options)
    dO = generator.standard_normal(O.shape)
    arrays = [Q, K, V, bias]
    for array, gradient in zip(arrays, reference.attention_backward(dO, residuals)):
        for i in np.ndindex(*array.shape):
            sides = []
            for h in (1e-6, -1e-6):
                array[i] += h
                sides.append(np.vdot(dO, reference.attention(*arrays[:3], bias=bias, **options)[0]))
                array[i] -= h
            assert abs(gradient[i] - (sides[0] - sides[1]) / 2e-6) < 1e-7


def test_dropout_is_the_mask_of_the_generator(generator):
    """Rows are (b·H + h)·Tq + i, columns are keys."""
    Q, K, V = inputs(generator)
    keep = reference.attention(Q, K, V, dropout=0.4, seed=12)[1].keep
    np.testing.assert_array_equal(keep.reshape(24, 5), dropout_mask(Q, (24, 5), 0.4, 12))


def test_decoding_is_the_end_of_a_causal_call(generator):
    Q, K, V = inputs(generator, Tq=5)
    whole = reference.attention(Q, K, V, causal=True)[0]
    np.testing.assert_allclose(reference.attention_decode(Q[:, :, 3:], K, V), whole[:, :, 3:], atol=1e-15)
    np.testing.assert_allclose(
        reference.attention_decode(Q[:, :, :1], K[:, :, :1], V[:, :, :1]), whole[:, :, :1], atol=1e-15
    )
