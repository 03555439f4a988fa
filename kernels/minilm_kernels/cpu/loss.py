"""Softmax and cross-entropy: loss and gradient in one visit to each row.

A row is read from memory once. It is small enough for the cache (200 KB at 50,257 classes), so that the maximum, the sum of
the powers and the scaled result are three passes over the cache and not over memory.
"""

from __future__ import annotations

import math

import numpy as np

from minilm_kernels.cpu import pool
from minilm_kernels.cpu.activations import BLOCK, flat
from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.functions import exp_inside, exp_lowest
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.vector import (
    fma,
    lanes,
    load,
    load_first,
    maximum,
    pointer,
    prefetch,
    reduce_add,
    reduce_max,
    splat,
    store,
    store_first,
    where_first,
)
from minilm_kernels.formulas.loss import CrossEntropyResiduals

SUMMED = 16  # losses that are added up by themselves: the rounding of one long sum would grow with its length
PIECE = 2048  # elements summed in their own precision before they go into a sum in double precision


@part
def row_max(z, n):
    """The largest of a row. NaN is passed over here: the sum of powers will show it."""
    W = lanes(z)
    a = b = splat(z, -math.inf)
    whole = n // (2 * W) * (2 * W)
    for j in range(0, whole, 2 * W):
        prefetch(z + (j + 1024))
        prefetch(z + (j + W + 1024))
        a = maximum(load(z + j), a)
        b = maximum(load(z + (j + W)), b)
    for j in range(whole, n, W):
        a = where_first(n - j, maximum(load_first(z + j, n - j), a), a)
    return reduce_max(maximum(a, b))


@part
def power_of(shifted):
    """e^x for x ≤ 0."""
    return exp_inside(maximum(shifted, exp_lowest(shifted)))


@part
def row_powers(z, powers, top, n, keep, smooth):
    """Σ_c e^(z_c − top) and, if smooth > 0, Σ_c (z_c − top) in double precision; the powers are written if `keep`."""
    W = lanes(z)
    m, zero = splat(z, top), splat(z, 0.0)
    total, distance = 0.0, 0.0
    for start in range(0, n, PIECE):
        stop = min(start + PIECE, n)
        whole = start + (stop - start) // (2 * W) * (2 * W)
        a = b = c = d = zero
        for j in range(start, whole, 2 * W):
            x, y = load(z + j) - m, load(z + (j + W)) - m
            c, d = c + x, d + y
            x, y = power_of(x), power_of(y)
            if keep:
                store(powers + j, x)
                store(powers + (j + W), y)
            a, b = a + x, b + y
        for j in range(whole, stop, W):
            rest = stop - j
            x = load_first(z + j, rest) - m
            c = c + where_first(rest, x, zero)
            x = where_first(rest, power_of(x), zero)
            if keep:
                store_first(powers + j, x, rest)
            a = a + x
        total += reduce_add(a + b)
        if smooth > 0.0:
            distance += reduce_add(c + d)
    return total, distance


@part
def cross_entropy_task(worker, i, z, targets, losses, dz, rows, n, ignore, smooth, factor, keep, block):
    """Rows i·block … (i + 1)·block − 1: L and, if `keep`, dz = (softmax(z) − q) · factor."""
    W = lanes(z)
    for r in range(i * block, min((i + 1) * block, rows)):
        row, grad, y = z + r * n, dz + r * n, targets[r]
        if y == ignore:
            losses[r] = 0.0
            if keep:
                for j in range(0, n, W):
                    store_first(grad + j, splat(z, 0.0), n - j)
            continue
        top = row_max(row, n)
        total, distance = row_powers(row, grad, top, n, keep, smooth)
        loss = math.log(total) - (1.0 - smooth) * (np.float64(row[y]) - np.float64(top))
        if smooth > 0.0:
            loss -= smooth / n * distance
        losses[r] = loss
        if keep:
            scale, uniform = splat(z, factor / total), splat(z, -smooth / n * factor)
            whole = n // W * W
            for j in range(0, whole, W):
                store(grad + j, fma(load(grad + j), scale, uniform))
            if whole < n:
                store_first(grad + whole, fma(load_first(grad + whole, n - whole), scale, uniform), n - whole)
            grad[y] = grad[y] - type_of(grad[y], (1.0 - smooth) * factor)


@part
def type_of(like, x):
    """The number x in the precision of `like`."""
    return like * 0 + x


@kernel
def cross_entropy_kernel(pool, z, targets, losses, dz, n, ignore, smooth, mean, keep):
    rows = targets.shape[0]
    count = 0
    for r in range(rows):
        count += targets[r] != ignore
    factor = 1.0 / count if mean and count else 1.0
    block = max(1, BLOCK // max(n, 1))
    arguments = (pointer(z), targets, losses, pointer(dz), rows, n, ignore, smooth, factor, keep, block)
    parallel_for(pool, (rows + block - 1) // block, cross_entropy_task, arguments)
    total = 0.0
    for first in range(0, rows, SUMMED):
        part_of_total = 0.0
        for r in range(first, min(first + SUMMED, rows)):
            part_of_total += losses[r]
        total += part_of_total
    return total, count


@part
def scale_rows_task(worker, i, x, factors, step, y, rows, n, block):
    W = lanes(x)
    for r in range(i * block, min((i + 1) * block, rows)):
        factor = splat(x, factors[r * step])
        whole = n // W * W
        for j in range(r * n, r * n + whole, W):
            store(y + j, load(x + j) * factor)
        if whole < n:
            at = r * n + whole
            store_first(y + at, load_first(x + at, n - whole) * factor, n - whole)


@kernel
def scale_rows_kernel(pool, x, factors, step, y, rows, n):
    block = max(1, BLOCK // max(n, 1))
    arguments = (pointer(x), pointer(factors), step, pointer(y), rows, n, block)
    parallel_for(pool, (rows + block - 1) // block, scale_rows_task, arguments)


def softmax_cross_entropy(
    logits: np.ndarray,
    targets: np.ndarray,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    gradient: bool = True,
) -> tuple[np.ndarray, CrossEntropyResiduals | None]:
    """L_i = log Σ_c e^(z_ic) − Σ_c q_c z_ic, as in the reference; the loss is added up in double precision."""
    N, C = logits.shape
    dtype = logits.dtype
    z = flat(logits)
    y = np.ascontiguousarray(targets, np.int64)
    losses = np.empty(N)
    grad = np.empty((N, C) if gradient else (0, C), dtype)
    total, count = cross_entropy_kernel(
        pool.start(),
        z,
        y,
        losses,
        grad.reshape(-1),
        C,
        ignore_index,
        float(label_smoothing),
        reduction == "mean",
        gradient,
    )
    residuals = CrossEntropyResiduals(grad, reduction) if gradient else None
    if reduction == "none":
        return losses.astype(dtype), residuals
    if reduction == "mean":
        total = total / count if count else math.nan
    return np.array(total, dtype), residuals


def softmax_cross_entropy_backward(grad_loss: np.ndarray, residuals: CrossEntropyResiduals) -> np.ndarray:
    """The cotangent of the logits: what the forward pass found, times grad_loss; that array itself where grad_loss is 1."""
    grad = residuals.grad_logits
    dl = np.asarray(grad_loss, grad.dtype)
    if dl.ndim == 0 and dl == 1:
        return grad
    result = np.empty(grad.shape, grad.dtype)
    step = 0 if dl.ndim == 0 else 1
    scale_rows_kernel(pool.start(), grad.reshape(-1), flat(dl), step, result.reshape(-1), *grad.shape)
    return result
