"""Normalization: softmax and log-softmax over an axis, layer norm and RMS norm over the features."""

from __future__ import annotations

from typing import Any

from minilm.functional._broadcast import accepts_axis
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
    r"""y = x̂ ⊙ g + b  with  x̂ = (x − μ)/√(σ² + ε), μ and σ² over the last axis.    [eq:layer-norm] [F14; 003 §4.3]

    x: (..., n), weight g: (n,), bias b: (n,).  Returns the shape of x.    [Ba et al. 2016]
    """
    x = as_float(x)
    xp = array_namespace(x.data)
    n = x.shape[-1]
    xhat = x.data - x.data.mean(axis=-1, keepdims=True)
    # xp.vecdot would need NumPy 2 on both sides; einsum forms no temporary either
    rstd = 1 / xp.sqrt(xp.einsum("...i,...i->...", xhat, xhat)[..., None] / n + eps)
    xhat *= rstd
    g = None if weight is None else weight.data

    def backward(dy):
        # y = x̂ ⊙ g + b  ⇒  dg = Σ_rows dy ⊙ x̂, db = Σ_rows dy, dx̂ = dy ⊙ g
        # x̂ has mean 0 and variance 1 whatever x does: dx = (dx̂ − mean(dx̂) − x̂ ⊙ mean(dx̂ ⊙ x̂))/σ
        dxhat = dy if g is None else dy * g
        dx = dxhat - dxhat.mean(axis=-1, keepdims=True)
        dx -= xhat * (xp.einsum("...i,...i->...", dxhat, xhat)[..., None] / n)
        dx *= rstd
        return dx, *_affine_gradients(dy, xhat, weight, bias)

    return _affine(xhat, x, weight, bias, backward)


def rms_norm(x: Any, weight: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    r"""y = x̂ ⊙ g  with  x̂ = x/√(mean(x²) + ε) over the last axis: layer norm without the mean.    [Zhang & Sennrich 2019]

    x: (..., n), weight g: (n,).  Returns the shape of x.
    """
    x = as_float(x)
    xp = array_namespace(x.data)
    n = x.shape[-1]
    rrms = 1 / xp.sqrt(xp.einsum("...i,...i->...", x.data, x.data)[..., None] / n + eps)
    xhat = x.data * rrms
    g = None if weight is None else weight.data

    def backward(dy):
        # dx = (dx̂ − x̂ ⊙ mean(dx̂ ⊙ x̂))/rms,  dx̂ = dy ⊙ g,  dg = Σ_rows dy ⊙ x̂
        dxhat = dy if g is None else dy * g
        dx = dxhat - xhat * (xp.einsum("...i,...i->...", dxhat, xhat)[..., None] / n)
        dx *= rrms
        return dx, *_affine_gradients(dy, xhat, weight, None)

    return _affine(xhat, x, weight, None, backward)


def _affine(xhat: Array, x: Tensor, weight: Tensor | None, bias: Tensor | None, backward: Any) -> Tensor:
    """Record y = x̂ ⊙ weight + bias, each of them optional."""
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None and parameter.shape != x.shape[-1:]:
            raise ValueError(
                f"the {name} has shape {parameter.shape}, but x has {x.shape[-1]} features in its last axis"
            )
    y = xhat if weight is None else xhat * weight.data
    if bias is not None:
        y = y + bias.data
    return record(y, (x, *(p for p in (weight, bias) if p is not None)), backward)


def _affine_gradients(dy: Array, xhat: Array, weight: Tensor | None, bias: Tensor | None) -> list[Array]:
    """dg = Σ_rows dy ⊙ x̂ and db = Σ_rows dy, for those of the two that exist."""
    n = dy.shape[-1]
    gradients = []
    if weight is not None:
        gradients.append((dy * xhat).reshape(-1, n).sum(axis=0))
    if bias is not None:
        gradients.append(dy.reshape(-1, n).sum(axis=0))
    return gradients
