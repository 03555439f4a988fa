"""Rung 4 of the matrix product: the tile of sums lives in registers.

    for each k:   b_0, b_1 = two vectors of B      for m = 0 … 3:   a = a_mk in every lane,  c_m0 += a·b_0,  c_m1 += a·b_1

Idea. A processor has 16 or 32 vector registers. A tile of 4 rows × 2 vectors needs 8 of them for its sums, and there the
sums stay while k runs through the whole panel: c_00 … c_31 below are local variables, and a compiler keeps local
variables in registers. The vectors are explicit (cpu/vector.py): a loop that the compiler turns into vectors by
itself, as in rung 3, may or may not end up like this.

Memory traffic. Beyond the caches that of rung 3. Between cache and registers, where rung 3 was stuck: there, each
multiplication of a vector loaded B and read and wrote its sum; now, 6 loads serve 8 of them:
    bytes from the nearest cache, for each k:  4·(4 + 2·lanes), was 4·(4 + 3·8·lanes)
Eight sums are also eight independent chains, as many as are needed to start two additions in every cycle while
each takes four.

Beside the rung before: four times faster, and more than half of what the processor can do at all. More sums (8 rows × 3
vectors, as in minilm's own product) hide the waiting better; they would hide the idea, too.
"""

from __future__ import annotations

import numpy as np

from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.vector import fma, lanes, load, load_first, pointer, splat, store_first
from minilm_kernels.ladder.inputs import Array, check_product
from minilm_kernels.ladder.product import rung3_packed_panels
from minilm_kernels.ladder.product.rung3_packed_panels import KC, MC, MR, NR, pack_columns, pack_rows

traffic, extra_bytes = rung3_packed_panels.traffic, rung3_packed_panels.extra_bytes


def matmul(a: Array, b: Array) -> Array:
    """C = A B: (M, K) (K, N) → (M, N)."""
    check_product(a, b)
    c = np.zeros((a.shape[0], b.shape[1]), np.float32)
    multiply(a, b, c)
    return c


@kernel
def multiply(A, B, C):
    """C += A B. As in rung 3."""
    K, N = B.shape
    packed_A = np.empty((MC // MR, KC, MR), np.float32)
    packed_B = np.empty(((N + NR - 1) // NR, KC, NR), np.float32)
    for k0 in range(0, K, KC):
        k1 = min(k0 + KC, K)
        for p in range(packed_B.shape[0]):
            pack_columns(B[k0:k1, p * NR : (p + 1) * NR], packed_B[p])
        for i0 in range(0, A.shape[0], MC):
            multiply_block(A[i0 : i0 + MC, k0:k1], packed_A, packed_B, C[i0 : i0 + MC])


@part
def multiply_block(A, packed_A, packed_B, C):
    """C += A B for at most MC rows and KC columns of A, with B packed already."""
    M, N = C.shape
    panels = (M + MR - 1) // MR
    for p in range(panels):
        pack_rows(A[p * MR : (p + 1) * MR], packed_A[p])
    for j in range(packed_B.shape[0]):
        for i in range(panels):
            sums = register_tile(pointer(packed_A[i]), 1, MR, pointer(packed_B[j]), NR, A.shape[1])
            c = pointer(C) + (i * MR * N + j * NR)
            rows = M - i * MR
            add_row(sums[0], c, N - j * NR)
            if rows > 1:
                add_row(sums[1], c + N, N - j * NR)
            if rows > 2:
                add_row(sums[2], c + 2 * N, N - j * NR)
            if rows > 3:
                add_row(sums[3], c + 3 * N, N - j * NR)


@part
def add_row(sums, c, columns):
    """Add one row of the tile to the first `columns` numbers at c (there may be more or fewer than the row has)."""
    w = lanes(c)
    store_first(c, load_first(c, columns) + sums[0], columns)
    store_first(c + w, load_first(c + w, columns - w) + sums[1], columns - w)


@part
def register_tile(a, a_row, a_column, b, b_row, K):
    """Σ_k a_mk b_kn for 4 rows m and 2 vectors of columns n, as 4 pairs of vectors.

    a_mk is a[m·a_row + k·a_column]; b_kn is b[k·b_row + n].
    """
    c00 = c01 = c10 = c11 = c20 = c21 = c30 = c31 = splat(b, 0.0)
    for _ in range(K):
        b0, b1 = load(b), load(b + lanes(b))
        a0, a1, a2, a3 = splat(b, a[0]), splat(b, a[a_row]), splat(b, a[2 * a_row]), splat(b, a[3 * a_row])
        c00, c01 = fma(a0, b0, c00), fma(a0, b1, c01)
        c10, c11 = fma(a1, b0, c10), fma(a1, b1, c11)
        c20, c21 = fma(a2, b0, c20), fma(a2, b1, c21)
        c30, c31 = fma(a3, b0, c30), fma(a3, b1, c31)
        a += a_column
        b += b_row
    return (c00, c01), (c10, c11), (c20, c21), (c30, c31)
