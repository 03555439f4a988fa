"""Rung 5 of the matrix product: all threads.

Idea. Blocks of rows of C have nothing to do with each other: each is a task, and a thread that is free takes the next one. All
tasks read the same packed B, so that is packed first, its panels being tasks of their own. Each number of C is
computed by one task in a fixed order; so the result has the same bits for any number of threads.

Memory traffic. That of rung 4, byte for byte:
    bytes = 4 · (M·K + 2·K·N + K·N · M/MC + 2·M·N · K/KC)
Each core brings caches and vector units of its own, while all share the memory. That is why the rungs before matter:
with a quarter of an operation per byte, as in rung 1, a second core would wait for the same memory as the first.

Beside the rung before: nearly as many times faster as there are cores, once the matrices are large enough that waking
threads (some microseconds for each of the two jobs of a block of k) does not show.
"""

from __future__ import annotations

import numpy as np

from minilm_kernels.cpu import pool
from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.ladder.inputs import Array, ProductShape, check_product
from minilm_kernels.ladder.product import rung4_register_tile
from minilm_kernels.ladder.product.rung3_packed_panels import KC, MC, MR, NR, pack_columns, traffic
from minilm_kernels.ladder.product.rung4_register_tile import multiply_block

__all__ = ["extra_bytes", "matmul", "traffic"]


def matmul(a: Array, b: Array) -> Array:
    """C = A B: (M, K) (K, N) → (M, N)."""
    check_product(a, b)
    c = np.zeros((a.shape[0], b.shape[1]), np.float32)
    state = pool.start()
    scratch = np.empty((pool.get_num_threads(), MC // MR, KC, MR), np.float32)  # a packed block of A for each thread
    packed_B = np.empty((-(-b.shape[1] // NR), KC, NR), np.float32)
    multiply(state, a, b, c, scratch, packed_B)
    return c


@kernel
def multiply(state, A, B, C, scratch, packed_B):
    """C += A B."""
    for k0 in range(0, B.shape[0], KC):
        rows = B[k0 : k0 + KC]
        parallel_for(state, packed_B.shape[0], pack_panel, (rows, packed_B))
        parallel_for(state, (A.shape[0] + MC - 1) // MC, block_of_rows, (A[:, k0 : k0 + KC], packed_B, C, scratch))


@part
def pack_panel(worker, p, B, packed_B):
    """Task p: panel p of B."""
    pack_columns(B[:, p * NR : (p + 1) * NR], packed_B[p])


@part
def block_of_rows(worker, i, A, packed_B, C, scratch):
    """Task i: rows i·MC … of C."""
    i0 = i * MC
    multiply_block(A[i0 : i0 + MC], scratch[worker], packed_B, C[i0 : i0 + MC])


def extra_bytes(shape: ProductShape) -> int:
    """Bytes beyond inputs and outputs: as in rung 4, with one packed block of A for each thread."""
    return rung4_register_tile.extra_bytes(shape) + 4 * MC * KC * (pool.get_num_threads() - 1)
