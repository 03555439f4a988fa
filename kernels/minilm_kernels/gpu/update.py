"""What changes parameters and gradients in place: AdamW, clipping, the embedding's gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minilm_kernels.gpu import plan
from minilm_kernels.gpu.arguments import dense, dense_rows, i32, i64
from minilm_kernels.gpu.compile import device_of, launch, real, type_name

Array = Any

SQUARES = 8192  # elements whose squares a block adds up


def embedding_backward(grad_output: Array, ids: Array, out: Array) -> None:
    """See minilm_kernels.reference.embedding_backward.

    The places are sorted by their id, equal ids in their order; one block then adds up each id's rows. No atomic operations,
    so the sums have the order, and the bits, of the reference.
    """
    device = device_of(out)
    n = out.shape[1]
    if ids.size == 0 or n == 0:
        return
    flat = dense(ids.reshape(-1).astype(np.int64, copy=False))
    order = device.xp.argsort(flat, kind="stable").astype(np.int64, copy=False)
    dy = dense(grad_output.reshape(ids.size, n))
    table = dense_rows(out)
    chosen = plan.rows_of_blocks("embedding_add", type_name(out), ids.size, n)
    step = i64(table.strides[0] // table.itemsize)
    launch(device, chosen, dy, flat, order, table, i64(ids.size), i32(n), step)
    if table is not out:
        out[...] = table


def adamw_step(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    step: int,
) -> None:
    """See minilm_kernels.reference.adamw_step."""
    device, number = device_of(w), real(w)
    beta1, beta2 = betas
    c = math.sqrt(1 - beta2**step)
    numbers = (beta1, 1 - beta1, beta2, 1 - beta2, 1 - lr * weight_decay, lr * c / (1 - beta1**step), eps * c)
    places = [dense(a) for a in (w, m, v)]
    chosen = plan.elements("adamw", type_name(w), w.size)
    launch(device, chosen, places[0], dense(g), *places[1:], i64(w.size), *(number(x) for x in numbers))
    for array, place in zip((w, m, v), places):
        if place is not array:
            array[...] = place


def clip_by_norm(gradients: Sequence[Array], max_norm: float | None) -> float:
    """See minilm_kernels.reference.clip_by_norm. The host need not wait for the device, which scales by itself: the norm is
    an array without axes, which float() fetches."""
    filled = [gradient for gradient in gradients if gradient.size]
    if not filled:
        return 0.0
    device = device_of(filled[0])
    places = [dense(gradient) for gradient in filled]
    plans = [plan.reduction("squares", type_name(a), -(-a.size // SQUARES)) for a in places]
    parts = device.xp.empty(sum(p.blocks for p in plans), np.float64)
    result = device.xp.empty(2, np.float64)
    start = 0
    for place, chosen in zip(places, plans):
        launch(device, chosen, place, parts[start:], i64(place.size))
        start += chosen.blocks
    most = math.inf if max_norm is None else max_norm
    launch(device, plan.reduction("clip_factor", "double"), parts, result, i32(len(parts)), np.float64(most))
    if max_norm is not None:
        for gradient, place in zip(filled, places):
            launch(device, plan.elements("scale_by", type_name(place), place.size), place, result, i64(place.size))
            if place is not gradient:
                gradient[...] = place
    return result[0]
