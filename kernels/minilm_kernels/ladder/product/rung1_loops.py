"""Rung 1 of the matrix product: the definition, compiled.

    c_ij = Σ_k a_ik b_kj

Idea. None yet: three loops. (In Python itself they would take minutes for matrices of 1,024 rows; what the
interpreter costs is shown by the rungs of attention, so this ladder starts with Numba.)

Memory traffic. Each of the M·N·K multiplications reads one number of A and one of B; c_ij is written once:
    bytes = 4 · 2 · M·N·K + 4 · M·N
Two operations for 8 bytes: a quarter of an operation per byte, where the processor wants ten or more. It is worse than the
formula says, because the inner loop goes down a column of B: neighbours there are N numbers apart, and memory comes
in lines of 16 numbers, of which 15 are thrown away unless the cache holds the line until the next column.

Beside the rung before: there is none. The sum over k is a chain, too: each addition waits for the one before.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from minilm_kernels.ladder.inputs import Array, ProductShape, check_product


def matmul(a: Array, b: Array) -> Array:
    """C = A B: (M, K) (K, N) → (M, N)."""
    check_product(a, b)
    c = np.empty((a.shape[0], b.shape[1]), np.float32)
    multiply(a, b, c)
    return c


@njit(error_model="numpy")
def multiply(A, B, C):
    """C = A B."""
    M, K = A.shape
    for i in range(M):
        for j in range(B.shape[1]):
            total = np.float32(0)
            for k in range(K):
                total += A[i, k] * B[k, j]
            C[i, j] = total


def traffic(shape: ProductShape) -> int:
    """Bytes read and written in arrays."""
    M, N, K = shape
    return 4 * (2 * M * N * K + M * N)


def extra_bytes(shape: ProductShape) -> int:
    """Bytes beyond inputs and outputs: none."""
    return 0
