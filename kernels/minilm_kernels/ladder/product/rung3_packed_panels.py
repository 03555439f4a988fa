"""Rung 3 of the matrix product: copy each block once, into the order in which it will be read.

    A → panels of 4 rows:      a_0k a_1k a_2k a_3k | a_0,k+1 a_1,k+1 …         (k runs slowest)
    B → panels of 32 columns:  b_k0 b_k1 … b_k31 | b_k+1,0 …

Idea. Packing: a panel is contiguous memory. Nothing of a cache line is wasted, no two rows fall on the same place of the
cache, and for each k the 4 + 32 numbers that belong together stand together. They make a tile of 4 × 32 sums grow
at once, c_mn += a_mk · b_kn: the sums are independent, so the compiler makes vectors of them. Edges are padded
with zeros, so that every tile is whole and no loop asks where the matrix ends (Goto & van de Geijn 2008).

Memory traffic. A block of A (128 × 256) and a panel of B stay in the caches; k runs in blocks of KC = 256:
    bytes = 4 · (M·K [read A] + 2·K·N [pack B] + K·N · M/MC [its panels, for each block of A] + 2·M·N · K/KC [C])
Packing adds some traffic, in proportion to the matrices, and takes it from each of the N/NR and M/MR passes over them.

Beside the rung before: many times faster. But the tile of sums still lives in the cache: for each multiplication
one sum is read and written. 32 is two vectors of AVX-512; with narrower vectors panels are narrower.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from minilm_kernels.cpu.target import lanes_of
from minilm_kernels.ladder.inputs import Array, ProductShape, check_product

MR, NR = 4, 2 * lanes_of(4)  # a tile of C: rows and columns
MC, KC = 128, 256  # a packed block of A: 128 KiB


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
    packed_A = np.empty((MC // MR, KC, MR), np.float32)
    packed_B = np.empty(((N + NR - 1) // NR, KC, NR), np.float32)
    sums = np.empty((MR, NR), np.float32)
    for k0 in range(0, K, KC):
        k1 = min(k0 + KC, K)
        for p in range(packed_B.shape[0]):
            pack_columns(B[k0:k1, p * NR : (p + 1) * NR], packed_B[p])
        for i0 in range(0, M, MC):
            block = C[i0 : i0 + MC]
            for p in range((block.shape[0] + MR - 1) // MR):
                pack_rows(A[i0 + p * MR : i0 + (p + 1) * MR, k0:k1], packed_A[p])
            for j in range(packed_B.shape[0]):
                for i in range((block.shape[0] + MR - 1) // MR):
                    tile(packed_A[i, : k1 - k0], packed_B[j], sums)
                    add(sums, block[i * MR : (i + 1) * MR, j * NR : (j + 1) * NR])


@njit(error_model="numpy")
def pack_rows(A, panel):
    """panel[k, m] = A[m, k], zeros where A has no row m."""
    panel[:] = 0
    for m in range(A.shape[0]):
        for k in range(A.shape[1]):
            panel[k, m] = A[m, k]


@njit(error_model="numpy")
def pack_columns(B, panel):
    """panel[k, n] = B[k, n], zeros where B has no column n."""
    for k in range(B.shape[0]):
        for n in range(B.shape[1]):
            panel[k, n] = B[k, n]
        for n in range(B.shape[1], NR):
            panel[k, n] = 0


@njit(error_model="numpy")
def tile(A, B, sums):
    """sums = A B for one panel of each: (k, MR), (k, NR) → (MR, NR)."""
    sums[:] = 0
    for k in range(A.shape[0]):
        for m in range(MR):
            for n in range(B.shape[1]):  # not range(NR): a loop of known, short length is unrolled, and stays scalar
                sums[m, n] += A[k, m] * B[k, n]


@njit(error_model="numpy")
def add(sums, C):
    """C += what of the tile lies inside the matrix."""
    for m in range(C.shape[0]):
        for n in range(C.shape[1]):
            C[m, n] += sums[m, n]


def traffic(shape: ProductShape) -> int:
    """Bytes read and written in arrays beyond a packed block of A and a panel of B."""
    M, N, K = shape
    return 4 * (M * K + 2 * K * N + K * N * -(-M // MC) + 2 * M * N * -(-K // KC))


def extra_bytes(shape: ProductShape) -> int:
    """Bytes beyond inputs and outputs: the packed block of A, the packed B (KC of its rows), a tile."""
    return 4 * (MC * KC + KC * NR * -(-shape[1] // NR) + MR * NR)
