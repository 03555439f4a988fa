"""Layer norm and RMS norm: one warp per row, and sums over the rows for the gradients of weight and bias."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from minilm_kernels.gpu import plan
from minilm_kernels.gpu.arguments import dense, i32, i64
from minilm_kernels.gpu.compile import device_of, launch, real, type_name

Array = Any


class NormResiduals(NamedTuple):
    """What the backward pass of a norm needs."""

    x: Array
    mean: Array  # (rows,); zeros for RMS norm
    reciprocal: Array  # 1/σ or 1/rms, (rows,)
    weight: Array | None
    bias: bool


def layer_norm(
    x: Array, weight: Array | None = None, bias: Array | None = None, *, eps: float = 1e-5
) -> tuple[Array, NormResiduals]:
    """See minilm_kernels.reference.layer_norm."""
    return _norm(x, weight, bias, eps, "true")


def layer_norm_backward(
    grad_output: Array, residuals: NormResiduals, *, add: Array | None = None
) -> tuple[Array, Array | None, Array | None]:
    """See minilm_kernels.reference.layer_norm_backward."""
    return _backward(grad_output, residuals, add, "true")


def rms_norm(x: Array, weight: Array | None = None, *, eps: float = 1e-6) -> tuple[Array, NormResiduals]:
    """See minilm_kernels.reference.rms_norm."""
    return _norm(x, weight, None, eps, "false")


def rms_norm_backward(
    grad_output: Array, residuals: NormResiduals, *, add: Array | None = None
) -> tuple[Array, Array | None]:
    """See minilm_kernels.reference.rms_norm_backward."""
    return _backward(grad_output, residuals, add, "false")[:2]


def _norm(x: Array, weight: Array | None, bias: Array | None, eps: float, centered: str) -> tuple[Array, NormResiduals]:
    device, x = device_of(x), dense(x)
    rows, n = math.prod(x.shape[:-1]), x.shape[-1]
    weight, bias = (None if a is None else dense(a) for a in (weight, bias))
    y = device.xp.empty(x.shape, x.dtype)
    mean, reciprocal = (device.xp.empty(rows, real(x)) for _ in range(2))
    chosen = plan.rows_of_warps("norm", type_name(x), rows, centered)
    launch(device, chosen, x, weight, bias, y, mean, reciprocal, i64(rows), i32(n), real(x)(eps))
    return y, NormResiduals(x, mean, reciprocal, weight, bias is not None)


def _backward(
    dy: Array, residuals: NormResiduals, add: Array | None, centered: str
) -> tuple[Array, Array | None, Array | None]:
    x, mean, reciprocal, weight, has_bias = residuals
    device, dtype, dy = device_of(x), type_name(x), dense(dy)
    add = None if add is None else dense(add)
    rows, n = len(mean), x.shape[-1]
    dx = device.xp.empty(x.shape, x.dtype)
    chosen = plan.rows_of_warps("norm_gradient", dtype, rows, centered)
    launch(device, chosen, dy, x, weight, mean, reciprocal, add, dx, i64(rows), i32(n))
    if weight is None and not has_bias:
        return dx, None, None
    columns = plan.column_sums("norm_weight_gradient", dtype, rows, n, sums=2)
    parts = device.xp.empty((2, columns.parts, n), real(x))
    launch(
        device, columns.sums, dy, x, mean, reciprocal, parts, i64(rows), i32(n), i32(columns.part_rows), i32(columns.parts)
    )  # fmt: skip
    sums: list[Array | None] = [None, None]
    for i, wanted in enumerate((weight is not None, has_bias)):
        if wanted:
            sums[i] = device.xp.empty(n, x.dtype)
            launch(device, columns.add, parts[i], sums[i], i32(columns.parts), i32(n))
    return dx, sums[0], sums[1]
