"""Normalization: softmax and log-softmax over an axis, layer norm and RMS norm over the features."""

from __future__ import annotations

from typing import Any

import minilm_kernels as kernels
from minilm.functional._broadcast import accepts_axis, data_of, given, same_float
from minilm.tensor import Array, Tensor, as_float, record
from minilm_kernels import array_namespace


@accepts_axis
def softmax(x: Any, dim: int = -1) -> Tensor:
    r"""softmax(x)_i = exp(x_i) / Σ_j exp(x_j).    [eq:softmax] [001 §4.1]

    x: (..., n) float.  Returns the same shape; each slice along `dim` sums to 1 (a slice of −∞ only gives zeros).
    Subtracting max(x) changes nothing (shift invariance) and keeps exp from overflowing.
    """
    x = as_float(x)
    y = softmax_array(x.data, dim)

    def backward(dy):
        # ∂y_i/∂x_j = y_i (δ_ij − y_j)   ⇒   dx = y ⊙ (dy − Σ_j dy_j y_j)
        dx = dy * y
        dx -= y * dx.sum(axis=dim, keepdims=True)
        return (dx,)

    return record(y, (x,), backward)


def softmax_array(a: Array, dim: int = -1) -> Array:
    """softmax of a plain array; a slice of −∞ only gives zeros, a NaN stays visible."""
    xp = array_namespace(a)
    m = a.max(axis=dim, keepdims=True)
    m = xp.where(m == -xp.inf, xp.zeros((), a.dtype), m)
    y = xp.asarray(a - m)
    xp.exp(y, out=y)
    total = y.sum(axis=dim, keepdims=True)
    y /= xp.where(total == 0, xp.ones((), a.dtype), total)
    return y


@accepts_axis
def log_softmax(x: Any, dim: int = -1) -> Tensor:
    """log softmax(x)_i = x_i − log Σ_j exp(x_j), without ever forming a small probability."""
    x = as_float(x)
    xp = array_namespace(x.data)
    y = xp.asarray(x.data - x.data.max(axis=dim, keepdims=True))
    y -= xp.log(xp.exp(y).sum(axis=dim, keepdims=True))

    def backward(dy):
        # ∂y_i/∂x_j = δ_ij − softmax(x)_j   ⇒   dx = dy − softmax(x) Σ_i dy_i
        return (dy - xp.exp(y) * dy.sum(axis=dim, keepdims=True),)

    return record(y, (x,), backward)


def layer_norm(x: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    r"""y = x̂ ⊙ g + b  with  x̂ = (x − μ)/√(σ² + ε), μ and σ² over the last axis.    [F14; 003 §4.3]

    x: (..., n), weight g: (n,), bias b: (n,).  Returns the shape of x.    [Ba et al. 2016]

    The fused twin of layer_norm_composed: one kernel forward, one backward.
    """
    x, weight, bias = same_float(x, weight, bias)
    y, residuals = kernels.layer_norm(x.data, data_of(weight), data_of(bias), eps=eps)

    def backward(dy, others=None):
        return given(kernels.layer_norm_backward(dy, residuals, add=others))

    return record(y, given((x, weight, bias)), backward, adds_to_first=True)


def layer_norm_composed(x: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """The same layer norm, written as the formula reads."""
    x, weight, bias = same_float(x, weight, bias)
    centered = x - x.mean(dim=-1, keepdim=True)  # [eq:layer-norm]
    variance = (centered * centered).mean(dim=-1, keepdim=True)  # [eq:layer-norm]
    return _affine(centered / (variance + eps).sqrt(), weight, bias)  # [eq:layer-norm]


def rms_norm(x: Any, weight: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    r"""y = x̂ ⊙ g  with  x̂ = x/√(mean(x²) + ε) over the last axis: layer norm without the mean.    [Zhang & Sennrich 2019]

    x: (..., n), weight g: (n,).  Returns the shape of x.

    The fused twin of rms_norm_composed.
    """
    x, weight = same_float(x, weight)
    y, residuals = kernels.rms_norm(x.data, data_of(weight), eps=eps)

    def backward(dy, others=None):
        return given(kernels.rms_norm_backward(dy, residuals, add=others))

    return record(y, given((x, weight)), backward, adds_to_first=True)


def rms_norm_composed(x: Any, weight: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    """The same RMS norm, written as the formula reads."""
    x, weight = same_float(x, weight)
    return _affine(x / ((x * x).mean(dim=-1, keepdim=True) + eps).sqrt(), weight, None)  # [eq:rms-norm]


def _affine(xhat: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = xhat if weight is None else xhat * weight
    return y if bias is None else y + bias
