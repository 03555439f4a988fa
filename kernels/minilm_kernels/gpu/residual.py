"""The end of a Transformer's branch, and rotary positions."""

from __future__ import annotations

import math
from typing import Any

from minilm_kernels.formulas.dropout import BiasResidualDropoutResiduals
from minilm_kernels.gpu import plan
from minilm_kernels.gpu.activations import column_sums
from minilm_kernels.gpu.arguments import dense, dropping, i32
from minilm_kernels.gpu.compile import device_of, launch, real, type_name

Array = Any


def bias_residual_dropout(
    x: Array, bias: Array | None = None, residual: Array | None = None, *, dropout: float = 0.0, seed: int | None = None
) -> tuple[Array, BiasResidualDropoutResiduals]:
    """See minilm_kernels.reference.bias_residual_dropout."""
    return _end(x, bias, residual, dropout, seed), BiasResidualDropoutResiduals(
        dropout, seed, bias is not None, residual is not None
    )


def bias_residual_dropout_backward(
    grad_output: Array, residuals: BiasResidualDropoutResiduals
) -> tuple[Array, Array | None, Array | None]:
    """See minilm_kernels.reference.bias_residual_dropout_backward."""
    dropout, seed, has_bias, has_residual = residuals
    dx = _end(grad_output, None, None, dropout, seed) if dropout else grad_output
    n = dx.shape[-1]
    db = column_sums(device_of(dx), dense(dx).reshape(math.prod(dx.shape[:-1]), n)) if has_bias else None
    return dx, db, grad_output if has_residual else None


def _end(x: Array, bias: Array | None, residual: Array | None, dropout: float, seed: int | None) -> Array:
    device, x = device_of(x), dense(x)
    rows, n = math.prod(x.shape[:-1]), x.shape[-1]
    bias, residual = (None if a is None else dense(a) for a in (bias, residual))
    y = device.xp.empty(x.shape, x.dtype)
    chosen = plan.rows_of_blocks("bias_residual_dropout", type_name(x), rows, n)
    launch(device, chosen, x, bias, residual, y, i32(n), *dropping(x, dropout, seed))
    return y


def rotary(x: Array, cos: Array, sin: Array) -> Array:
    """See minilm_kernels.reference.rotary."""
    return _rotate(x, cos, sin, 1)


def rotary_backward(grad_output: Array, cos: Array, sin: Array) -> Array:
    """See minilm_kernels.reference.rotary_backward."""
    return _rotate(grad_output, cos, sin, -1)


def _rotate(x: Array, cos: Array, sin: Array, sign: int) -> Array:
    device, x = device_of(x), dense(x)
    half, positions = x.shape[-1] // 2, x.shape[-2]
    y = device.xp.empty(x.shape, x.dtype)
    chosen = plan.rows_of_blocks("rotary", type_name(x), math.prod(x.shape[:-1]), half)
    launch(device, chosen, x, dense(cos), dense(sin), y, i32(half), i32(positions), real(x)(sign))
    return y
