"""Activations: GELU (exact and tanh), the gate of SwiGLU, and what linear applies in passing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minilm_kernels.namespace import array_namespace

Array = Any

SQRT_HALF = math.sqrt(0.5)
C, K = math.sqrt(2 / math.pi), 0.044715  # of the tanh form
FAR = 1000.0  # where Φ and σ are exactly 0 and 1: an infinite x there would make ∞ · 0
BLOCK = 1 << 15  # elements worked on at a time: a formula's temporaries stay in the core's own cache


class GeluResiduals(NamedTuple):
    """What gelu_backward needs from gelu."""

    x: Array
    approximate: str


class SiluMulResiduals(NamedTuple):
    """What silu_mul_backward needs from silu_mul."""

    gate: Array
    up: Array


def gelu(x: Array, *, approximate: str = "none") -> tuple[Array, GeluResiduals]:
    r"""y = x Φ(x), where Φ is the normal distribution's cumulative function.    [eq:gelu] [Hendrycks & Gimpel 2016]

    approximate="none":  Φ(x) = ½ (1 + erf(x/√2)), as in BERT and nanoGPT
    approximate="tanh":  Φ(x) ≈ ½ (1 + tanh(√(2/π) (x + 0.044715 x³))), as in GPT-2

    x: any shape.  Returns y in the shape of x and the residuals.
    """
    return activate(x, _gelu_name(approximate)), GeluResiduals(x, approximate)


def gelu_backward(grad_output: Array, residuals: GeluResiduals) -> Array:
    """The cotangent of x: dx = dy ⊙ dy/dx, dy/dx = Φ(x) + x φ(x) or the slope of the tanh form."""
    x, approximate = residuals
    return array_namespace(x).asarray(grad_output * slope_of(x, _gelu_name(approximate)))


def silu_mul(gate: Array, up: Array) -> tuple[Array, SiluMulResiduals]:
    r"""y = silu(gate) ⊙ up  with  silu(a) = a σ(a) = a/(1 + e^−a).    [eq:silu-mul] [Shazeer 2020, the gate of SwiGLU]

    gate, up: one shape.  Returns y in that shape and the residuals.
    """
    y = in_blocks(lambda a, u: _silu(a) * u, gate, up)
    return y, SiluMulResiduals(gate, up)


def silu_mul_backward(grad_output: Array, residuals: SiluMulResiduals) -> tuple[Array, Array]:
    """The cotangents of gate and up: d_gate = dy ⊙ up ⊙ silu′(gate), d_up = dy ⊙ silu(gate)."""
    gate, up = residuals
    d_gate = in_blocks(lambda dy, a, u: dy * u * _silu_slope(a), grad_output, gate, up)
    d_up = in_blocks(lambda dy, a: dy * _silu(a), grad_output, gate)
    return d_gate, d_up


# --- values and slopes, each under its function -----------------------------------------------------------------------


def _gelu_erf(a: Array) -> Array:
    return array_namespace(a).maximum(a, -FAR) * normal_cdf(a)


def _gelu_erf_slope(a: Array) -> Array:
    # dy/dx = Φ(x) + x φ(x), with the density φ(x) = e^(−x²/2)/√(2π)
    xp = array_namespace(a)
    near = xp.clip(a, -FAR, FAR)
    density = xp.exp(near * near * -0.5) * (1 / math.sqrt(2 * math.pi))
    return normal_cdf(a) + near * density


def _gelu_tanh(a: Array) -> Array:
    xp = array_namespace(a)
    return xp.maximum(a, -FAR) * 0.5 * (1 + xp.tanh(a * (C + (C * K) * (a * a))))


def _gelu_tanh_slope(a: Array) -> Array:
    # dy/dx = ½ (1 + t) + ½ x (1 − t²) C (1 + 3 K x²)  with  t = tanh(C (x + K x³))
    xp = array_namespace(a)
    a = xp.clip(a, -20, 20)  # where the slope is 0 and 1 already; x² of a huge x would make it ∞ · 0
    square = a * a
    t = xp.tanh(a * (C + (C * K) * square))
    return 0.5 * (1 + t) + 0.5 * a * (1 - t * t) * (C + (3 * C * K) * square)


def _relu(a: Array) -> Array:
    return array_namespace(a).maximum(a, 0)  # a NaN stays a NaN


def _relu_slope(a: Array) -> Array:
    # 1 where x > 0, else 0; a NaN has the slope NaN
    xp = array_namespace(a)
    return xp.where(a > 0, xp.ones((), a.dtype), xp.where(a <= 0, xp.zeros((), a.dtype), a))


def _silu(a: Array) -> Array:
    return array_namespace(a).maximum(a, -FAR) * logistic(a)


def _silu_slope(a: Array) -> Array:
    # dy/dx = σ + x σ (1 − σ) = σ (1 + x (1 − σ))
    s = logistic(a)
    return s * (1 + array_namespace(a).clip(a, -FAR, FAR) * (1 - s))


FUNCTIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "gelu": (_gelu_erf, _gelu_erf_slope),
    "gelu_tanh": (_gelu_tanh, _gelu_tanh_slope),
    "relu": (_relu, _relu_slope),
    "silu": (_silu, _silu_slope),
}


def activate(a: Array, name: str) -> Array:
    """act(a), for a name in FUNCTIONS."""
    return in_blocks(FUNCTIONS[name][0], a)


def slope_of(a: Array, name: str) -> Array:
    """act′(a), for a name in FUNCTIONS."""
    return in_blocks(FUNCTIONS[name][1], a)


def _gelu_name(approximate: str) -> str:
    return "gelu" if approximate == "none" else "gelu_tanh"


def in_blocks(formula: Callable[..., Array], *arrays: Array) -> Array:
    """formula(*arrays), element by element, worked out one piece at a time.

    In a formula of many steps a whole array would travel between memory and core in every step; a piece stays in the cache.
    """
    first = arrays[0]
    xp = array_namespace(first)
    if xp is not np or first.size <= BLOCK:
        return xp.asarray(formula(*arrays))
    flat = [a.reshape(-1) for a in arrays]
    result = np.empty(first.size, first.dtype)
    for start in range(0, first.size, BLOCK):
        block = slice(start, start + BLOCK)
        result[block] = formula(*(a[block] for a in flat))
    return result.reshape(first.shape)


def logistic(a: Array) -> Array:
    """σ(a) = 1/(1 + e^−a) = e^min(a, 0)/(1 + e^−|a|): no power is above 1, so nothing overflows."""
    xp = array_namespace(a)
    return xp.exp(xp.minimum(a, 0)) / (1 + xp.exp(-xp.abs(a)))


# Chebyshev coefficients of (1 + 2u) e^(u²) erfc(u) in t = (u − 3)/(u + 3), which maps 0 ≤ u < ∞ to −1 ≤ t < 1.
# Computed with 60 digits at the 80 Chebyshev points; the first 13 are exact enough for float32.
ERFC = (
    1.17756257419656, 0.005353904539615676, -0.09377550342284209, 0.05436652555744322, -0.018976596707845208,
    0.004453426061462712, -0.0006335531710553147, 1.7661719523171593e-05, 1.2841532864056671e-05, -2.0072285659059913e-06,
    -1.807522790414837e-07, 7.549828343825093e-08, 1.885668523838603e-09, -2.699519049798364e-09, -1.460079119939105e-11,
    1.0361607445969489e-10, 1.475715976623473e-12, -4.277340064396911e-12, -2.07922492859799e-13, 1.8134502003176963e-13,
    1.973425574544739e-14, -7.287943737592673e-15, -1.5169878690228116e-15, 2.3514112258781403e-16, 1.0006111691821667e-16,
)  # fmt: skip
POWERS = {
    np.dtype(np.float32): np.polynomial.chebyshev.cheb2poly(ERFC[:13]).astype(np.float32),
    np.dtype(np.float64): np.polynomial.chebyshev.cheb2poly(ERFC),
}


def normal_cdf(a: Array) -> Array:
    r"""Φ(a) = ½ erfc(−a/√2), to about one unit in the last place of 1.    [Shepherd & Laframboise 1981]

    With u = |a|/√2 the small side is Φ(−|a|) = ½ erfc(u) = ½ p(t) e^(−u²)/(1 + 2u), t = (u − 3)/(u + 3), where the polynomial p
    is that of ERFC; the large side is 1 − Φ(−|a|).
    """
    if a.dtype not in POWERS:  # 16 bits, on a GPU
        return normal_cdf(a.astype(np.float32)).astype(a.dtype)
    xp = array_namespace(a)
    u = xp.minimum(xp.abs(a) * SQRT_HALF, 30)  # beyond, e^(−u²) is 0 in any case; ∞/∞ would be NaN
    t = (u - 3) / (u + 3)
    *lower, highest = POWERS[a.dtype]
    tail = xp.full_like(t, highest)
    for coefficient in reversed(lower):
        tail *= t
        tail += coefficient
    tail *= xp.exp(-u * u)
    tail /= 2 + 4 * u
    return xp.where(a > 0, 1 - tail, tail)
