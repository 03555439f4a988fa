"""The laws of single kernels, aliasing, and lengths of zero, for every backend that can run here."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties.kernel_backends import NAMES, backend_or_skip
from properties.kernel_cases import GRADIENTS, Call, run
from properties.kernel_laws import ORACLE
from properties.kernel_more_laws import MORE_LAWS


@pytest.mark.parametrize("backend", NAMES)
@pytest.mark.parametrize("law", sorted(MORE_LAWS))
@settings(max_examples=15)
@given(data=st.data())
def test_law(law, backend, data):
    _, check = MORE_LAWS[law]
    kernels = backend_or_skip(backend)
    with np.errstate(all="ignore"):
        check(kernels, data.draw)


@pytest.mark.parametrize("backend", NAMES)
@pytest.mark.parametrize("kernel", ["silu_mul", "bias_residual_dropout", "linear"])
def test_inputs_may_be_one_array(kernel, backend, generator):
    kernels = backend_or_skip(backend)
    x = generator.standard_normal((33, 33)).astype(np.float32)
    names = {
        "silu_mul": ("gate", "up"),
        "bias_residual_dropout": ("x", "residual"),
        "linear": ("x", "weight", "residual"),
    }
    one = run(kernels, Call(kernel, {}, {}), dict.fromkeys(names[kernel], x), x)
    two = run(kernels, Call(kernel, {}, {}), {name: x.copy() for name in names[kernel]}, x.copy())
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(
            one[name], two[name], rtol=1e-5, atol=1e-4
        )  # BLAS knows A Aᵀ, and rounds it otherwise


def ones(**shapes):
    return {name: np.ones(shape, np.float32) for name, shape in shapes.items()}


EMPTY = [
    Call("linear", ones(x=(0, 5), weight=(3, 5), bias=3), {"activation": "gelu"}),
    Call("linear", ones(x=(2, 0, 5), weight=(3, 5), bias=3, residual=(2, 0, 3)), {}),
    Call("linear", ones(x=(4, 0), weight=(3, 0), bias=3), {"activation": "silu"}),
    Call("linear", ones(x=(4, 5), weight=(0, 5)), {}),
    Call("feed_forward", ones(x=(0, 5), weight_in=(3, 5), weight_out=(5, 3), residual=(0, 5)), {"activation": "gelu"}),
    Call("feed_forward", ones(x=(4, 0), weight_in=(3, 0), weight_out=(2, 3), bias_in=3), {"activation": "relu"}),
    Call("feed_forward", ones(x=(4, 5), weight_in=(0, 5), weight_out=(2, 0), bias_out=2), {"activation": "silu"}),
    Call("feed_forward", ones(x=(4, 5), weight_in=(3, 5), weight_out=(0, 3)), {"activation": "gelu_tanh"}),
    Call("layer_norm", ones(x=(0, 8), weight=8, bias=8), {}),
    Call("layer_norm", ones(x=(2, 0, 8)), {}),
    Call("rms_norm", ones(x=(0, 8), weight=8), {}),
    Call("gelu", ones(x=(0,)), {}),
    Call("gelu", ones(x=()), {"approximate": "tanh"}),
    Call("silu_mul", ones(gate=(3, 0), up=(3, 0)), {}),
    Call("softmax_cross_entropy", ones(logits=(0, 5)), {"targets": np.zeros(0, np.int64), "reduction": "sum"}),
    Call("softmax_cross_entropy", ones(logits=(0, 5)), {"targets": np.zeros(0, np.int64), "reduction": "none"}),
    Call("rotary", ones(x=(2, 0, 8), cos=(0, 4), sin=(0, 4)), {}),
    Call("rotary", ones(x=(0, 3, 8), cos=(3, 4), sin=(3, 4)), {}),
    Call("bias_residual_dropout", ones(x=(0, 8), bias=8, residual=(0, 8)), {"dropout": 0.5, "seed": 1}),
    Call("bias_residual_dropout", ones(x=(3, 0), bias=0), {"dropout": 0.5, "seed": 1}),
]


@pytest.mark.parametrize("backend", NAMES)
@pytest.mark.parametrize("call", EMPTY, ids=lambda call: f"{call.kernel}-{next(iter(call.arrays.values())).shape}")
def test_lengths_of_zero(call, backend):
    kernels = backend_or_skip(backend)
    dy = np.ones_like(run(ORACLE, call, call.arrays, None)["result"])
    got, want = run(kernels, call, call.arrays, dy), run(ORACLE, call, call.arrays, dy)
    assert got.keys() == want.keys()
    assert got.keys() - {"result"} <= set(GRADIENTS[call.kernel])
    for name, value in want.items():
        assert got[name].shape == value.shape
        np.testing.assert_allclose(got[name], value, rtol=1e-6)


@pytest.mark.parametrize("backend", NAMES)
def test_the_mean_of_no_rows_is_no_number(backend):
    """As in PyTorch; the gradient is 0."""
    kernels = backend_or_skip(backend)
    Z = np.ones((3, 5), np.float32)
    loss, residuals = kernels.softmax_cross_entropy(Z, np.full(3, -100))
    assert np.isnan(loss)
    assert not kernels.softmax_cross_entropy_backward(np.float32(1), residuals).any()


@pytest.mark.parametrize("backend", NAMES)
@pytest.mark.parametrize(("M", "K", "N"), [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)])
def test_products_of_nothing(backend, M, K, N):
    kernels = backend_or_skip(backend)
    a, b, out = np.ones((M, K)), np.ones((K, N)), np.ones((M, N))
    np.testing.assert_array_equal(kernels.matmul(a, b), a @ b)
    np.testing.assert_array_equal(kernels.matmul(a, b, out=out, accumulate=True), 1 + a @ b)
