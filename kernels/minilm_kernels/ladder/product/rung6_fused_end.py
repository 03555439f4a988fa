"""Rung 6 of the matrix product: what comes after the product happens to a tile before it is stored.

    Y = gelu(A B + bias) + residual          a layer of a Transformer, more or less

Idea. After rung 5 a layer goes over the whole of C again, and again: to add the bias, for the GELU, to add the residual.
Each pass fetches and stores M·N numbers and does next to nothing with them. But when the last block of k is added to
a tile, its numbers are in registers. Finish them there (an epilogue), then store.

Memory traffic. Beside rung 5 followed by three passes (rung6_three_passes.py: two of one read and one write, one of
two reads and a write), the residual alone is left:
    bytes removed = 4 · 6 · M·N
GELU in its tanh form is a sigmoid: gelu(x) = x / (1 + exp(−2u)), u = √(2/π) (x + 0.044715 x³); exp is 2^x on vectors.

Beside the rung before: `matmul` alone is rung 5. The layer is faster than rung 5 with three passes, the more so the smaller K
is, since a product takes time in proportion to K and a pass does not.
"""

from __future__ import annotations

import math

import numpy as np

from minilm_kernels.cpu import pool
from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.exponential import LOG2E, exp2
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.vector import lanes, load_first, minimum, pointer, splat, store_first
from minilm_kernels.ladder.inputs import Array, ProductShape, check_product
from minilm_kernels.ladder.product import rung5_threads
from minilm_kernels.ladder.product.rung3_packed_panels import KC, MC, MR, NR, pack_rows
from minilm_kernels.ladder.product.rung4_register_tile import register_tile
from minilm_kernels.ladder.product.rung5_threads import block_of_rows, extra_bytes, matmul, pack_panel

__all__ = ["extra_bytes", "layer", "matmul", "traffic"]

TWO_U = np.float32(-2 * math.sqrt(2 / math.pi) * LOG2E)  # the factor of −2u log₂e


def layer(a: Array, b: Array, bias: Array, residual: Array) -> Array:
    """gelu(A B + bias) + residual: (M, K) (K, N), (N,), (M, N) → (M, N)."""
    check_product(a, b)
    c = np.zeros((a.shape[0], b.shape[1]), np.float32)
    state = pool.start()
    scratch = np.empty((pool.get_num_threads(), MC // MR, KC, MR), np.float32)
    packed_B = np.empty((-(-b.shape[1] // NR), KC, NR), np.float32)
    multiply(state, a, b, bias, residual, c, scratch, packed_B)
    return c


@kernel
def multiply(state, A, B, bias, residual, C, scratch, packed_B):
    """C = gelu(A B + bias) + residual, where C is zeros. As in rung 5, but for the last block of k."""
    tasks = (A.shape[0] + MC - 1) // MC
    last = max(0, (B.shape[0] - 1) // KC * KC)
    for k0 in range(0, last + 1, KC):
        parallel_for(state, packed_B.shape[0], pack_panel, (B[k0 : k0 + KC], packed_B))
        if k0 < last:
            parallel_for(state, tasks, block_of_rows, (A[:, k0 : k0 + KC], packed_B, C, scratch))
        else:
            parallel_for(state, tasks, last_block, (A[:, k0:], packed_B, bias, residual, C, scratch))


@part
def last_block(worker, task, A, packed_B, bias, residual, C, scratch):
    """Task i: rows i·MC … of C, the last block of k."""
    packed_A, N = scratch[worker], C.shape[1]
    first, last = task * MC, min(task * MC + MC, C.shape[0])
    for i in range(first, last, MR):
        pack_rows(A[i : min(i + MR, last)], packed_A[(i - first) // MR])
    for j in range(0, N, NR):
        for i in range(first, last, MR):
            a, b = pointer(packed_A[(i - first) // MR]), pointer(packed_B[j // NR])
            sums = register_tile(a, 1, MR, b, NR, A.shape[1])
            at, rows = i * N + j, last - i
            finish(sums[0], pointer(bias) + j, pointer(residual) + at, pointer(C) + at, N - j)
            if rows > 1:
                at += N
                finish(sums[1], pointer(bias) + j, pointer(residual) + at, pointer(C) + at, N - j)
            if rows > 2:
                at += N
                finish(sums[2], pointer(bias) + j, pointer(residual) + at, pointer(C) + at, N - j)
            if rows > 3:
                at += N
                finish(sums[3], pointer(bias) + j, pointer(residual) + at, pointer(C) + at, N - j)


@part
def finish(sums, bias, residual, c, columns):
    """c = gelu(c + sums + bias) + residual for one row of a tile, of which the first `columns` numbers exist."""
    w = lanes(c)
    x0 = load_first(c, columns) + sums[0] + load_first(bias, columns)
    x1 = load_first(c + w, columns - w) + sums[1] + load_first(bias + w, columns - w)
    store_first(c, gelu(x0) + load_first(residual, columns), columns)
    store_first(c + w, gelu(x1) + load_first(residual + w, columns - w), columns - w)


@part
def gelu(x):
    """x / (1 + 2^(−2u log₂e)); beyond 2^126 the quotient is 0 for all that float32 can say."""
    return x / (1 + exp2(minimum(TWO_U * (x + np.float32(0.044715) * x * x * x), splat(x, 126.0))))


def traffic(shape: ProductShape) -> int:
    """Bytes of `layer` read and written in arrays: rung 5, the residual and the bias."""
    return rung5_threads.traffic(shape) + 4 * shape[1] * (shape[0] + 1)
