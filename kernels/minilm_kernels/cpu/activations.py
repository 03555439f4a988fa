"""GELU and the gate of SwiGLU, element by element: each array is read once and each result written once.

Backward recomputes from the inputs, so nothing is kept but what the caller has in any case.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from minilm_kernels.cpu import pool
from minilm_kernels.cpu.compile import kernel, part, variant
from minilm_kernels.cpu.functions import gelu_erf, gelu_erf_slope, gelu_tanh, gelu_tanh_slope, silu, silu_slope
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.vector import (
    address_of,
    lanes,
    load,
    load_first,
    pointer,
    prefetch,
    store,
    store_first,
    store_past_caches,
)
from minilm_kernels.formulas.activations import GeluResiduals, SiluMulResiduals

BLOCK = 1 << 14  # elements of a task
LARGE = 1 << 22  # elements: results of so many do not stay in a core's caches in any case
AHEAD = (
    1 << 10
)  # elements: the processor's own prefetching ends at each page of 4 KiB, and a vector takes long enough to notice


def value_task(function: Any) -> Any:
    """A task: y = f(x) on elements i·BLOCK … (i + 1)·BLOCK − 1 of n."""

    @variant(function)
    def task(worker, i, x, y, n):
        W = lanes(x)
        start, stop = i * BLOCK, min((i + 1) * BLOCK, n)
        first = min(stop, start + until_aligned(y + start))
        store_first(y + start, function(load_first(x + start, first - start)), first - start)
        whole = first + (stop - first) // W * W
        if n >= LARGE:
            for j in range(first, whole, W):
                prefetch(x + (j + AHEAD))
                store_past_caches(y + j, function(load(x + j)))
        else:
            for j in range(first, whole, W):
                prefetch(x + (j + AHEAD))
                store(y + j, function(load(x + j)))
        store_first(y + whole, function(load_first(x + whole, stop - whole)), stop - whole)

    return task


@functools.cache  # gemm_linear.py asks for some of them again
def slope_task(slope: Any) -> Any:
    """A task: dx = dy ⊙ f′(x), likewise."""

    @variant(slope)
    def some(x, dy, dx, n):
        store_first(dx, load_first(dy, n) * slope(load_first(x, n)), n)

    @variant(slope)
    def task(worker, i, x, dy, dx, n):
        W = lanes(x)
        start, stop = i * BLOCK, min((i + 1) * BLOCK, n)
        first = min(stop, start + until_aligned(dx + start))
        some(x + start, dy + start, dx + start, first - start)
        whole = first + (stop - first) // W * W
        if n >= LARGE:
            for j in range(first, whole, W):
                prefetch(x + (j + AHEAD))
                prefetch(dy + (j + AHEAD))
                store_past_caches(dx + j, load(dy + j) * slope(load(x + j)))
        else:
            for j in range(first, whole, W):
                prefetch(x + (j + AHEAD))
                prefetch(dy + (j + AHEAD))
                store(dx + j, load(dy + j) * slope(load(x + j)))
        some(x + whole, dy + whole, dx + whole, stop - whole)

    return task


@part
def until_aligned(p):
    """How many elements from p on come before a multiple of a vector's size."""
    W = lanes(p)
    size = (address_of(p + W) - address_of(p)) // W
    return -(address_of(p) // size) % W


gelu_erf_task, gelu_erf_slope_task = value_task(gelu_erf), slope_task(gelu_erf_slope)
gelu_tanh_task, gelu_tanh_slope_task = value_task(gelu_tanh), slope_task(gelu_tanh_slope)


@kernel
def gelu_erf_kernel(pool, x, y):
    n = x.shape[0]
    parallel_for(pool, (n + BLOCK - 1) // BLOCK, gelu_erf_task, (pointer(x), pointer(y), n))


@kernel
def gelu_erf_backward_kernel(pool, x, dy, dx):
    n = x.shape[0]
    tasks = (n + BLOCK - 1) // BLOCK
    parallel_for(pool, tasks, gelu_erf_slope_task, (pointer(x), pointer(dy), pointer(dx), n))


@kernel
def gelu_tanh_kernel(pool, x, y):
    n = x.shape[0]
    parallel_for(pool, (n + BLOCK - 1) // BLOCK, gelu_tanh_task, (pointer(x), pointer(y), n))


@kernel
def gelu_tanh_backward_kernel(pool, x, dy, dx):
    n = x.shape[0]
    tasks = (n + BLOCK - 1) // BLOCK
    parallel_for(pool, tasks, gelu_tanh_slope_task, (pointer(x), pointer(dy), pointer(dx), n))


@part
def silu_mul_task(worker, i, a, u, y, n):
    W = lanes(a)
    start, stop = i * BLOCK, min((i + 1) * BLOCK, n)
    whole = start + (stop - start) // W * W
    for j in range(start, whole, W):
        prefetch(a + (j + AHEAD))
        prefetch(u + (j + AHEAD))
        store(y + j, silu(load(a + j)) * load(u + j))
    if whole < stop:
        rest = stop - whole
        store_first(y + whole, silu(load_first(a + whole, rest)) * load_first(u + whole, rest), rest)


@part
def silu_mul_backward_task(worker, i, a, u, dy, da, du, n):
    W = lanes(a)
    start, stop = i * BLOCK, min((i + 1) * BLOCK, n)
    for j in range(start, stop, W):
        prefetch(a + (j + AHEAD))
        prefetch(u + (j + AHEAD))
        prefetch(dy + (j + AHEAD))
        rest = stop - j  # fewer than all lanes at the end only
        gate, grad = load_first(a + j, rest), load_first(dy + j, rest)
        store_first(da + j, grad * load_first(u + j, rest) * silu_slope(gate), rest)
        store_first(du + j, grad * silu(gate), rest)


@kernel
def silu_mul_kernel(pool, a, u, y):
    n = a.shape[0]
    parallel_for(pool, (n + BLOCK - 1) // BLOCK, silu_mul_task, (pointer(a), pointer(u), pointer(y), n))


@kernel
def silu_mul_backward_kernel(pool, a, u, dy, da, du):
    n = a.shape[0]
    arguments = (pointer(a), pointer(u), pointer(dy), pointer(da), pointer(du), n)
    parallel_for(pool, (n + BLOCK - 1) // BLOCK, silu_mul_backward_task, arguments)


def flat(a: np.ndarray) -> np.ndarray:
    """All elements in a row, in memory; a copy only where they are not."""
    return np.ascontiguousarray(a).reshape(-1)


def gelu(x: np.ndarray, *, approximate: str = "none") -> tuple[np.ndarray, GeluResiduals]:
    """y = x Φ(x), as in reference.gelu."""
    y = np.empty(x.shape, x.dtype)
    run = gelu_erf_kernel if approximate == "none" else gelu_tanh_kernel
    run(pool.start(), flat(x), y.reshape(-1))
    return y, GeluResiduals(x, approximate)


def gelu_backward(grad_output: np.ndarray, residuals: GeluResiduals) -> np.ndarray:
    """The cotangent of x: dx = dy ⊙ dy/dx."""
    x, approximate = residuals
    dx = np.empty(x.shape, x.dtype)
    run = gelu_erf_backward_kernel if approximate == "none" else gelu_tanh_backward_kernel
    run(pool.start(), flat(x), flat(grad_output), dx.reshape(-1))
    return dx


def silu_mul(gate: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, SiluMulResiduals]:
    """y = silu(gate) ⊙ up, as in reference.silu_mul."""
    y = np.empty(gate.shape, gate.dtype)
    silu_mul_kernel(pool.start(), flat(gate), flat(up), y.reshape(-1))
    return y, SiluMulResiduals(gate, up)


def silu_mul_backward(grad_output: np.ndarray, residuals: SiluMulResiduals) -> tuple[np.ndarray, np.ndarray]:
    """The cotangents of gate and up."""
    gate, up = residuals
    d_gate, d_up = np.empty(gate.shape, gate.dtype), np.empty(up.shape, up.dtype)
    silu_mul_backward_kernel(
        pool.start(), flat(gate), flat(up), flat(grad_output), d_gate.reshape(-1), d_up.reshape(-1)
    )
    return d_gate, d_up
