"""Layer norm and RMS norm: one visit to each row forward and one backward.

RMS norm is layer norm with the mean left out, so both run the same two kernels (`centered` says which). A row stays in the
cache while it is worked on: mean, variance and result together read memory once.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from minilm_kernels.cpu import pool
from minilm_kernels.cpu.activations import BLOCK, flat
from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.vector import (
    fma,
    lanes,
    load,
    load_first,
    pointer,
    prefetch,
    reduce_add,
    splat,
    store,
    store_first,
    where_first,
)

# The gradients of weight and bias are sums over rows. Each of at most CHUNKS groups of rows has its own, which are added
# in order at the end: the groups depend on the number of rows alone, so the result has the same bits for any number of threads.
CHUNKS = 64
CHUNK_ROWS = 16  # at least


class NormResiduals(NamedTuple):
    """What the backward pass of a norm needs."""

    x: np.ndarray
    mean: np.ndarray  # (rows,); zeros for RMS norm
    reciprocal: np.ndarray  # 1/σ or 1/rms, (rows,)
    weight: np.ndarray | None
    bias: bool

    @property
    def shared(self) -> tuple[np.ndarray | None, ...]:
        """Those that the caller has as well."""
        return self.x, self.weight


@part
def row_sum(x, n):
    """Σ x of a row: four sums side by side, as one addition takes as long as four."""
    W = lanes(x)
    a = b = c = d = splat(x, 0.0)
    whole = n // (4 * W) * (4 * W)
    for j in range(0, whole, 4 * W):
        a = a + load(x + j)
        b = b + load(x + (j + W))
        c = c + load(x + (j + 2 * W))
        d = d + load(x + (j + 3 * W))
    for j in range(whole, n, W):
        a = a + load_first(x + j, n - j)
    return reduce_add((a + b) + (c + d))


@part
def row_squares(x, mean, n):
    """Σ (x − mean)² of a row."""
    W = lanes(x)
    zero, mu = splat(x, 0.0), splat(x, mean)
    a = b = c = d = zero
    whole = n // (4 * W) * (4 * W)
    for j in range(0, whole, 4 * W):
        p, q, r, s = load(x + j) - mu, load(x + (j + W)) - mu, load(x + (j + 2 * W)) - mu, load(x + (j + 3 * W)) - mu
        a, b, c, d = fma(p, p, a), fma(q, q, b), fma(r, r, c), fma(s, s, d)
    for j in range(whole, n, W):
        p = where_first(n - j, load_first(x + j, n - j) - mu, zero)
        a = fma(p, p, a)
    return reduce_add((a + b) + (c + d))


@part
def norm_task(worker, i, x, weight, bias, y, mean, reciprocal, rows, n, eps, centered, block):
    """Rows i·block … (i + 1)·block − 1."""
    W = lanes(x)
    for r in range(i * block, min((i + 1) * block, rows)):
        source, target = x + r * n, y + r * n
        mu = row_sum(source, n) / n if centered else 0.0
        mean[r] = mu
        reciprocal[r] = 1.0 / math.sqrt(row_squares(source, mean[r], n) / n + eps)
        center, scale = splat(x, mean[r]), splat(x, reciprocal[r])
        whole = n // W * W
        for j in range(0, whole, W):
            prefetch(source + (j + n))
            store(target + j, fma((load(source + j) - center) * scale, load(weight + j), load(bias + j)))
        if whole < n:
            rest = n - whole
            xhat = (load_first(source + whole, rest) - center) * scale
            result = fma(xhat, load_first(weight + whole, rest), load_first(bias + whole, rest))
            store_first(target + whole, result, rest)


@kernel
def norm_kernel(pool, x, weight, bias, y, mean, reciprocal, eps, centered):
    rows, n = mean.shape[0], weight.shape[0]
    block = max(1, BLOCK // n)
    arguments = (
        pointer(x),
        pointer(weight),
        pointer(bias),
        pointer(y),
        mean,
        reciprocal,
        rows,
        n,
        eps,
        centered,
        block,
    )
    parallel_for(pool, (rows + block - 1) // block, norm_task, arguments)


@part
def norm_backward_task(worker, i, x, weight, dy, add, adds, mean, reciprocal, dx, partial, rows, n, centered, chunks):
    """One group of rows: dx, and the group's sums of dy ⊙ x̂ and dy. adds: whether there is something to add to dx."""
    W = lanes(x)
    zero = splat(x, 0.0)
    dg = partial + i * 2 * n
    db = dg + n
    for j in range(0, 2 * n, W):
        store_first(dg + j, zero, 2 * n - j)
    for r in range(i * rows // chunks, (i + 1) * rows // chunks):
        source, grad, other, target = x + r * n, dy + r * n, add + r * n, dx + r * n
        center, scale = splat(x, mean[r]), splat(x, reciprocal[r])
        # Σ dx̂ and Σ dx̂ ⊙ x̂ with dx̂ = dy ⊙ g
        first = second = zero
        whole = n // W * W
        for j in range(0, whole, W):
            prefetch(source + (j + n))
            prefetch(grad + (j + n))
            if adds:
                prefetch(other + j)
            d, xhat = load(grad + j), (load(source + j) - center) * scale
            store(dg + j, fma(d, xhat, load(dg + j)))
            store(db + j, d + load(db + j))
            dxhat = d * load(weight + j)
            first = first + dxhat
            second = fma(dxhat, xhat, second)
        rest = n - whole
        if rest:
            d, xhat = load_first(grad + whole, rest), (load_first(source + whole, rest) - center) * scale
            store_first(dg + whole, fma(d, xhat, load_first(dg + whole, rest)), rest)
            store_first(db + whole, d + load_first(db + whole, rest), rest)
            dxhat = d * load_first(weight + whole, rest)
            first = first + dxhat
            second = fma(dxhat, xhat, second)
        # dx = (dx̂ − mean(dx̂) − x̂ ⊙ mean(dx̂ ⊙ x̂))/σ
        shift = splat(x, reduce_add(first) / n if centered else 0.0)
        slope = splat(x, -reduce_add(second) / n)
        for j in range(0, whole, W):
            xhat = (load(source + j) - center) * scale
            dxhat = load(grad + j) * load(weight + j) - shift
            result = scale * fma(xhat, slope, dxhat)
            if adds:
                result += load(other + j)
            store(target + j, result)
        if rest:
            xhat = (load_first(source + whole, rest) - center) * scale
            dxhat = load_first(grad + whole, rest) * load_first(weight + whole, rest) - shift
            result = scale * fma(xhat, slope, dxhat)
            if adds:
                result += load_first(other + whole, rest)
            store_first(target + whole, result, rest)


@part
def sum_chunks(partial, total, chunks, n):
    """total = Σ of the rows of partial (chunks, n), the first one first."""
    for j in range(0, n, lanes(total)):
        rest = n - j
        s = splat(total, 0.0)
        for i in range(chunks):
            s = s + load_first(partial + (i * n + j), rest)
        store_first(total + j, s, rest)


@kernel
def norm_backward_kernel(pool, x, weight, dy, add, adds, mean, reciprocal, dx, partial, total, centered):
    rows, n, chunks = mean.shape[0], weight.shape[0], partial.shape[0]
    arguments = (
        pointer(x), pointer(weight), pointer(dy), pointer(add), adds, mean, reciprocal, pointer(dx), pointer(partial), rows, n,
        centered, chunks,
    )  # fmt: skip
    parallel_for(pool, chunks, norm_backward_task, arguments)
    sum_chunks(pointer(partial), pointer(total), chunks, 2 * n)


def chunks_of(rows: int) -> int:
    """How many groups of rows have sums of their own."""
    return min(CHUNKS, -(-rows // CHUNK_ROWS))


def _norm(x: np.ndarray, weight: Any, bias: Any, eps: float, centered: bool) -> tuple[np.ndarray, NormResiduals]:
    n = x.shape[-1]
    rows = math.prod(x.shape[:-1])
    y, mean, reciprocal = np.empty(x.shape, x.dtype), np.empty(rows, x.dtype), np.empty(rows, x.dtype)
    if n:
        g = np.ones(n, x.dtype) if weight is None else flat(weight)
        b = np.zeros(n, x.dtype) if bias is None else flat(bias)
        norm_kernel(pool.start(), flat(x), g, b, y.reshape(-1), mean, reciprocal, eps, centered)
    return y, NormResiduals(x, mean, reciprocal, weight, bias is not None)


def _norm_backward(
    dy: np.ndarray, residuals: NormResiduals, add: np.ndarray | None, centered: bool
) -> tuple[np.ndarray, Any, Any]:
    x, mean, reciprocal, weight, has_bias = residuals
    n = x.shape[-1]
    dx, total = np.empty(x.shape, x.dtype), np.empty(2 * n, x.dtype)
    if n:
        g = np.ones(n, x.dtype) if weight is None else flat(weight)
        partial = np.empty((chunks_of(len(mean)), 2 * n), x.dtype)
        grad = flat(dy)
        norm_backward_kernel(
            pool.start(), flat(x), g, grad, grad if add is None else flat(add), add is not None, mean, reciprocal,
            dx.reshape(-1), partial, total, centered,
        )  # fmt: skip
    return dx, None if weight is None else total[:n], total[n:] if has_bias else None


def layer_norm(
    x: np.ndarray, weight: np.ndarray | None = None, bias: np.ndarray | None = None, *, eps: float = 1e-5
) -> tuple[np.ndarray, NormResiduals]:
    """y = (x − μ)/√(σ² + ε) ⊙ g + b over the last axis, as in reference.layer_norm."""
    return _norm(x, weight, bias, eps, True)


def layer_norm_backward(
    grad_output: np.ndarray, residuals: NormResiduals, *, add: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """The cotangents of x, plus `add`, of weight and of bias (None for a weight or bias that was not given)."""
    return _norm_backward(grad_output, residuals, add, True)


def rms_norm(x: np.ndarray, weight: np.ndarray | None = None, *, eps: float = 1e-6) -> tuple[np.ndarray, NormResiduals]:
    """y = x/√(mean(x²) + ε) ⊙ g over the last axis, as in reference.rms_norm."""
    return _norm(x, weight, None, eps, False)


def rms_norm_backward(
    grad_output: np.ndarray, residuals: NormResiduals, *, add: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The cotangents of x, plus `add`, and of weight (None without a weight)."""
    dx, dg, _ = _norm_backward(grad_output, residuals, add, False)
    return dx, dg
