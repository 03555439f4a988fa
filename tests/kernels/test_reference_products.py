"""The reference's linear, matmul, loss and what works in place, against loops and einsum."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minilm_kernels import reference
from minilm_kernels.formulas.activations import activate, slope_of
from minilm_kernels.random import dropout_mask


@pytest.mark.parametrize("activation", [None, "gelu", "gelu_tanh", "relu", "silu"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_linear_in_einsum(generator, activation, bias, residual):
    x, W = generator.standard_normal((2, 3, 5)), generator.standard_normal((4, 5))
    b = generator.standard_normal(4) if bias else None
    R = generator.standard_normal((2, 3, 4)) if residual else None
    y, residuals = reference.linear(x, W, b, activation=activation, residual=R)
    z = np.einsum("bti,oi->bto", x, W) + (b if bias else 0)
    np.testing.assert_allclose(y, (activate(z, activation) if activation else z) + (R if residual else 0), atol=1e-13)
    dy = generator.standard_normal(y.shape)
    dx, dW, db, dR = reference.linear_backward(dy, residuals)
    dz = dy * (slope_of(z, activation) if activation else 1)
    np.testing.assert_allclose(dx, np.einsum("bto,oi->bti", dz, W), atol=1e-13)
    np.testing.assert_allclose(dW, np.einsum("bto,bti->oi", dz, x), atol=1e-13)
    assert (db is None) == (not bias)
    assert (dR is None) == (not residual)
    if bias:
        np.testing.assert_allclose(db, dz.sum((0, 1)), atol=1e-13)
    if residual:
        np.testing.assert_array_equal(dR, dy)


def test_linear_of_one_row(generator):
    x, W = generator.standard_normal(5), generator.standard_normal((4, 5))
    y, residuals = reference.linear(x, W)
    np.testing.assert_allclose(y, W @ x)
    dx, dW, _, _ = reference.linear_backward(y, residuals, needs=(True, False))
    assert dx.shape == (5,)
    assert dW is None
    assert reference.linear_backward(y, residuals, needs=(False, True))[0] is None


def test_matmul(generator):
    a, b = generator.standard_normal((4, 5)), generator.standard_normal((6, 5)).T
    want = np.einsum("mk,kn->mn", a, b)
    np.testing.assert_allclose(reference.matmul(a, b), want)
    out = np.ones((4, 6))
    assert reference.matmul(a, b, out=out) is out
    np.testing.assert_allclose(out, want)
    reference.matmul(a, b, out=out, accumulate=True)
    np.testing.assert_allclose(out, 2 * want)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_cross_entropy_in_loops(generator, reduction, eps):
    Z, y = generator.standard_normal((5, 4)) * 3, np.array([0, 3, 2, 2, 1])
    ignored = 2
    losses, slopes = np.zeros(5), np.zeros((5, 4))
    for i in range(5):
        p = [math.exp(z) / sum(math.exp(other) for other in Z[i]) for z in Z[i]]
        q = [(1 - eps) * (c == y[i]) + eps / 4 for c in range(4)]
        if y[i] != ignored:
            losses[i] = -sum(qc * math.log(pc) for qc, pc in zip(q, p))
            slopes[i] = [pc - qc for qc, pc in zip(q, p)]
    loss, residuals = reference.softmax_cross_entropy(
        Z, y, ignore_index=ignored, label_smoothing=eps, reduction=reduction
    )
    want = {"mean": losses.sum() / 3, "sum": losses.sum(), "none": losses}[reduction]
    np.testing.assert_allclose(loss, want, atol=1e-13)
    assert isinstance(loss, np.ndarray)
    dl = generator.standard_normal(loss.shape)
    got = reference.softmax_cross_entropy_backward(dl, residuals)
    scale = {"mean": dl / 3, "sum": dl, "none": np.reshape(dl, (-1, 1))}[reduction]
    np.testing.assert_allclose(got, slopes * scale, atol=1e-13)


def test_cross_entropy_of_nothing():
    Z = np.ones((2, 3), np.float32)
    loss, residuals = reference.softmax_cross_entropy(Z, np.array([-100, -100]))
    assert np.isnan(loss)
    assert loss.dtype == np.float32
    assert not reference.softmax_cross_entropy_backward(np.float32(1), residuals).any()
    assert reference.softmax_cross_entropy(Z, np.array([-100, -100]), reduction="sum")[0] == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_stay_in_the_dtype(generator, dtype):
    x, W, b = (generator.standard_normal(s).astype(dtype) for s in ((3, 4), (4, 4), 4))
    calls = {
        "linear": (x, W, b), "layer_norm": (x, b, b), "rms_norm": (x, b), "gelu": (x,), "silu_mul": (x, x),
        "bias_residual_dropout": (x, b, x), "softmax_cross_entropy": (x, np.arange(3)),
    }  # fmt: skip
    for name, arguments in calls.items():
        for options in (
            ({"dropout": 0.5, "seed": 1},)
            if "dropout" in name
            else ({}, {"activation": "gelu"})
            if name == "linear"
            else ({},)
        ):
            y, residuals = getattr(reference, name)(*arguments, **options)
            gradients = getattr(reference, f"{name}_backward")(np.ones_like(y), residuals)
            gradients = gradients if isinstance(gradients, tuple) else (gradients,)
            assert {a.dtype for a in (y, *gradients) if a is not None} == {np.dtype(dtype)}, name
    assert reference.rotary(x, b[:2] * W[:3, :2], W[:3, :2]).dtype == dtype
    w, m, v = (np.ones(5, dtype) for _ in range(3))
    reference.adamw_step(w, w * 1, m, v, lr=0.1, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1, step=1)
    assert w.dtype == m.dtype == v.dtype == dtype


def test_bias_residual_dropout(generator):
    x, R, dy = generator.standard_normal((3, 2, 3, 40))
    b = generator.standard_normal(40)
    y, residuals = reference.bias_residual_dropout(x, b, R, dropout=0.3, seed=9)
    mask = dropout_mask(x, x.shape, 0.3, 9)
    np.testing.assert_allclose(y, R + mask * (x + b))
    dx, db, dR = reference.bias_residual_dropout_backward(dy, residuals)
    np.testing.assert_allclose(dx, mask * dy)
    np.testing.assert_allclose(db, (mask * dy).sum((0, 1)))
    np.testing.assert_array_equal(dR, dy)
    plain, residuals = reference.bias_residual_dropout(x)
    np.testing.assert_array_equal(plain, x)
    assert not np.shares_memory(plain, x)
    assert reference.bias_residual_dropout_backward(dy, residuals)[1:] == (None, None)


def test_embedding_backward_in_a_loop(generator):
    ids, dy, out = np.array([[1, 0, 1], [4, 1, 4]]), generator.standard_normal((2, 3, 5)), np.ones((6, 5))
    want = out.copy()
    for i in np.ndindex(2, 3):
        want[ids[i]] += dy[i]
    assert reference.embedding_backward(dy, ids, out) is None
    np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adamw_in_scalars(decay):
    w, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
    W, M, V = 1.0, 0.0, 0.0
    for t, g in enumerate([0.5, -2.0, 3.0], start=1):
        reference.adamw_step(w, np.array([g]), m, v, lr=0.1, betas=(0.9, 0.99), eps=1e-6, weight_decay=decay, step=t)
        W -= 0.1 * decay * W
        M, V = 0.9 * M + 0.1 * g, 0.99 * V + 0.01 * g * g
        W -= 0.1 * (M / (1 - 0.9**t)) / (math.sqrt(V / (1 - 0.99**t)) + 1e-6)
        np.testing.assert_allclose([w[0], m[0], v[0]], [W, M, V], rtol=1e-13)


def test_clip_by_norm():
    gradients = [np.array([3.0, 0.0]), np.array([[4.0]])]
    assert reference.clip_by_norm(gradients, None) == 5
    assert reference.clip_by_norm(gradients, 10.0) == 5
    assert gradients[0][0] == 3
    assert reference.clip_by_norm(gradients, 1.0) == 5
    np.testing.assert_allclose([gradients[0][0], gradients[1][0, 0]], [0.6, 0.8], rtol=1e-6)
    assert reference.clip_by_norm([], 1.0) == 0
    assert math.isnan(reference.clip_by_norm([np.array([np.nan])], 1.0))
    large = [np.full(3, 1e30, np.float32)]
    assert math.isclose(reference.clip_by_norm(large, 1.0), math.sqrt(3) * 1e30, rel_tol=1e-6)
    np.testing.assert_allclose(large[0], 1 / math.sqrt(3), rtol=1e-6)
