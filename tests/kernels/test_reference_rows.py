"""The reference's norms, activations and rotary positions against oracles written in another way."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minilm_kernels import reference
from minilm_kernels.formulas.activations import BLOCK, FUNCTIONS, activate, normal_cdf, slope_of

POINTS = np.concatenate([np.linspace(-12, 12, 4001), [0.0, -0.0, 1e-300, -1e-300, 38.0, -38.0, 1e3, -1e3]])


def exact_cdf(a):
    return np.array([0.5 * math.erfc(-float(x) / math.sqrt(2)) for x in a])


def test_normal_cdf_in_float64():
    """Against the C library's erfc: within 5·10⁻¹⁶, and relatively so in the tail down to 10⁻¹⁵."""
    got, want = normal_cdf(POINTS), exact_cdf(POINTS)
    assert np.abs(got - want).max() < 5e-16
    tail = (POINTS < 0) & (POINTS > -8)
    assert np.abs(got[tail] / want[tail] - 1).max() < 2e-14


def test_normal_cdf_in_float32():
    a = POINTS.astype(np.float32)
    got, want = normal_cdf(a), exact_cdf(a)
    assert got.dtype == np.float32
    assert np.abs(got - want).max() < 2.5e-7
    assert np.sqrt(((got - want) ** 2).mean()) < 0.5 * np.finfo(np.float32).eps
    tail = (a < 0) & (a > -4)
    assert np.abs(got[tail] / want[tail] - 1).max() < 3e-6


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normal_cdf_at_the_ends(dtype):
    got = normal_cdf(np.array([-np.inf, np.inf, np.nan, 0.0], dtype))
    assert got[:2].tolist() == [0, 1]
    assert np.isnan(got[2])
    assert abs(got[3] - 0.5) <= np.finfo(dtype).eps


ORACLES = {
    "gelu": lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2)),
    "gelu_tanh": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: max(x, 0.0),
    "silu": lambda x: x / (1 + math.exp(-x)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations_and_slopes(name):
    x = np.linspace(-9, 9, 301) + 0.01
    np.testing.assert_allclose(activate(x, name), [ORACLES[name](v) for v in x], rtol=1e-13, atol=1e-15)
    h = 1e-5
    numeric = [(ORACLES[name](v + h) - ORACLES[name](v - h)) / (2 * h) for v in x]
    np.testing.assert_allclose(slope_of(x, name), numeric, atol=2e-9)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations_far_out(name):
    """0 on the left and x on the right, with slopes 0 and 1, for the largest numbers that can be squared."""
    x = np.array([-1e18, -100.0, 100.0, 1e18], np.float32)
    with np.errstate(over="ignore", under="ignore"):
        np.testing.assert_allclose(activate(x, name), np.array([0, 0, 100, 1e18], np.float32), atol=1e-40)
        np.testing.assert_allclose(slope_of(x, name), [0, 0, 1, 1], atol=1e-40)


def test_long_arrays_are_worked_on_in_pieces(generator):
    x = generator.standard_normal((3, BLOCK // 2 + 5)).T
    y, residuals = reference.gelu(x)
    np.testing.assert_array_equal(y, np.stack([reference.gelu(row)[0] for row in x]))
    np.testing.assert_array_equal(reference.gelu_backward(x, residuals)[5], x[5] * slope_of(x[5], "gelu"))


def test_gelu_names():
    x = np.array([0.5, -1.5])
    np.testing.assert_array_equal(reference.gelu(x)[0], activate(x, "gelu"))
    np.testing.assert_array_equal(reference.gelu(x, approximate="tanh")[0], activate(x, "gelu_tanh"))
    assert abs(reference.gelu(x)[0] - reference.gelu(x, approximate="tanh")[0]).max() > 1e-5


def test_silu_mul(generator):
    gate, up, dy = generator.standard_normal((3, 4, 5))
    y, residuals = reference.silu_mul(gate, up)
    np.testing.assert_allclose(y, gate / (1 + np.exp(-gate)) * up)
    d_gate, d_up = reference.silu_mul_backward(dy, residuals)
    np.testing.assert_allclose(d_up, dy * gate / (1 + np.exp(-gate)))
    h = 1e-6
    numeric = (reference.silu_mul(gate + h, up)[0] - reference.silu_mul(gate - h, up)[0]) / (2 * h)
    np.testing.assert_allclose(d_gate, dy * numeric, atol=1e-8)


def jacobian_product(function, x, dy, h=1e-6):
    """Σ dy ∂f/∂x by central differences, element by element."""
    grad = np.empty_like(x)
    for i in np.ndindex(*x.shape):
        e = np.zeros_like(x)
        e[i] = h
        grad[i] = (dy * (function(x + e) - function(x - e))).sum() / (2 * h)
    return grad


def test_layer_norm(generator):
    x, dy = generator.standard_normal((2, 3, 4, 5)) * 2 + 1
    g, b = generator.standard_normal((2, 5))
    y, residuals = reference.layer_norm(x, g, b, eps=1e-3)
    np.testing.assert_allclose(y, (x - x.mean(-1)[..., None]) / np.sqrt(x.var(-1)[..., None] + 1e-3) * g + b)
    dx, dg, db = reference.layer_norm_backward(dy, residuals)
    np.testing.assert_allclose(
        dx, jacobian_product(lambda a: reference.layer_norm(a, g, b, eps=1e-3)[0], x, dy), atol=1e-7
    )
    np.testing.assert_allclose(
        dg, jacobian_product(lambda a: reference.layer_norm(x, a, b, eps=1e-3)[0], g, dy), atol=1e-7
    )
    np.testing.assert_allclose(db, dy.sum((0, 1)))


def test_rms_norm(generator):
    x, dy = generator.standard_normal((2, 3, 4, 5)) * 2 + 1
    g = generator.standard_normal(5)
    y, residuals = reference.rms_norm(x, g, eps=1e-3)
    np.testing.assert_allclose(y, x / np.sqrt((x**2).mean(-1)[..., None] + 1e-3) * g)
    dx, dg = reference.rms_norm_backward(dy, residuals)
    np.testing.assert_allclose(dx, jacobian_product(lambda a: reference.rms_norm(a, g, eps=1e-3)[0], x, dy), atol=1e-7)
    np.testing.assert_allclose(dg, jacobian_product(lambda a: reference.rms_norm(x, a, eps=1e-3)[0], g, dy), atol=1e-7)


def test_norms_without_parameters(generator):
    x = generator.standard_normal((4, 5))
    y, residuals = reference.layer_norm(x)
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-15)
    assert reference.layer_norm_backward(x, residuals)[1:] == (None, None)
    y += 1
    np.testing.assert_allclose(residuals.normalized, y - 1, atol=1e-15, err_msg="the result is the residuals' array")
    y, residuals = reference.rms_norm(x)
    assert reference.rms_norm_backward(x, residuals)[1] is None
    y += 1
    np.testing.assert_allclose(residuals.normalized, y - 1, atol=1e-15, err_msg="the result is the residuals' array")


def test_rotary_is_multiplication_of_complex_numbers(generator):
    x, angles = generator.standard_normal((2, 3, 7, 8)), generator.uniform(0, 6, (7, 4))
    turned = (x[..., :4] + 1j * x[..., 4:]) * np.exp(1j * angles)
    y = reference.rotary(x, np.cos(angles), np.sin(angles))
    np.testing.assert_allclose(y, np.concatenate([turned.real, turned.imag], -1), atol=1e-14)
    back = reference.rotary_backward(y, np.cos(angles), np.sin(angles))
    np.testing.assert_allclose(back, x, atol=1e-14)
