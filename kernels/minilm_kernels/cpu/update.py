"""What changes arrays in place: the embedding's gradient, AdamW, and clipping by the norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

from minilm_kernels.cpu import pool
from minilm_kernels.cpu.activations import BLOCK, flat
from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.target import lanes_of
from minilm_kernels.cpu.vector import (
    fma,
    lanes,
    load,
    load_first,
    load_like,
    pointer,
    prefetch,
    reduce_add,
    splat,
    sqrt,
    store,
    store_first,
)
from minilm_kernels.cpu.vector_types import Vector, vector_of

COLUMNS = 128  # of the embedding's table, for a task
AHEAD = 8  # rows

# --- embedding --------------------------------------------------------------------------------------------------------


@part
def embedding_task(worker, i, dy, ids, out, stride, n):
    """Columns i·COLUMNS … of all rows, in the order of the ids."""
    W = lanes(dy)
    start, stop = i * COLUMNS, min((i + 1) * COLUMNS, n)
    whole = start + (stop - start) // W * W
    count = ids.shape[0]
    for r in range(count):
        source, target = dy + r * n, out + ids[r] * stride
        # which row comes is no pattern that the processor could foresee: ask for it a few rows before
        coming, ahead = out + ids[min(r + AHEAD, count - 1)] * stride, source + AHEAD * n
        for j in range(start, whole, W):
            prefetch(coming + j)
            prefetch(ahead + j)
            store(target + j, load(target + j) + load(source + j))
        if whole < stop:
            rest = stop - whole
            store_first(target + whole, load_first(target + whole, rest) + load_first(source + whole, rest), rest)


@kernel
def embedding_kernel(pool, dy, ids, out, stride):
    n = out.shape[0]
    arguments = (pointer(dy), ids, pointer(out), stride, n)
    parallel_for(pool, (n + COLUMNS - 1) // COLUMNS, embedding_task, arguments)


def embedding_backward(grad_output: np.ndarray, ids: np.ndarray, out: np.ndarray) -> None:
    """In place: dW[ids[i]] += dy[i] in the order of i, as in reference.embedding_backward. Only rows that occur are touched."""
    if not grad_output.size:
        return
    if out.strides[1] != out.itemsize and out.shape[1] > 1:
        whole = np.ascontiguousarray(out)
        embedding_backward(grad_output, ids, whole)
        out[...] = whole
        return
    ids = np.ascontiguousarray(ids, np.int64).reshape(-1)
    embedding_kernel(pool.start(), flat(grad_output), ids, out[0], out.strides[0] // out.itemsize)


# --- AdamW ------------------------------------------------------------------------------------------------------------


@part
def adamw_vector(w, g, m, v, beta1, beta2, decay, rate, eps):
    """m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²,  w ← (1 − η λ) w − rate · m/(√v + eps) of one vector."""
    m = fma(m, splat(m, beta1), g * (1.0 - beta1))
    v = fma(v, splat(v, beta2), g * g * (1.0 - beta2))
    return w * decay - m * rate / (sqrt(v) + eps), m, v


@part
def adamw_task(worker, i, w, g, m, v, n, beta1, beta2, decay, rate, eps):
    W = lanes(w)
    start, stop = i * BLOCK, min((i + 1) * BLOCK, n)
    whole = start + (stop - start) // W * W
    for j in range(start, whole, W):
        new_w, new_m, new_v = adamw_vector(
            load(w + j), load(g + j), load(m + j), load(v + j), beta1, beta2, decay, rate, eps
        )
        store(w + j, new_w)
        store(m + j, new_m)
        store(v + j, new_v)
    if whole < stop:
        j, rest = whole, stop - whole
        new_w, new_m, new_v = adamw_vector(
            load_first(w + j, rest), load_first(g + j, rest), load_first(m + j, rest), load_first(v + j, rest),
            beta1, beta2, decay, rate, eps,
        )  # fmt: skip
        store_first(w + j, new_w, rest)
        store_first(m + j, new_m, rest)
        store_first(v + j, new_v, rest)


@kernel
def adamw_kernel(pool, w, g, m, v, beta1, beta2, decay, rate, eps):
    n = w.shape[0]
    arguments = (pointer(w), pointer(g), pointer(m), pointer(v), n, beta1, beta2, decay, rate, eps)
    parallel_for(pool, (n + BLOCK - 1) // BLOCK, adamw_task, arguments)


def adamw_step(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    step: int,
) -> None:
    """In place: one step of AdamW, as in reference.adamw_step. Each array is read and written once."""
    beta1, beta2 = betas
    # η m̂/(√v̂ + ε) with v̂ = v/c² and c = √(1 − β₂ᵗ) is (η c/(1 − β₁ᵗ)) m/(√v + ε c)
    c = math.sqrt(1 - beta2**step)
    arrays = [np.ascontiguousarray(a) for a in (w, g, m, v)]
    adamw_kernel(
        pool.start(), *arrays, float(beta1), float(beta2), 1 - lr * weight_decay, lr * c / (1 - beta1**step), eps * c
    )
    for array, copy in zip((w, m, v), (arrays[0], *arrays[2:])):
        if copy is not array:
            array[...] = copy


# --- clipping ---------------------------------------------------------------------------------------------------------


@intrinsic
def load_double(typingctx, p):
    """A vector of float64 from as many elements at p, whatever their precision."""
    result = vector_of(types.float64)

    def generate(context, builder, sig, args):
        double = context.get_value_type(result)
        narrow = ir.VectorType(context.get_value_type(p.element), result.lanes)
        value = builder.load(builder.bitcast(args[0], narrow.as_pointer()), align=p.element.bitwidth // 8)
        return value if narrow == double else builder.fpext(value, double)

    return Vector(types.float64, result.lanes)(p), generate


def plain_load_double(p: Any) -> np.ndarray:
    return load_like(p, np.empty(lanes_of(8))).astype(np.float64)


if config.DISABLE_JIT:
    load_double = plain_load_double


@part
def squares_task(worker, i, x, sums, n):
    """sums[i] = Σ x² of elements i·BLOCK … in double precision."""
    W = lanes(pointer(sums))
    start, stop = i * BLOCK, min((i + 1) * BLOCK, n)
    a = b = splat(pointer(sums), 0.0)
    whole = start + (stop - start) // (2 * W) * (2 * W)
    for j in range(start, whole, 2 * W):
        p, q = load_double(x + j), load_double(x + (j + W))
        a, b = fma(p, p, a), fma(q, q, b)
    total = reduce_add(a + b)
    for j in range(whole, stop):
        total += np.float64(x[j]) * np.float64(x[j])
    sums[i] = total


@kernel
def squares_kernel(pool, x, sums):
    parallel_for(pool, sums.shape[0], squares_task, (pointer(x), sums, x.shape[0]))
    total = 0.0
    for i in range(sums.shape[0]):
        total += sums[i]
    return total


@part
def scale_task(worker, i, x, n, factor):
    W = lanes(x)
    for j in range(i * BLOCK, min((i + 1) * BLOCK, n), W):
        store_first(x + j, load_first(x + j, n - j) * factor, n - j)


@kernel
def scale_kernel(pool, x, factor):
    n = x.shape[0]
    parallel_for(pool, (n + BLOCK - 1) // BLOCK, scale_task, (pointer(x), n, factor))


def clip_by_norm(gradients: Sequence[np.ndarray], max_norm: float | None) -> float:
    """In place: g ← g · max_norm/(‖g‖ + 10⁻⁶) where ‖g‖ > max_norm, as in reference.clip_by_norm. Returns ‖g‖ before."""
    state = pool.start()
    norm = math.sqrt(sum(squares_kernel(state, flat(g), np.empty(-(-g.size // BLOCK))) for g in gradients))
    if max_norm is not None and norm > max_norm:
        factor = max_norm / (norm + 1e-6)
        for gradient in gradients:
            if gradient.flags.c_contiguous:
                scale_kernel(state, gradient.reshape(-1), factor)
            else:
                gradient *= gradient.dtype.type(factor)
    return norm
