"""The end of a Transformer's branch: bias, dropout, and the sum with what went around the branch."""

from __future__ import annotations

from typing import Any, NamedTuple

from minilm_kernels.random import dropout_mask

Array = Any


class BiasResidualDropoutResiduals(NamedTuple):
    """What the backward pass needs; the mask is drawn again."""

    dropout: float
    seed: int | None
    bias: bool
    residual: bool


def bias_residual_dropout(
    x: Array, bias: Array | None = None, residual: Array | None = None, *, dropout: float = 0.0, seed: int | None = None
) -> tuple[Array, BiasResidualDropoutResiduals]:
    """y = residual + dropout(x + bias), each of the three optional.    [eq:dropout] [Srivastava et al. 2014]

    x: (..., n); bias: (n,); residual: the shape of x.
    dropout: the probability with which an element is set to 0; the others are scaled by 1/(1 − dropout). Drawn from `seed`
    with the flat number of x's row as r and the feature as j (minilm_kernels.random).

    Returns y in the shape of x and the residuals.
    """
    y = x.copy() if bias is None else x + bias
    if dropout:
        y *= dropout_mask(x, x.shape, dropout, seed or 0)
    if residual is not None:
        y += residual
    return y, BiasResidualDropoutResiduals(dropout, seed, bias is not None, residual is not None)


def bias_residual_dropout_backward(
    grad_output: Array, residuals: BiasResidualDropoutResiduals
) -> tuple[Array, Array | None, Array | None]:
    """The cotangents of x, bias and residual (None for a bias or residual that was not given).

    dx = mask ⊙ dy,  db = Σ_rows dx,  d_residual = dy.  dx without dropout and d_residual may be grad_output itself.
    """
    dropout, seed, has_bias, has_residual = residuals
    dx = grad_output
    if dropout:
        dx = dx * dropout_mask(dx, dx.shape, dropout, seed or 0)
    db = dx.sum(axis=tuple(range(dx.ndim - 1))) if has_bias else None
    return dx, db, grad_output if has_residual else None
