"""The specification of the kernels: arrays in, arrays out, in the dtype of the inputs; nothing of minilm."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minilm_kernels
from minilm_kernels import array_namespace, reference


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


def test_array_namespace():
    assert array_namespace(np.zeros(1)) is np
    assert array_namespace(np.float32(1)) is np
    assert array_namespace([1]) is np


def test_every_kernel_is_specified():
    """Signature and docstring are the specification that faster kernels repeat."""
    for name in ("attention", "attention_backward"):
        function = getattr(reference, name)
        assert function.__doc__
        assert all(p.annotation is not inspect.Parameter.empty for p in inspect.signature(function).parameters.values())


def test_kernels_know_nothing_of_minilm_and_need_numpy_only():
    folder = Path(minilm_kernels.__file__).parent
    program = "import sys, minilm_kernels.reference; print(*{m.partition('.')[0] for m in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=folder.parent, capture_output=True, text=True, check=True
    ).stdout.split()  # fmt: skip
    assert not {"minilm", "numba", "cupy", "torch", "scipy"} & set(loaded)
    assert not (folder.parent / "__init__.py").exists(), "a package called `kernels` would shadow Hugging Face's"
