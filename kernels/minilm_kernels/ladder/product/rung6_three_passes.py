"""Rung 6 of the matrix product, the partner: rung 5, then a pass over the result for each thing that is left to do.

    Y = gelu(A B + bias) + residual

Idea. None: it is what rung 6 is compared with. Each pass works on vectors and on all threads, so that the comparison is
about passes and nothing else.

Memory traffic. Rung 5, then read and write for the bias, read and write for the GELU, two reads and a write for the residual:
    bytes = rung 5 + 4 · 7 · M·N
"""

from __future__ import annotations

from minilm_kernels.cpu import pool
from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.vector import lanes, load_first, pointer, store_first
from minilm_kernels.ladder.inputs import Array, ProductShape
from minilm_kernels.ladder.product.rung5_threads import extra_bytes, matmul
from minilm_kernels.ladder.product.rung5_threads import traffic as traffic_of_product
from minilm_kernels.ladder.product.rung6_fused_end import gelu

__all__ = ["extra_bytes", "layer", "matmul", "traffic"]


def layer(a: Array, b: Array, bias: Array, residual: Array) -> Array:
    """gelu(A B + bias) + residual: (M, K) (K, N), (N,), (M, N) → (M, N)."""
    c = matmul(a, b)
    three_passes(pool.start(), c, bias, residual)
    return c


@kernel
def three_passes(state, C, bias, residual):
    """C = gelu(C + bias) + residual, the slow way."""
    for step in range(3):  # bias, GELU, residual
        parallel_for(state, C.shape[0], pass_over_row, (step, C, bias, residual))


@part
def pass_over_row(worker, i, step, C, bias, residual):
    """Task i: one step for row i."""
    N, row = C.shape[1], i * C.shape[1]
    for j in range(0, N, lanes(C)):
        c = pointer(C) + (row + j)
        x = load_first(c, N - j)
        if step == 0:
            x += load_first(pointer(bias) + j, N - j)
        elif step == 1:
            x = gelu(x)
        else:
            x += load_first(pointer(residual) + (row + j), N - j)
        store_first(c, x, N - j)


def traffic(shape: ProductShape) -> int:
    """Bytes read and written in arrays: rung 5, then seven reads and writes of M·N numbers."""
    return traffic_of_product(shape) + 4 * shape[1] * (7 * shape[0] + 1)
