"""Attention for generation: a few new queries against the keys and values of a cache."""

from __future__ import annotations

import math
from typing import Any

from minilm_kernels.gpu import flash, plan
from minilm_kernels.gpu.arguments import dense, dense_rows, forward_strides, i32, i64, masks, shape, strides
from minilm_kernels.gpu.compile import device_of, launch, real, type_name

Array = Any

FEW = 64  # rows, queries times heads that share a key head; more are cut into tiles as in training


def attention_decode(
    query: Array,
    key: Array,
    value: Array,
    *,
    causal: bool = True,
    key_padding_mask: Array | None = None,
    bias: Array | None = None,
    scale: float | None = None,
) -> Array:
    """See minilm_kernels.reference.attention_decode."""
    B, H, Tq, D = query.shape
    H_kv, Tk, Dv = value.shape[1:]
    widest = max(D, Dv)
    device, dtype = device_of(query), type_name(query)
    if H // H_kv * Tq > FEW or not plan.fused(widest, dtype, device.capability):
        return flash.attention(
            query, key, value, causal=causal, key_padding_mask=key_padding_mask, bias=bias, scale=scale
        )[0]
    q, k, v = dense_rows(query), dense_rows(key), dense_rows(value)
    padding = None if key_padding_mask is None else dense(key_padding_mask)
    mask = None if bias is None else forward_strides(bias)
    scale = 1 / math.sqrt(D) if scale is None else float(scale)
    chosen = plan.decode(dtype, device.capability, device.processors, B, H, H_kv, Tq, Tk, widest)
    partial = device.xp.empty((B, H, Tq, chosen.parts, Dv + 2), real(q))  # (H, Tq) are (H_kv, group · Tq)
    output = device.xp.empty((B, H, Tq, Dv), q.dtype)
    launch(
        device, chosen.part, q, k, v, partial, *strides(q), *strides(k), *strides(v), *shape(q, k, v),
        *masks(causal, padding, mask), real(q)(scale), i32(chosen.parts), i32(chosen.part_keys),
    )  # fmt: skip
    launch(device, chosen.join, partial, output, i64(B * H * Tq), i32(chosen.parts), i32(Dv))
    return output
