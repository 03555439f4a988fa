"""linear: the product with a layer's weights, its bias, activation and residual added while the results are in the cache."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from minilm_kernels.cpu import pool
from minilm_kernels.cpu.activations import BLOCK, slope_task
from minilm_kernels.cpu.compile import kernel
from minilm_kernels.cpu.functions import gelu_erf_slope, gelu_tanh_slope, relu_slope, silu_slope
from minilm_kernels.cpu.gemm_product import ZEROS, product
from minilm_kernels.cpu.gemm_tiles import ACTIVATIONS, GELU, GELU_TANH, RELU
from minilm_kernels.cpu.micro import address_of
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.vector import pointer_at


class LinearResiduals(NamedTuple):
    """What linear_backward needs from linear."""

    rows: np.ndarray  # X, all axes but the last folded into one: (rows, in)
    weight: np.ndarray
    preactivation: np.ndarray | None  # Z, where there is an activation
    activation: str | None
    shape: tuple[int, ...]  # of x
    bias: bool
    residual: bool

    @property
    def shared(self) -> tuple[np.ndarray, ...]:
        """Those that the caller has as well; nobody else can reach the others."""
        return self.rows, self.weight


def linear(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    activation: str | None = None,
    residual: np.ndarray | None = None,
) -> tuple[np.ndarray, LinearResiduals]:
    """Y = act(X Wᵀ + b) + R, each of act, b and R optional.    [eq:linear] [F3; 004 §3.1]

    x: (..., in); weight: (out, in), one row per output; bias: (out,); residual: (..., out), the shape of the result.
    activation: None, "gelu" (erf), "gelu_tanh", "relu" or "silu".

    Returns Y (..., out) and the residuals for the backward pass.
    """
    shape, (out, size) = x.shape, weight.shape
    flat = len(shape) == 2
    X = x if flat else x.reshape(math.prod(shape[:-1]), size)
    Y = np.empty((X.shape[0], out), X.dtype)
    Z = None if activation is None else np.empty_like(Y)
    R = None if residual is None else row_contiguous(residual if flat else residual.reshape(Y.shape))
    if bias is not None and not bias.flags.c_contiguous:
        bias = np.ascontiguousarray(bias)
    product(X, weight.T, Y, bias=bias, activation=ACTIVATIONS[activation], z=Z, residual=R)
    saved = LinearResiduals(X, weight, Z, activation, shape, bias is not None, residual is not None)
    return Y if flat else Y.reshape(*shape[:-1], out), saved


def linear_backward(
    grad_output: np.ndarray,
    residuals: LinearResiduals,
    *,
    needs: tuple[bool, bool] = (True, True),
    weight_out: np.ndarray | None = None,
    accumulate: bool = False,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """The cotangents of x, weight, bias and residual; None for a bias or residual that was not given.

    Y = act(Z) + R, Z = X Wᵀ + b  ⇒  dR = dY,  dZ = dY ⊙ act′(Z),  dX = dZ W,  dW = dZᵀ X,  db = Σ_rows dZ.

    needs: whether x and weight want theirs; None in its place if not. That of the residual may be grad_output itself.
    weight_out: (out, in), where dW is written, or added with accumulate; it is then what is returned for the weight.
    """
    dZ = activation_backward(grad_output, residuals)
    dX = dW = db = None
    if needs[0]:
        dX = np.empty(residuals.rows.shape, dZ.dtype)
        product(dZ, residuals.weight, dX)
        dX = dX.reshape(residuals.shape)
    if needs[1]:
        dW, db = weight_backward(dZ, residuals, out=weight_out, accumulate=accumulate)
    elif residuals.bias:
        db = dZ.sum(axis=0)
    return dX, dW, db, grad_output if residuals.residual else None


def activation_backward(grad_output: np.ndarray, residuals: LinearResiduals) -> np.ndarray:
    """dZ = dY ⊙ act′(Z), (rows, out): grad_output itself, folded, where there is no activation."""
    Z = residuals.preactivation
    dY = grad_output.reshape(residuals.rows.shape[0], residuals.weight.shape[0])
    if Z is None:
        return row_contiguous(dY)
    dY = np.ascontiguousarray(dY)
    dZ = np.empty_like(dY)
    if dZ.size:
        activation = ACTIVATIONS[residuals.activation]
        addresses = address_of(dY), address_of(Z), address_of(dZ)
        multiply_by_slope(pool.start(), ZEROS[dY.itemsize], *addresses, dZ.size, activation)
    return dZ


def weight_backward(
    dZ: np.ndarray, residuals: LinearResiduals, *, out: np.ndarray | None = None, accumulate: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """dW = dZᵀ X, (out, in), and db = Σ_rows dZ, (out,), where there is a bias; db is summed while dZ is copied for dW.

    out: where dW is written (its rows contiguous), or added to what is there with accumulate.
    """
    X, W = residuals.rows, residuals.weight
    if out is None:
        out = np.empty(W.shape, dZ.dtype)
    if not residuals.bias:
        product(dZ.T, X, out, accumulate=accumulate)
        return out, None
    db = np.empty(W.shape[0], dZ.dtype)
    if dZ.shape[0] == 0 or out.size == 0:
        db = dZ.sum(axis=0)
        product(dZ.T, X, out, accumulate=accumulate)
    else:
        product(dZ.T, X, out, accumulate=accumulate, sums=db)
    return out, db


def row_contiguous(x: np.ndarray) -> np.ndarray:
    """x (2-D) itself if the elements of a row lie together, else a copy."""
    row, column = x.strides
    if (column == x.itemsize or x.shape[1] == 1) and row % x.itemsize == 0:
        return x
    return np.ascontiguousarray(x)


gelu_task, gelu_tanh_task, relu_task, silu_task = (
    slope_task(slope) for slope in (gelu_erf_slope, gelu_tanh_slope, relu_slope, silu_slope)
)


@kernel
def multiply_by_slope(pool, zeros, dy, z, dz, size, activation):
    """dz = dy ⊙ act′(z) for `size` numbers at these addresses."""
    arguments: Any = (pointer_at(z, zeros), pointer_at(dy, zeros), pointer_at(dz, zeros), size)
    tasks = -(-size // BLOCK)
    if activation == GELU:
        parallel_for(pool, tasks, gelu_task, arguments)
    elif activation == GELU_TANH:
        parallel_for(pool, tasks, gelu_tanh_task, arguments)
    elif activation == RELU:
        parallel_for(pool, tasks, relu_task, arguments)
    else:
        parallel_for(pool, tasks, silu_task, arguments)
