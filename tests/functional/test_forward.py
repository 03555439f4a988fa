"""The values of every function, against a line of NumPy. (Their derivatives: tests/properties/test_gradients.py.)"""

from __future__ import annotations

import math

import numpy as np
import pytest

from minilm import Tensor
from minilm import functional as F

RNG = np.random.default_rng(3)
X, Y = RNG.standard_normal((2, 3, 4)), RNG.standard_normal((3, 1))
POSITIVE = RNG.uniform(0.5, 2, (2, 3, 4))
IDS = np.array([[0, 2], [1, 1]])
MASK = RNG.random((2, 3, 4)) < 0.5
erf = np.vectorize(math.erf)


def variance(x, axis, n):
    return ((x - x.mean(axis, keepdims=True)) ** 2).sum(axis) / n


LINEAR = RNG.standard_normal((5, 4)), RNG.standard_normal(5), RNG.standard_normal((2, 3, 5))  # weight, bias, residual
Z = X @ LINEAR[0].T + LINEAR[1]
DOWN = RNG.standard_normal((4, 5))  # a second weight


def silu(x):
    return x / (1 + np.exp(-x))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


VALUES = {
    "abs": (F.abs(X), np.abs(X)),
    "add": (F.add(X, Y), X + Y),
    "sub": (F.sub(X, Y), X - Y),
    "mul": (F.mul(X, Y), X * Y),
    "div": (F.div(X, Y), X / Y),
    "pow": (F.pow(POSITIVE, Y), POSITIVE**Y),
    "pow of a negative base": (F.pow(X, 3), X * X * X),
    "neg": (F.neg(X), -X),
    "exp": (F.exp(X), np.exp(X)),
    "log": (F.log(POSITIVE), np.log(POSITIVE)),
    "sqrt": (F.sqrt(POSITIVE), POSITIVE**0.5),
    "tanh": (F.tanh(X), np.tanh(X)),
    "sigmoid": (F.sigmoid(X), 1 / (1 + np.exp(-X))),
    "relu": (F.relu(X), X * (X > 0)),
    "silu": (F.silu(X), X / (1 + np.exp(-X))),
    "gelu": (F.gelu(X), X * (1 + erf(X / math.sqrt(2))) / 2),
    "gelu tanh": (F.gelu(X, approximate="tanh"), gelu_tanh(X)),
    "gelu_tanh_composed": (F.gelu_tanh_composed(X), gelu_tanh(X)),
    "silu_mul": (F.silu_mul(X, POSITIVE), X / (1 + np.exp(-X)) * POSITIVE),
    "maximum": (F.maximum(X, Y), np.maximum(X, Y)),
    "minimum": (F.minimum(X, 0.0), np.minimum(X, 0)),
    "sum": (F.sum(X), X.sum()),
    "sum over axes": (F.sum(X, dim=(0, -1)), X.sum((0, -1))),
    "sum in NumPy's words": (F.sum(X, axis=1, keepdims=True), X.sum(1, keepdims=True)),
    "mean": (F.mean(X, dim=1, keepdim=True), X.mean(1, keepdims=True)),
    "max": (F.max(X, dim=-1), X.max(-1)),
    "min": (F.min(X, dim=(1, 2), keepdim=True), X.min((1, 2), keepdims=True)),
    "var": (F.var(X, dim=1), variance(X, 1, 2)),
    "var of everything, biased": (F.var(X, correction=0), X.var()),
    "logsumexp": (F.logsumexp(X, dim=1), np.log(np.exp(X).sum(1))),
    "argmax": (F.argmax(X, dim=1), X.argmax(1)),
    "softmax": (F.softmax(X, dim=1), np.exp(X) / np.exp(X).sum(1, keepdims=True)),
    "log_softmax": (F.log_softmax(X), X - np.log(np.exp(X).sum(-1, keepdims=True))),
    "layer_norm": (
        F.layer_norm(X, Tensor(np.arange(4.0)), Tensor(np.ones(4)), eps=1e-3),
        (X - X.mean(-1, keepdims=True)) / np.sqrt(X.var(-1, keepdims=True) + 1e-3) * np.arange(4) + 1,
    ),
    "rms_norm": (
        F.rms_norm(X, Tensor(np.arange(4.0)), eps=1e-3),
        X / np.sqrt((X**2).mean(-1, keepdims=True) + 1e-3) * np.arange(4),
    ),
    "layer_norm_composed": (
        F.layer_norm_composed(X, Tensor(np.arange(4.0)), Tensor(np.ones(4)), eps=1e-3),
        (X - X.mean(-1, keepdims=True)) / np.sqrt(X.var(-1, keepdims=True) + 1e-3) * np.arange(4) + 1,
    ),
    "rms_norm_composed": (
        F.rms_norm_composed(X, Tensor(np.arange(4.0)), eps=1e-3),
        X / np.sqrt((X**2).mean(-1, keepdims=True) + 1e-3) * np.arange(4),
    ),
    "reshape": (F.reshape(X, 4, -1), X.reshape(4, -1)),
    "transpose": (F.transpose(X), X.swapaxes(1, 2)),
    "permute": (F.permute(X, 2, 0, -2), X.transpose(2, 0, 1)),
    "squeeze": (F.squeeze(Y), Y[:, 0]),
    "squeeze of a long axis": (F.squeeze(Y, 0), Y),
    "unsqueeze": (F.unsqueeze(X, -2), X[:, :, None]),
    "flatten": (F.flatten(X, 1), X.reshape(2, 12)),
    "broadcast_to": (F.broadcast_to(Y, 2, 3, 4), np.broadcast_to(Y, (2, 3, 4))),
    "concatenate": (F.concatenate([X, X], dim=-1), np.concatenate([X, X], -1)),
    "cat": (F.cat([X, X], axis=1), np.concatenate([X, X], 1)),
    "stack": (F.stack([X, -X], dim=1), np.stack([X, -X], 1)),
    "split": (F.split(X, [1, 2], dim=1)[1], X[:, 1:]),
    "split evenly": (F.split(X, 3, dim=-1)[1], X[..., 3:]),
    "getitem": (F.getitem(X, (0, ..., [1, 1])), X[0, :, [1, 1]]),
    "gather": (F.gather(X, 1, np.zeros((2, 1, 4), int)), X[:, :1]),
    "where": (F.where(MASK, X, Y), np.where(MASK, X, Y)),
    "masked_fill": (F.masked_fill(X, MASK, -np.inf), np.where(MASK, -np.inf, X)),
    "matmul": (F.matmul(X, X.swapaxes(1, 2)), X @ X.swapaxes(1, 2)),
    "matmul of vectors": (F.matmul(X[0, 0], X[1, 1]), X[0, 0] @ X[1, 1]),
    "linear": (F.linear(X, Tensor(RNG.random((2, 4)) * 0 + Y[:2])), X.sum(-1, keepdims=True) * Y[:2, 0]),
    "linear with everything": (F.linear(X, *map(Tensor, LINEAR[:2]), "relu", LINEAR[2]), Z * (Z > 0) + LINEAR[2]),
    "linear with gelu": (F.linear(X, *map(Tensor, LINEAR[:2]), "gelu"), Z * (1 + erf(Z / math.sqrt(2))) / 2),
    "linear with gelu_tanh": (F.linear(X, *map(Tensor, LINEAR[:2]), "gelu_tanh"), gelu_tanh(Z)),
    "linear with silu": (F.linear(X, *map(Tensor, LINEAR[:2]), "silu"), Z / (1 + np.exp(-Z))),
    "linear of a vector": (F.linear(X[0, 0], Tensor(LINEAR[0])), X[0, 0] @ LINEAR[0].T),
    "linear_composed": (
        F.linear_composed(X, *map(Tensor, LINEAR[:2]), "relu", LINEAR[2]),
        Z * (Z > 0) + LINEAR[2],
    ),
    "feed_forward": (
        F.feed_forward(X, *map(Tensor, (LINEAR[0], DOWN, LINEAR[1], X[0, 0])), "relu", X),
        (Z * (Z > 0)) @ DOWN.T + X[0, 0] + X,
    ),
    "feed_forward without biases": (
        F.feed_forward(X, *map(Tensor, (LINEAR[0], DOWN)), activation="silu"),
        silu(X @ LINEAR[0].T) @ DOWN.T,
    ),
    "feed_forward_composed": (
        F.feed_forward_composed(X, *map(Tensor, (LINEAR[0], DOWN)), activation="silu", residual=X),
        silu(X @ LINEAR[0].T) @ DOWN.T + X,
    ),
    "embedding": (F.embedding(IDS, Tensor(X[0])), X[0][IDS]),
    "dropout": (F.dropout(X, 0.5, training=False), X),
    "bias_residual_dropout": (
        F.bias_residual_dropout(X, Tensor(np.arange(4.0)), POSITIVE),
        X + np.arange(4) + POSITIVE,
    ),
    "bias_residual_dropout of all": (F.bias_residual_dropout(X, None, POSITIVE, p=1.0), POSITIVE),
    "mse_loss": (F.mse_loss(X, -X), 4 * (X**2).mean()),
    "cross_entropy": (
        F.cross_entropy(X[0], np.array([0, 3, 1])),
        np.mean([np.log(np.exp(row).sum()) - row[y] for row, y in zip(X[0], [0, 3, 1])]),
    ),
    "rotary by 90°": (F.rotary(X, np.zeros((3, 2)), np.ones((3, 2))), np.concatenate([-X[..., 2:], X[..., :2]], -1)),
    "rotary_angles": (
        F.rotary_angles(np.array([0, 1, 7]), 4, base=100.0)[0],
        np.cos([[0, 0], [1, 0.1], [7, 0.7]]).astype(np.float32),
    ),
    "scaled_dot_product_attention": (
        F.scaled_dot_product_attention(X[None, :1] * 0, X[None, :1], X[None, :1]),
        np.broadcast_to(X[0].mean(0), (1, 1, 3, 4)),
    ),
    "self_attention": (
        F.self_attention(np.concatenate([0 * X, 0 * X, X], -1), 1),
        np.broadcast_to(X.mean(1, keepdims=True), X.shape),
    ),
    "attention_composed": (
        F.attention_composed(X[None, :1] * 0, X[None, :1], X[None, :1]),
        np.broadcast_to(X[0].mean(0), (1, 1, 3, 4)),
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_value(name):
    got, want = VALUES[name]
    got = got.data if isinstance(got, Tensor) else got
    assert got.shape == np.shape(want)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_every_function_has_a_value():
    assert set(F.__all__) <= {name.split(" ")[0] for name in VALUES}


def test_views_share_memory():
    """transpose, permute, split, slices and broadcast_to copy nothing."""
    x = Tensor(X)
    for y in (
        F.transpose(x),
        F.permute(x, 2, 1, 0),
        F.split(x, 1)[1],
        x[:, 1:],
        F.broadcast_to(x, 5, 2, 3, 4),
        F.flatten(x),
    ):
        assert np.shares_memory(y.data, X)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_in_float32_is_as_exact_as_float32(approximate):
    """The polynomial for Φ: error below 1.5e-7, everywhere, also where the tail is tiny."""
    x = np.linspace(-12, 12, 20_001).astype(np.float32)
    exact = F.gelu(x.astype(np.float64), approximate).data
    assert np.abs(F.gelu(x, approximate).data - exact).max() < 1.5e-7 * np.abs(x).max()
    near = np.abs(x) < 1
    assert np.abs(F.gelu(x, approximate).data - exact)[near].max() < 3e-7


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_of_a_large_array_is_that_of_its_pieces(approximate, dtype):
    """It is worked out in blocks; their borders, and a layout that is not contiguous, must not show."""
    a = RNG.standard_normal((1000, 70)).astype(dtype).T
    whole = Tensor(a, requires_grad=True)
    F.gelu(whole, approximate).backward(a)
    assert whole.grad.shape == a.shape
    for row in (0, 33, 69):
        piece = Tensor(a[row], requires_grad=True)
        y = F.gelu(piece, approximate)
        y.backward(a[row])
        np.testing.assert_allclose(F.gelu(a, approximate).data[row], y.data, rtol=1e-6)
        np.testing.assert_allclose(whole.grad[row], piece.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["silu", "sigmoid", "tanh", "exp", "mean", "gelu", "softmax"])
def test_integers_give_floats(name):
    x = np.array([1, 2, 3])
    np.testing.assert_allclose(getattr(F, name)(x).data, getattr(F, name)(x.astype(float)).data, rtol=1e-6)


@pytest.mark.parametrize("name", ["sigmoid", "softmax", "log_softmax", "logsumexp", "silu", "gelu", "tanh"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_values_do_not_overflow(name, dtype):
    x = np.array([-1e4, -100, 0, 100, 1e4], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y = getattr(F, name)(x)
    assert np.isfinite(y.data).all()
    assert y.dtype == dtype


def test_a_slice_of_minus_infinity():
    """softmax gives zeros, logsumexp −∞, both with zero gradient."""
    x = Tensor(np.full((2, 3), -np.inf), requires_grad=True)
    x.data[1] = 0
    for function, want in ((F.softmax, [0, 0, 0]), (F.logsumexp, -np.inf)):
        x.zero_grad()
        y = function(x)
        assert np.array_equal(y.data[0], want)
        y.backward(np.ones(y.shape))
        assert np.isfinite(x.grad).all()
        assert not x.grad[0].any()


def test_cross_entropy_of_certain_logits_is_exactly_zero_or_large():
    z = np.array([[1000.0, 0.0], [0.0, 1000.0]])
    assert F.cross_entropy(z, np.array([0, 1])).item() == 0
    assert F.cross_entropy(z, np.array([1, 0])).item() == 1000


DROPOUTS = {
    "dropout": lambda **options: F.dropout(np.ones((10, 100)), 0.5, **options),
    "bias_residual_dropout": lambda **options: F.bias_residual_dropout(np.ones((10, 100)), p=0.5, **options),
    "attention": lambda **options: F.scaled_dot_product_attention(
        np.zeros((1, 1, 30, 4)), np.zeros((1, 1, 30, 4)), np.eye(30)[None, None], dropout_p=0.5, **options
    ),
}


@pytest.mark.parametrize("name", DROPOUTS)
def test_dropout_draws_from_the_generator_that_was_passed(name):
    function = DROPOUTS[name]
    one, two = (function(generator=np.random.default_rng(1)).data for _ in range(2))
    assert np.array_equal(one, two)
    generator = np.random.default_rng(1)
    assert not np.array_equal(function(generator=generator).data, function(generator=generator).data)
    assert not np.array_equal(function().data, function().data), "without a generator it is fresh"


def test_operands_of_two_dtypes_meet_in_the_wider_one():
    """A float64 array in a float32 model, integers, float16: the kernels see one dtype, each operand its own gradient's."""
    W = Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    for dtype, want in ((np.float64, np.float64), (np.int64, np.float32), (np.float16, np.float32)):
        x = np.arange(3).astype(dtype)
        W.zero_grad()
        y = F.linear(x, W, activation="silu", residual=np.ones(2, np.float32))
        y.backward(np.ones(2))
        assert (y.dtype, W.grad.dtype) == (want, np.float32)
        assert F.layer_norm(x, Tensor(np.ones(3, np.float32))).dtype == want
    half = Tensor(np.arange(3, dtype=np.float16), requires_grad=True)
    F.gelu(half).sum().backward()
    assert half.grad.dtype == np.float16
    np.testing.assert_allclose(F.silu_mul([1, 2], 3 * np.ones(2)).data, F.silu([1.0, 2.0]).data * 3, rtol=1e-6)


def test_nothing_touches_numpys_global_random_state():
    before = np.random.get_state()[1].copy()  # noqa: NPY002  the point is that nobody else uses it
    F.dropout(X, 0.5)
    F.scaled_dot_product_attention(X[None], X[None], X[None], dropout_p=0.5)
    F.bias_residual_dropout(X, p=0.5)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002  as above


def test_cross_entropy_of_one_row_without_a_batch_axis():
    """Logits (C,) and one target: every reduction is the same number, with the same gradient."""
    z = RNG.standard_normal(4)
    for reduction in ("mean", "sum", "none"):
        x = Tensor(z, requires_grad=True)
        loss = F.cross_entropy(x, np.array(2), reduction=reduction)
        loss.backward()
        assert loss.shape == ()
        np.testing.assert_allclose(x.grad, np.exp(z) / np.exp(z).sum() - np.eye(4)[2])


def test_an_empty_batch():
    """No rows: results without rows, and gradients of zeros for the parameters."""
    parameters = [Tensor(a, requires_grad=True) for a in (*LINEAR[:2], np.ones(5))]
    W, b, g = parameters
    y = F.rms_norm(F.layer_norm(F.linear(np.zeros((0, 4)), W, b, "gelu", np.zeros((0, 5))), g, b), g)
    F.bias_residual_dropout(F.silu_mul(y, y), b, y, p=0.5).sum().backward()
    assert y.shape == (0, 5)
    assert not any(p.grad.any() for p in parameters)


def test_a_loss_over_nothing_is_nan_as_a_mean_and_zero_as_a_sum():
    nothing = np.array([-100, -100])
    assert F.cross_entropy(np.zeros((2, 3)), nothing, reduction="sum").item() == 0
    assert np.isnan(F.cross_entropy(np.zeros((2, 3)), nothing).item())
