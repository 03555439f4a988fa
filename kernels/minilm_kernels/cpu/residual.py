"""The end of a Transformer's branch: bias, dropout and the sum with what went around it, in one visit to each element.

The dropout mask is computed from the seed where it is needed, in the backward pass again (minilm_kernels.random has the
formulas), so none is stored.
"""

from __future__ import annotations

import math

import numpy as np

from minilm_kernels.cpu import pool
from minilm_kernels.cpu.activations import BLOCK, flat
from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.norms import chunks_of, sum_chunks
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.vector import lanes, load_first, load_like, pointer, prefetch, splat, store_first, where_less
from minilm_kernels.formulas.dropout import BiasResidualDropoutResiduals
from minilm_kernels.random import BITS, kept_scale, row_keys, threshold

STEP = 0x9E3779B9
STEPS = (np.arange(16, dtype=np.uint64) * np.uint64(STEP)).astype(np.uint32)  # j·STEP for the lanes of a vector


@part
def keep(like, steps, j, k0, k1, least, scale):
    """The mask at columns j, j + 1, …: 0 where dropped, else scale, as a vector like `like`.

    z = j·0x9E3779B9 + k₀;  z ^= z ≫ 16;  z *= 0x7FEB352D;  z ^= z ≫ 15;  z += k₁;  z *= 0x846CA68B;  z ^= z ≫ 16
    """
    z = load_like(steps, like) + np.uint32((j * STEP + np.int64(k0)) & 0xFFFFFFFF)
    z ^= z >> 16
    z *= 0x7FEB352D
    z ^= z >> 15
    z += k1
    z *= 0x846CA68B
    z ^= z >> 16
    return where_less(z >> (32 - BITS), splat(z, least), splat(like, 0.0), splat(like, scale))


@part
def forward_task(worker, i, x, bias, residual, y, rows, n, flags, steps, k0, k1, least, scale, block):
    """Rows i·block … (i + 1)·block − 1."""
    W = lanes(x)
    has_bias, has_residual, drops = flags
    for r in range(i * block, min((i + 1) * block, rows)):
        key0, key1 = k0[r * drops], k1[r * drops]
        for j in range(0, n, W):
            at, rest = r * n + j, n - j
            prefetch(x + (at + 1024))
            v = load_first(x + at, rest)
            if has_bias:
                v += load_first(bias + j, rest)
            if drops:
                v *= keep(v, steps, j, key0, key1, least, scale)
            if has_residual:
                prefetch(residual + (at + 1024))
                v += load_first(residual + at, rest)
            store_first(y + at, v, rest)


@kernel
def forward_kernel(pool, x, bias, residual, y, rows, n, flags, steps, k0, k1, least, scale):
    block = max(1, BLOCK // max(n, 1))
    arguments = (
        pointer(x), pointer(bias), pointer(residual), pointer(y), rows, n, flags, pointer(steps), k0, k1, least, scale, block,
    )  # fmt: skip
    parallel_for(pool, (rows + block - 1) // block, forward_task, arguments)


@part
def backward_task(worker, i, dy, dx, partial, rows, n, flags, steps, k0, k1, least, scale, chunks):
    """One group of rows: dx = mask ⊙ dy, and the group's sum of dx for the bias."""
    W = lanes(dy)
    has_bias, drops = flags
    db = partial + i * n
    for j in range(0, n * has_bias, W):
        store_first(db + j, splat(dy, 0.0), n - j)
    for r in range(i * rows // chunks, (i + 1) * rows // chunks):
        key0, key1 = k0[r * drops], k1[r * drops]
        for j in range(0, n, W):
            at, rest = r * n + j, n - j
            prefetch(dy + (at + 1024))
            v = load_first(dy + at, rest)
            if drops:
                v *= keep(v, steps, j, key0, key1, least, scale)
                store_first(dx + at, v, rest)
            if has_bias:
                store_first(db + j, v + load_first(db + j, rest), rest)


@kernel
def backward_kernel(pool, dy, dx, partial, total, rows, n, flags, steps, k0, k1, least, scale, chunks):
    arguments = (
        pointer(dy), pointer(dx), pointer(partial), rows, n, flags, pointer(steps), k0, k1, least, scale, chunks,
    )  # fmt: skip
    parallel_for(pool, chunks, backward_task, arguments)
    if flags[0]:
        sum_chunks(pointer(partial), pointer(total), chunks, n)


NO_KEY = np.zeros(1, np.uint32)


def _draws(rows: int, dropout: float, seed: int | None) -> tuple[np.ndarray, np.ndarray, int, float]:
    """Key words of the rows, the least number that stays, and the factor of what stays."""
    if not dropout:
        return NO_KEY, NO_KEY, 0, 1.0
    k0, k1 = row_keys(seed or 0, np.arange(rows))
    return k0, k1, threshold(dropout), kept_scale(dropout)


def bias_residual_dropout(
    x: np.ndarray,
    bias: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    *,
    dropout: float = 0.0,
    seed: int | None = None,
) -> tuple[np.ndarray, BiasResidualDropoutResiduals]:
    """y = residual + dropout(x + bias), each of the three optional, as in reference.bias_residual_dropout."""
    rows, n = math.prod(x.shape[:-1]), x.shape[-1]
    y = np.empty(x.shape, x.dtype)
    if y.size:
        source = flat(x)
        forward_kernel(
            pool.start(), source, source if bias is None else flat(bias), source if residual is None else flat(residual),
            y.reshape(-1), rows, n, (bias is not None, residual is not None, dropout > 0), STEPS,
            *_draws(rows, dropout, seed),
        )  # fmt: skip
    return y, BiasResidualDropoutResiduals(dropout, seed, bias is not None, residual is not None)


def bias_residual_dropout_backward(
    grad_output: np.ndarray, residuals: BiasResidualDropoutResiduals
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """The cotangents of x, bias and residual; grad_output itself for the residual, and for x where there is no dropout."""
    dropout, seed, has_bias, has_residual = residuals
    dy = grad_output
    rows, n = math.prod(dy.shape[:-1]), dy.shape[-1]
    dx = np.empty(dy.shape, dy.dtype) if dropout else dy
    db = np.zeros(n, dy.dtype) if has_bias else None
    if dy.size and (dropout or has_bias):
        chunks = chunks_of(rows)
        source = flat(dy)
        partial = np.empty(chunks * n if has_bias else 0, dy.dtype)
        backward_kernel(
            pool.start(), source, dx.reshape(-1) if dropout else source, partial, partial if db is None else db, rows, n,
            (has_bias, dropout > 0), STEPS, *_draws(rows, dropout, seed), chunks,
        )  # fmt: skip
    return dx, db, dy if has_residual else None
