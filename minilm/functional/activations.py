"""Activation functions: tanh, sigmoid, relu, GELU (exact and tanh), SiLU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minilm.tensor import Array, Tensor, as_tensor, record
from minilm_kernels import array_namespace


def tanh(x: Any) -> Tensor:
    """y = tanh x = (e^x − e^−x)/(e^x + e^−x)."""
    x = as_tensor(x)
    y = array_namespace(x.data).tanh(x.data)

    def backward(dy):
        # dy/dx = 1 − tanh² x
        return (dy * (1 - y * y),)

    return record(y, (x,), backward)


def sigmoid(x: Any) -> Tensor:
    """y = σ(x) = 1/(1 + e^−x)."""
    x = as_tensor(x)
    y = logistic(x.data)

    def backward(dy):
        # dσ/dx = σ (1 − σ)
        return (dy * y * (1 - y),)

    return record(y, (x,), backward)


def relu(x: Any) -> Tensor:
    """y = max(0, x), with derivative 0 at 0. A NaN stays a NaN."""
    x = as_tensor(x)
    xp = array_namespace(x.data)
    positive = x.data > 0

    def backward(dy):
        # dy/dx = 1 where x > 0, else 0
        return (dy * positive,)

    return record(xp.maximum(x.data, 0), (x,), backward)


def silu(x: Any) -> Tensor:
    """y = x σ(x), also called swish.    [Elfwing et al. 2017; the gate of SwiGLU]"""
    x = as_tensor(x)
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
    x = as_tensor(x)
    return _gelu_erf(x) if approximate == "none" else _gelu_tanh(x)


def _gelu_erf(x: Tensor) -> Tensor:
    a = x.data
    Phi, bell = normal_cdf(a)  # Φ(x) and e^(−x²/2)

    def backward(dy):
        # dy/dx = Φ(x) + x φ(x), with the density φ(x) = e^(−x²/2)/√(2π)
        slope = a * bell
        slope *= 1 / math.sqrt(2 * math.pi)
        slope += Phi
        slope *= dy
        return (slope,)

    return record(a * Phi, (x,), backward)


def _gelu_tanh(x: Tensor) -> Tensor:
    xp = array_namespace(x.data)
    a = x.data
    c, k = math.sqrt(2 / math.pi), 0.044715
    t = a * a
    t *= c * k
    t += c
    t *= a
    xp.tanh(t, out=t)  # t = tanh(c (x + k x³))
    y = t + 1
    y *= a
    y *= 0.5

    def backward(dy):
        # dy/dx = ½ (1 + t) + ½ x (1 − t²) c (1 + 3 k x²)
        slope = a * a
        slope *= 3 * c * k
        slope += c
        slope *= a
        slope *= 1 - t * t
        slope += t
        slope += 1
        slope *= dy
        slope *= 0.5
        return (slope,)

    return record(y, (x,), backward)


def logistic(a: Array) -> Array:
    """1/(1 + e^−a) on an array, without overflow: e^−|a| ≤ 1 always."""
    xp = array_namespace(a)
    e = xp.exp(-xp.abs(a))
    return xp.where(a >= 0, 1, e) / (1 + e)


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
