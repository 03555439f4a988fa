"""Rotary positions: each pair of features is read, turned and written once."""

from __future__ import annotations

import math

import numpy as np

from minilm_kernels.cpu import pool
from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.vector import fma, lanes, load, load_first, pointer, splat, store, store_first

ROWS = 128  # positions of a task


@part
def rotary_task(worker, i, x, outer, inner, position, cos, sin, sign, y, H, T, half, blocks):
    """Positions of one block in one sequence of one head; x has three strides, y is contiguous."""
    W = lanes(x)
    row, block = i // blocks, i % blocks
    source = x + ((row // H) * outer + (row % H) * inner)
    target = y + row * T * 2 * half
    turned = splat(x, sign)
    whole = half // W * W
    for t in range(block * ROWS, min((block + 1) * ROWS, T)):
        x1, y1, c, s = source + t * position, target + t * 2 * half, cos + t * half, sin + t * half
        x2, y2 = x1 + half, y1 + half
        # y₁ = x₁ cos − x₂ sin,  y₂ = x₂ cos + x₁ sin
        for j in range(0, whole, W):
            a, b, cosine, sine = load(x1 + j), load(x2 + j), load(c + j), load(s + j) * turned
            store(y1 + j, a * cosine - b * sine)
            store(y2 + j, fma(b, cosine, a * sine))
        if whole < half:
            rest = half - whole
            a, b = load_first(x1 + whole, rest), load_first(x2 + whole, rest)
            cosine, sine = load_first(c + whole, rest), load_first(s + whole, rest) * turned
            store_first(y1 + whole, a * cosine - b * sine, rest)
            store_first(y2 + whole, fma(b, cosine, a * sine), rest)


@kernel
def rotary_kernel(pool, x, outer, inner, position, cos, sin, sign, y, H, T, half):
    blocks = (T + ROWS - 1) // ROWS
    rows = y.shape[0] // max(T * 2 * half, 1)
    arguments = (
        pointer(x), outer, inner, position, pointer(cos), pointer(sin), sign, pointer(y), H, T, half, blocks,
    )  # fmt: skip
    parallel_for(pool, rows * blocks, rotary_task, arguments)


def _rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, sign: float) -> np.ndarray:
    *_, T, D = x.shape
    y = np.empty(x.shape, x.dtype)
    if not x.size:
        return y
    size = x.itemsize
    if x.ndim > 4 or (x.strides[-1] != size and D > 1):
        x = np.ascontiguousarray(x).reshape(math.prod(x.shape[:-2]), T, D)
    # the axes before the last two as an outer and an inner one, with their strides in elements
    H = x.shape[-3] if x.ndim > 2 else 1
    outer, inner, position = (x.strides[-k] // size if x.ndim >= k else 0 for k in (4, 3, 2))
    first = x[(0,) * (x.ndim - 1)]  # a row: where x begins, of one type for all numbers of axes
    rotary_kernel(
        pool.start(), first, outer, inner, position, np.ascontiguousarray(cos), np.ascontiguousarray(sin), sign,
        y.reshape(-1), H, T, D // 2,
    )  # fmt: skip
    return y


def rotary(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """Rotate features (i, i + D/2) of position t by the angle of cos[t, i], sin[t, i], as in reference.rotary."""
    return _rotate(x, cos, sin, 1.0)


def rotary_backward(grad_output: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """The cotangent of x: the rotation by the opposite angle."""
    return _rotate(grad_output, cos, sin, -1.0)
