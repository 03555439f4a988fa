"""Layer norm and RMS norm over the last axis."""

from __future__ import annotations

from typing import Any, NamedTuple

from minilm_kernels.namespace import array_namespace

Array = Any


class NormResiduals(NamedTuple):
    """What the backward pass of a norm needs."""

    normalized: Array  # x̂
    reciprocal: Array  # 1/σ or 1/rms, (..., 1)
    weight: Array | None
    bias: bool


def layer_norm(
    x: Array, weight: Array | None = None, bias: Array | None = None, *, eps: float = 1e-5
) -> tuple[Array, NormResiduals]:
    r"""y = x̂ ⊙ g + b  with  x̂ = (x − μ)/√(σ² + ε), μ and σ² over the last axis.    [eq:layer-norm] [F14; 003 §4.3]

    x: (..., n); weight g and bias b: (n,), both optional.  Returns y in the shape of x and the residuals.    [Ba et al. 2016]
    """
    xhat = x - x.mean(axis=-1, keepdims=True)
    rstd = _reciprocal_root(xhat, eps)
    xhat *= rstd
    y = xhat.copy() if weight is None else xhat * weight
    if bias is not None:
        y += bias
    return y, NormResiduals(xhat, rstd, weight, bias is not None)


def layer_norm_backward(
    grad_output: Array, residuals: NormResiduals, *, add: Array | None = None
) -> tuple[Array, Array | None, Array | None]:
    """The cotangents of x, weight and bias (None for a weight or bias that was not given).

    y = x̂ ⊙ g + b  ⇒  dg = Σ_rows dy ⊙ x̂,  db = Σ_rows dy,  dx̂ = dy ⊙ g.
    x̂ has mean 0 and variance 1 whatever x does:  dx = (dx̂ − mean(dx̂) − x̂ ⊙ mean(dx̂ ⊙ x̂))/σ.

    add: in the shape of x, added to dx: the cotangent that came to x past the norm, as in a residual connection.
    """
    dy, (xhat, rstd, g, has_bias) = grad_output, residuals
    dxhat = dy if g is None else dy * g
    dx = dxhat - dxhat.mean(axis=-1, keepdims=True)
    dx -= xhat * _mean_product(dxhat, xhat)
    dx *= rstd
    if add is not None:
        dx += add
    return dx, None if g is None else _sum_rows(dy * xhat), _sum_rows(dy) if has_bias else None


def rms_norm(x: Array, weight: Array | None = None, *, eps: float = 1e-6) -> tuple[Array, NormResiduals]:
    r"""y = x̂ ⊙ g  with  x̂ = x/√(mean(x²) + ε) over the last axis.    [eq:rms-norm] [Zhang & Sennrich 2019]

    x: (..., n); weight g: (n,), optional.  Returns y in the shape of x and the residuals.
    """
    rrms = _reciprocal_root(x, eps)
    xhat = x * rrms
    y = xhat.copy() if weight is None else xhat * weight
    return y, NormResiduals(xhat, rrms, weight, False)


def rms_norm_backward(
    grad_output: Array, residuals: NormResiduals, *, add: Array | None = None
) -> tuple[Array, Array | None]:
    """The cotangents of x and weight (None without a weight).

    dg = Σ_rows dy ⊙ x̂,  dx̂ = dy ⊙ g,  dx = (dx̂ − x̂ ⊙ mean(dx̂ ⊙ x̂))/rms.

    add: in the shape of x, added to dx, as in layer_norm_backward.
    """
    dy, (xhat, rrms, g, _) = grad_output, residuals
    dxhat = dy if g is None else dy * g
    dx = dxhat - xhat * _mean_product(dxhat, xhat)
    dx *= rrms
    if add is not None:
        dx += add
    return dx, None if g is None else _sum_rows(dy * xhat)


def _reciprocal_root(a: Array, eps: float) -> Array:
    """1/√(mean(a²) + ε) over the last axis, (..., 1)."""
    xp = array_namespace(a)
    return 1 / xp.sqrt(_mean_product(a, a) + a.dtype.type(eps))


def _mean_product(a: Array, b: Array) -> Array:
    """mean(a ⊙ b) over the last axis, (..., 1). einsum forms no temporary; vecdot would need NumPy 2 on both sides."""
    xp = array_namespace(a)
    return xp.einsum("...i,...i->...", a, b)[..., None] / a.dtype.type(max(a.shape[-1], 1))


def _sum_rows(a: Array) -> Array:
    return a.sum(axis=tuple(range(a.ndim - 1)))
