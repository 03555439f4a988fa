"""Attention, forward and backward: the launches.    [eq:attention]

Neither scores nor weights are ever stored: the backward pass computes them again from queries, keys and two numbers per row.
Nothing is added up by atomic operations, so a call gives the same bits every time.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np

from minilm_kernels import reference
from minilm_kernels.gpu import plan
from minilm_kernels.gpu.arguments import (
    dense,
    dense_rows,
    dropping,
    empty_like_heads,
    forward_strides,
    i32,
    masks,
    shape,
    strides,
)
from minilm_kernels.gpu.compile import Device, device_of, launch, real, type_name

Array = Any


class AttentionResiduals(NamedTuple):
    """What attention_backward needs from attention: O(T) beside the inputs and the output."""

    query: Array
    key: Array
    value: Array
    output: Array
    statistics: Array  # (2, B, H, Tq): m, the largest score of a row in powers of two, and 1/l
    causal: bool
    padding: Array | None
    bias: Array | None
    scale: float
    dropout: float
    seed: int | None


def attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    causal: bool = False,
    key_padding_mask: Array | None = None,
    bias: Array | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: int | None = None,
) -> tuple[Array, AttentionResiduals | Composed]:
    """See minilm_kernels.reference.attention."""
    B, H, Tq, D = query.shape
    widest = max(D, value.shape[3])
    device = device_of(query)
    if not plan.fused(widest, type_name(query), device.capability):
        return _composed(query, key, value, causal, key_padding_mask, bias, scale, dropout, seed)
    q, k, v = dense_rows(query), dense_rows(key), dense_rows(value)
    padding = None if key_padding_mask is None else dense(key_padding_mask)
    mask = None if bias is None else forward_strides(bias)
    scale = 1 / math.sqrt(D) if scale is None else float(scale)
    output = empty_like_heads((B, H, Tq, v.shape[3]), q)
    statistics = device.xp.empty((2, B, H, Tq), real(q))
    launch(
        device, plan.attention("attention_forward", type_name(q), device.capability, B, H, Tq, widest),
        q, k, v, output, statistics[0], statistics[1], *strides(q), *strides(k), *strides(v), *strides(output),
        *shape(q, k, v), *masks(causal, padding, mask), *dropping(q, dropout, seed), real(q)(scale),
    )  # fmt: skip
    return output, AttentionResiduals(q, k, v, output, statistics, causal, padding, mask, scale, dropout, seed)


def attention_backward(
    grad_output: Array,
    residuals: AttentionResiduals | Composed,
    *,
    bias_gradient: bool = True,
    out: tuple[Array, Array, Array] | None = None,
) -> tuple[Array, Array, Array, Array | None]:
    """See minilm_kernels.reference.attention_backward."""
    if isinstance(residuals, Composed):
        return residuals.backward(grad_output, bias_gradient, out)
    q, k, v, output, (maximum, factor), causal, padding, bias, scale, dropout, seed = residuals
    device, grad, dtype = device_of(q), dense_rows(grad_output), type_name(q)
    B, H, Tq, D = q.shape
    H_kv, Tk, Dv = v.shape[1:]
    widest = max(D, Dv)
    delta = device.xp.empty((B, H, Tq), real(q))
    launch(
        device, plan.rows_of_warps("attention_delta", dtype, B * H * Tq),
        output, grad, delta, *strides(output), *strides(grad), i32(B), i32(H), i32(Tq), i32(Dv),
    )  # fmt: skip
    inputs = (q, k, v, grad, maximum, factor, delta)
    steps = (*strides(q), *strides(k), *strides(v), *strides(grad))
    rest = (*shape(q, k, v), *masks(causal, padding, bias), *dropping(q, dropout, seed), real(q)(scale))
    dq, dk, dv = (
        place if place is not None and dense_rows(place) is place else empty_like_heads(like.shape, like)
        for place, like in zip(out or (None, None, None), (q, k, v))
    )
    launch(
        device, plan.attention("attention_query_gradient", dtype, device.capability, B, H, Tq, widest),
        *inputs, dq, *steps, *strides(dq), *rest,
    )  # fmt: skip
    launch(
        device, plan.attention("attention_key_gradient", dtype, device.capability, B, H_kv, Tk, widest),
        *inputs, dk, dv, *steps, *strides(dk), *strides(dv), *rest,
    )  # fmt: skip
    dbias = None
    if bias is not None and bias.dtype != bool and bias_gradient:
        dbias = _bias_gradient(device, bias, inputs, steps, rest, (B, H, Tq, Tk), widest)
    if out is not None:
        for place, gradient in zip(out, (dq, dk, dv)):
            if place is not gradient:
                place[...] = gradient
        dq, dk, dv = out
    return dq, dk, dv, dbias


def _bias_gradient(
    device: Device, bias: Array, inputs: tuple, steps: tuple, rest: tuple, full: tuple[int, ...], widest: int
) -> Array:
    """dS summed to the shape of the bias: over sequences and heads in the kernel, over queries and keys after it."""
    _, _, Tq, Tk = full
    own_b, own_h = ((1,) * (4 - bias.ndim) + bias.shape)[:2]
    result = device.xp.empty((own_b, own_h, Tq, Tk), real(inputs[0]))
    launch(
        device, plan.bias_gradient(type_name(inputs[0]), device.capability, own_b, own_h, Tq, Tk, widest),
        *inputs, result, *steps, *rest, i32(own_b), i32(own_h),
    )  # fmt: skip
    return reference._sum_to(result, bias.shape).astype(bias.dtype, copy=False)


# --- more features than a tile holds ----------------------------------------------------------------------------------


class Composed(NamedTuple):
    """Residuals of the composed formula; query, key and value as they were given."""

    query: Array
    key: Array
    value: Array
    residuals: reference.AttentionResiduals

    def backward(self, grad: Array, bias_gradient: bool, out: Any) -> tuple[Array, Array, Array, Array | None]:
        wide = self.residuals.query.dtype
        gradients = reference.attention_backward(
            grad.astype(wide, copy=False), self.residuals, bias_gradient=bias_gradient
        )
        dtype = self.query.dtype
        dq, dk, dv, dbias = (None if g is None else g.astype(dtype, copy=False) for g in gradients)
        if out is not None:
            for place, gradient in zip(out, (dq, dk, dv)):
                place[...] = gradient
            dq, dk, dv = out
        return dq, dk, dv, dbias


def _composed(
    query: Array, key: Array, value: Array, causal: bool, padding: Array | None, bias: Array | None, scale: float | None,
    dropout: float, seed: int | None,
) -> tuple[Array, Composed]:  # fmt: skip
    """The formula of the reference, on the device, in float32 for the 16-bit types. It stores all weights."""
    _say_once(max(query.shape[3], value.shape[3]), query)
    wide = np.float64 if query.dtype == np.float64 else np.float32
    q, k, v = (a.astype(wide, copy=False) for a in (query, key, value))
    if bias is not None and bias.dtype != bool:
        bias = bias.astype(wide, copy=False)
    output, residuals = reference.attention(
        q, k, v, causal=causal, key_padding_mask=padding, bias=bias, scale=scale, dropout=dropout, seed=seed
    )
    return output.astype(query.dtype, copy=False), Composed(query, key, value, residuals)


def _say_once(features: int, query: Array) -> None:
    if not _said:
        _said.append(features)
        most = plan.widest_fused(type_name(query), device_of(query).capability)
        warnings.warn(
            f"heads of {features} features in {query.dtype} have no fused attention on this GPU (it goes up to {most}): the "
            "composed formula computes it there, with memory for every weight",
            UserWarning,
            stacklevel=4,
        )


_said: list[int] = []
