"""Activation functions: tanh, sigmoid, relu, GELU (exact and tanh), SiLU."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minilm.tape import grad_enabled
from minilm.tensor import Array, Tensor, as_float, record
from minilm_kernels import array_namespace


def tanh(x: Any) -> Tensor:
    """y = tanh x = (e^x − e^−x)/(e^x + e^−x)."""
    x = as_float(x)
    y = array_namespace(x.data).tanh(x.data)

    def backward(dy):
        # dy/dx = 1 − tanh² x
        return (dy * (1 - y * y),)

    return record(y, (x,), backward)


def sigmoid(x: Any) -> Tensor:
    """y = σ(x) = 1/(1 + e^−x)."""
    x = as_float(x)
    y = logistic(x.data)

    def backward(dy):
        # dσ/dx = σ (1 − σ)
        return (dy * y * (1 - y),)

    return record(y, (x,), backward)


def relu(x: Any) -> Tensor:
    """y = max(0, x), with derivative 0 at 0. A NaN stays a NaN."""
    x = as_float(x)
    xp = array_namespace(x.data)
    positive = x.data > 0

    def backward(dy):
        # dy/dx = 1 where x > 0, else 0
        return (dy * positive,)

    return record(xp.maximum(x.data, 0), (x,), backward)


def silu(x: Any) -> Tensor:
    """y = x σ(x), also called swish.    [Elfwing et al. 2017; the gate of SwiGLU]"""
    x = as_float(x)
    a = x.data
    s = logistic(a)

    def backward(dy):
        # dy/dx = σ + x σ (1 − σ)
        return (dy * s * (1 + a * (1 - s)),)

    return record(a * s, (x,), backward)


def gelu(x: Any, approximate: str = "none") -> Tensor:
    r"""y = x Φ(x), where Φ is the normal distribution's cumulative function.    [Hendrycks & Gimpel 2016]

    approximate="none":  Φ(x) = ½ (1 + erf(x/√2)), as in BERT and nanoGPT
    approximate="tanh":  Φ(x) ≈ ½ (1 + tanh(√(2/π) (x + 0.044715 x³))), as in GPT-2
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate is {approximate!r}; gelu knows 'none' (erf) and 'tanh'")
    return in_blocks(_gelu_erf if approximate == "none" else _gelu_tanh, as_float(x))


def _gelu_erf(a: Array) -> tuple[Array, Callable[[], Array]]:
    Phi, bell = normal_cdf(a)  # Φ(x) and e^(−x²/2)

    def derivative():
        # dy/dx = Φ(x) + x φ(x), with the density φ(x) = e^(−x²/2)/√(2π)
        slope = a * bell
        slope *= 1 / math.sqrt(2 * math.pi)
        slope += Phi
        return slope

    return a * Phi, derivative


def _gelu_tanh(a: Array) -> tuple[Array, Callable[[], Array]]:
    xp = array_namespace(a)
    c, k = math.sqrt(2 / math.pi), 0.044715
    t = a * a
    t *= c * k
    t += c
    t *= a
    xp.tanh(t, out=t)  # t = tanh(c (x + k x³))
    y = t + 1
    y *= a
    y *= 0.5

    def derivative():
        # dy/dx = ½ (1 + t) + ½ x (1 − t²) c (1 + 3 k x²)
        slope = a * a
        slope *= 3 * c * k
        slope += c
        slope *= a
        slope *= 1 - t * t
        slope += t
        slope += 1
        slope *= 0.5
        return slope

    return y, derivative


BLOCK = 1 << 15  # elements worked on at a time: a formula's temporaries stay in the core's own cache


def in_blocks(formula: Callable[[Array], tuple[Array, Callable[[], Array]]], x: Tensor) -> Tensor:
    """Record y = formula(x) for a formula of many steps, element by element, worked out one piece of x at a time.

    formula(a) returns y and a function for dy/dx. A whole array would travel between memory and core in every step; a
    piece stays in the cache. For the same reason dy/dx is taken right away, while the piece is there, and is all
    that is kept for the backward pass.
    """
    xp = array_namespace(x.data)
    a = x.data.reshape(-1)
    y = xp.empty_like(a)
    slope = xp.empty_like(a) if x.requires_grad and grad_enabled() else None
    size = BLOCK if xp is np else max(1, a.size)
    for start in range(0, a.size, size):
        block = slice(start, start + size)
        y[block], derivative = formula(a[block])
        if slope is not None:
            slope[block] = derivative()
    if slope is not None:
        slope = slope.reshape(x.shape)

    def backward(dy):
        return (dy * slope,)

    backward.__qualname__ = formula.__qualname__  # so that errors and graphs name the operation, not this helper
    return record(y.reshape(x.shape), (x,), backward)


def logistic(a: Array) -> Array:
    """1/(1 + e^−a) = e^min(a, 0)/(1 + e^−|a|) on an array: no power is above 1, so nothing overflows."""
    xp = array_namespace(a)
    return xp.exp(xp.minimum(a, 0)) / (1 + xp.exp(-xp.abs(a)))


def normal_cdf(a: Array) -> tuple[Array, Array]:
    r"""Φ(a) = ½ erfc(−a/√2) and e^(−a²/2), which its derivative needs, for an array.

    NumPy has no erf. In float64 this takes the C library's, element by element (slow and exact: for gradient checks).
    In float32, with u = |a|/√2 and t = 1/(1 + 0.3275911 u):  ½ erfc(u) = ½ (c₁t + c₂t² + … + c₅t⁵) e^(−u²),
    whose error is below 1.5·10⁻⁷.    [Abramowitz & Stegun 7.1.26]
    """
    xp = array_namespace(a)
    bell = a * a
    bell *= -0.5
    xp.exp(bell, out=bell)
    if a.dtype != np.float32:
        values = a if isinstance(a, np.ndarray) else a.get()
        tails = [math.erfc(-v) for v in (values.astype(np.float64) / math.sqrt(2)).ravel()]
        return xp.asarray(tails, dtype=a.dtype).reshape(a.shape) * 0.5, bell
    t = xp.abs(a)
    t *= 0.3275911 / math.sqrt(2)
    t += 1
    xp.reciprocal(t, out=t)
    tail = t * (0.5 * 1.061405429)
    for c in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail += 0.5 * c
        tail *= t
    tail *= bell  # Φ(−|a|), the small side
    # Φ(a) = 1 − Φ(−|a|) for a > 0: |step − tail| picks the side without a branch
    tail -= a > 0
    return xp.abs(tail, out=tail), bell
