"""Rung 2 of the matrix product: blocks that fit the cache.

    C_IJ = Σ_K A_IK B_KJ      with blocks of 64 × 64 numbers in place of numbers

Idea. The same three loops, but over blocks, and inside of them the same three loops over the numbers of a block.
A block of A, of B and of C are 48 KiB together. Once they are in the cache, 64³ multiplications use them.

Memory traffic. With block size s = 64 each number of A and B is fetched once for each block that it meets:
    bytes = 4 · 2 · M·N·K/s + 4 · 2 · M·N
Removed since rung 1: the factor s. Now there are 16 operations for each byte, if the cache does hold the blocks.

Beside the rung before: faster, but far less so than the formula promises. The rows of a block of B lie N numbers apart:
when N is a power of two, they fall into the same few places of the cache and push each other out (rung 1 loses a factor
of nine from N = 1,000 to 1,024, this one a factor of two). And a column is still read one number at a time, in a chain of
additions. The next rung removes both by copying.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from minilm_kernels.ladder.inputs import Array, ProductShape, check_product

BLOCK = 64


def matmul(a: Array, b: Array) -> Array:
    """C = A B: (M, K) (K, N) → (M, N)."""
    check_product(a, b)
    c = np.zeros((a.shape[0], b.shape[1]), np.float32)
    multiply(a, b, c)
    return c


@njit(error_model="numpy")
def multiply(A, B, C):
    """C += A B."""
    M, K = A.shape
    N = B.shape[1]
    for i0 in range(0, M, BLOCK):
        for j0 in range(0, N, BLOCK):
            for k0 in range(0, K, BLOCK):
                i1, j1, k1 = min(i0 + BLOCK, M), min(j0 + BLOCK, N), min(k0 + BLOCK, K)
                add_product(A[i0:i1, k0:k1], B[k0:k1, j0:j1], C[i0:i1, j0:j1])


@njit(error_model="numpy")
def add_product(A, B, C):
    """C += A B for one block: the loops of rung 1."""
    for i in range(A.shape[0]):
        for j in range(B.shape[1]):
            total = C[i, j]
            for k in range(A.shape[1]):
                total += A[i, k] * B[k, j]
            C[i, j] = total


def traffic(shape: ProductShape) -> int:
    """Bytes read and written in arrays beyond the blocks in hand: A once for each column of blocks, B for each row."""
    M, N, K = shape
    return 4 * (M * K * -(-N // BLOCK) + K * N * -(-M // BLOCK) + 2 * M * N)


def extra_bytes(shape: ProductShape) -> int:
    """Bytes beyond inputs and outputs: none, a block is a view."""
    return 0
