"""GELU, the gate of SwiGLU, and a linear layer: cuBLAS multiplies, one kernel does all that follows."""

from __future__ import annotations

import math
from typing import Any

from minilm_kernels.formulas.activations import GeluResiduals, SiluMulResiduals
from minilm_kernels.formulas.products import LinearResiduals
from minilm_kernels.gpu import plan
from minilm_kernels.gpu.arguments import dense, i32, i64
from minilm_kernels.gpu.compile import Device, device_of, launch, real, type_name
from minilm_kernels.gpu.products import matmul

Array = Any

NUMBERS = {None: 0, "gelu": 1, "gelu_tanh": 2, "relu": 3, "silu": 4}  # as in functions.cuh
EACH = 1024  # elements of a block


def gelu(x: Array, *, approximate: str = "none") -> tuple[Array, GeluResiduals]:
    """See minilm_kernels.reference.gelu."""
    device, x = device_of(x), dense(x)
    y = device.xp.empty(x.shape, x.dtype)
    chosen = plan.elements("activation", type_name(x), x.size, _gelu_number(approximate), each=EACH)
    launch(device, chosen, x, y, i64(x.size))
    return y, GeluResiduals(x, approximate)


def gelu_backward(grad_output: Array, residuals: GeluResiduals) -> Array:
    """See minilm_kernels.reference.gelu_backward."""
    x, approximate = residuals
    return _slope_times(device_of(x), dense(grad_output), x, _gelu_number(approximate))


def _gelu_number(approximate: str) -> int:
    return NUMBERS["gelu" if approximate == "none" else "gelu_tanh"]


def _slope_times(device: Device, dy: Array, x: Array, number: int) -> Array:
    """dy act′(x)."""
    dx = device.xp.empty(x.shape, x.dtype)
    launch(
        device, plan.elements("activation_gradient", type_name(x), x.size, number, each=EACH), dy, x, dx, i64(x.size)
    )
    return dx


def silu_mul(gate: Array, up: Array) -> tuple[Array, SiluMulResiduals]:
    """See minilm_kernels.reference.silu_mul."""
    device, gate, up = device_of(gate), dense(gate), dense(up)
    y = device.xp.empty(gate.shape, gate.dtype)
    launch(device, plan.elements("silu_mul", type_name(gate), gate.size, each=EACH), gate, up, y, i64(gate.size))
    return y, SiluMulResiduals(gate, up)


def silu_mul_backward(grad_output: Array, residuals: SiluMulResiduals) -> tuple[Array, Array]:
    """See minilm_kernels.reference.silu_mul_backward."""
    gate, up = residuals
    device, dy = device_of(gate), dense(grad_output)
    d_gate, d_up = (device.xp.empty(gate.shape, gate.dtype) for _ in range(2))
    chosen = plan.elements("silu_mul_gradient", type_name(gate), gate.size, each=EACH)
    launch(device, chosen, dy, gate, up, d_gate, d_up, i64(gate.size))
    return d_gate, d_up


def linear(
    x: Array, weight: Array, bias: Array | None = None, *, activation: str | None = None, residual: Array | None = None
) -> tuple[Array, LinearResiduals]:
    """See minilm_kernels.reference.linear."""
    device = device_of(x)
    out = weight.shape[0]
    X = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    Z = device.xp.ascontiguousarray(matmul(X, weight.T))  # (rows, out)
    saved = LinearResiduals(
        X, weight, None if activation is None else Z, activation, x.shape, bias is not None, residual is not None
    )
    Y = Z
    if bias is not None or activation is not None or residual is not None:
        Y = Z if activation is None else device.xp.empty(Z.shape, Z.dtype)
        launch(
            device, plan.elements("linear_end", type_name(Z), Z.size, NUMBERS[activation], each=EACH),
            Z, None if bias is None else dense(bias), None if residual is None else dense(residual), Y, i64(Z.size),
            i32(max(out, 1)), i32(activation is not None and bias is not None),
        )  # fmt: skip
    return Y.reshape(*x.shape[:-1], out), saved


def linear_backward(
    grad_output: Array,
    residuals: LinearResiduals,
    *,
    needs: tuple[bool, bool] = (True, True),
    weight_out: Array | None = None,
    accumulate: bool = False,
) -> tuple[Array | None, Array | None, Array | None, Array | None]:
    """See minilm_kernels.reference.linear_backward."""
    X, W, Z, activation, shape, has_bias, has_residual = residuals
    device = device_of(X)
    dZ = dense(grad_output).reshape(len(X), W.shape[0])
    if Z is not None:
        dZ = _slope_times(device, dZ, Z, NUMBERS[activation])
    dX = matmul(dZ, W).reshape(shape) if needs[0] else None
    dW = matmul(dZ.T, X, out=weight_out, accumulate=accumulate) if needs[1] else None
    db = column_sums(device, dZ) if has_bias else None
    return dX, dW, db, grad_output if has_residual else None


def column_sums(device: Device, a: Array) -> Array:
    """Σ over the rows of a dense (rows, n), in one order: (n,)."""
    rows, n = a.shape
    dtype = type_name(a)
    columns = plan.column_sums("column_sums", dtype, rows, n)
    parts, result = device.xp.empty((columns.parts, n), real(a)), device.xp.empty(n, a.dtype)
    launch(device, columns.sums, a, parts, i64(rows), i32(n), i32(columns.part_rows))
    launch(device, columns.add, parts, result, i32(columns.parts), i32(n))
    return result
