"""Products of matrices: linear with its activation and residual, and the plain product."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from minilm_kernels.formulas.activations import activate, slope_of
from minilm_kernels.namespace import array_namespace

Array = Any


class LinearResiduals(NamedTuple):
    """What linear_backward needs from linear."""

    rows: Array  # X, all axes but the last folded into one: (rows, in)
    weight: Array
    preactivation: Array | None  # Z, where there is an activation
    activation: str | None
    shape: tuple[int, ...]  # of x
    bias: bool
    residual: bool


def linear(
    x: Array, weight: Array, bias: Array | None = None, *, activation: str | None = None, residual: Array | None = None
) -> tuple[Array, LinearResiduals]:
    """Y = act(X Wᵀ + b) + R, each of act, b and R optional.    [eq:linear] [F3; 004 §3.1]

    x: (..., in); weight: (out, in), one row per output; bias: (out,); residual: (..., out), the shape of the result.
    activation: None, "gelu" (erf), "gelu_tanh", "relu" or "silu".

    Returns Y (..., out) and the residuals for the backward pass.
    """
    W = weight
    X = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    Z = X @ W.T  # (rows, out)
    if bias is not None:
        Z += bias
    Y = Z if activation is None else activate(Z, activation)
    Y = Y.reshape(*x.shape[:-1], W.shape[0])
    if residual is not None:
        Y = Y + residual
    preactivation = None if activation is None else Z
    saved = LinearResiduals(X, W, preactivation, activation, x.shape, bias is not None, residual is not None)
    return Y, saved


def linear_backward(
    grad_output: Array,
    residuals: LinearResiduals,
    *,
    needs: tuple[bool, bool] = (True, True),
    weight_out: Array | None = None,
    accumulate: bool = False,
) -> tuple[Array | None, Array | None, Array | None, Array | None]:
    """The cotangents of x, weight, bias and residual; None for a bias or residual that was not given.

    Y = act(Z) + R, Z = X Wᵀ + b  ⇒  dR = dY,  dZ = dY ⊙ act′(Z),  dX = dZ W,  dW = dZᵀ X,  db = Σ_rows dZ.

    needs: whether x and weight want theirs; None in its place if not. That of the residual may be grad_output itself.
    weight_out: (out, in), where dW is written, or added with accumulate; it is then what is returned for the weight.
    """
    X, W, Z, activation, shape, has_bias, has_residual = residuals
    dZ = grad_output.reshape(len(X), W.shape[0])
    if activation is not None:
        dZ = dZ * slope_of(Z, activation)
    dX = (dZ @ W).reshape(shape) if needs[0] else None
    dW = matmul(dZ.T, X, out=weight_out, accumulate=accumulate) if needs[1] else None
    db = dZ.sum(axis=0) if has_bias else None
    return dX, dW, db, grad_output if has_residual else None


class FeedForwardResiduals(NamedTuple):
    """What feed_forward_backward needs from feed_forward: the residuals of its two linear layers."""

    up: LinearResiduals
    down: LinearResiduals


def feed_forward(
    x: Array,
    weight_in: Array,
    weight_out: Array,
    bias_in: Array | None = None,
    bias_out: Array | None = None,
    *,
    activation: str,
    residual: Array | None = None,
) -> tuple[Array, FeedForwardResiduals]:
    """Y = act(X W_inᵀ + b_in) W_outᵀ + b_out + R, each of b_in, b_out and R optional.    [Vaswani et al. 2017 §3.3]

    x: (..., in); weight_in: (hidden, in); weight_out: (out, hidden); bias_in: (hidden,); bias_out: (out,);
    residual: (..., out), the shape of the result. activation: "gelu" (erf), "gelu_tanh", "relu" or "silu".

    Returns Y (..., out) and the residuals for the backward pass.
    """
    H, up = linear(x, weight_in, bias_in, activation=activation)
    Y, down = linear(H, weight_out, bias_out, residual=residual)
    return Y, FeedForwardResiduals(up, down)


def feed_forward_backward(
    grad_output: Array,
    residuals: FeedForwardResiduals,
    *,
    needs: tuple[bool, bool, bool] = (True, True, True),
    out: tuple[Array | None, Array | None] = (None, None),
    accumulate: tuple[bool, bool] = (False, False),
) -> tuple[Array | None, ...]:
    """The cotangents of x, weight_in, weight_out, bias_in, bias_out and residual; None for one of the last three not given.

    Y = H W_outᵀ + b_out + R, H = act(Z), Z = X W_inᵀ + b_in  ⇒  dR = dY,  dH = dY W_out,  dW_out = dYᵀ H,  db_out = Σ_rows dY,
    dZ = dH ⊙ act′(Z),  dX = dZ W_in,  dW_in = dZᵀ X,  db_in = Σ_rows dZ.

    needs: whether x, weight_in and weight_out want theirs; None in its place if not. That of the residual may be grad_output.
    out: where dW_in and dW_out are written, or added with accumulate; they are then what is returned for the weights.
    """
    up, down = residuals
    need_x, need_in, need_out = needs
    dH, dW_out, db_out, dR = linear_backward(
        grad_output, down, needs=(True, need_out), weight_out=out[1], accumulate=accumulate[1]
    )
    dX, dW_in, db_in, _ = linear_backward(dH, up, needs=(need_x, need_in), weight_out=out[0], accumulate=accumulate[0])
    return dX, dW_in, dW_out, db_in, db_out, dR


def matmul(a: Array, b: Array, *, out: Array | None = None, accumulate: bool = False) -> Array:
    """C = A B, or C += A B with accumulate.    [eq:matmul]

    a: (M, K), b: (K, N), of any strides (a transpose is a view).
    out: (M, N), where the result is written; it must not overlap a or b.

    Returns C (M, N), which is `out` if that was given.
    """
    if out is None:
        return a @ b
    if accumulate:
        out += a @ b
    else:
        array_namespace(a).matmul(a, b, out=out)
    return out
