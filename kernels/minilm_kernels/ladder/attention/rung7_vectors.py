"""Rung 7: explicit vectors, and a tile of sums that stays in registers.

    Sᵀ += K Qᵀ and Oᵀ += Vᵀ Pᵀ, each as tiles of 4 rows × 2 vectors of queries

Idea. Both products are matrix products, so take the register tile of the other ladder (product/rung4_register_tile.py:
read it first). With queries in the columns nothing has to be packed: K and V are the operand that is read element by
element, where strides do not matter: (D, 1) for K and, as V is wanted transposed, (1, D) for V. The maximum, 2^x and the
sums of the softmax work on vectors of queries, 16 at once with AVX-512, and never across a vector.

Memory traffic. Beyond the caches that of rung 5 and 6,
    bytes = 4 · 2D · N/BQ + 4 · 2 · B·H·T·D,  N = B·H·T²
Removed is traffic between the nearest cache and the registers: from 3 vectors (operand, sum in, sum out) for each
multiplication of vectors to 6 loads for 8 of them.

Beside the rung before: more than three times faster, and for the first time ahead of rung 2, its BLAS included.
"""

from __future__ import annotations

import math

import numpy as np

from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.exponential import LOG2E, exp2
from minilm_kernels.cpu.vector import lanes, load, maximum, pointer, store
from minilm_kernels.ladder.attention.rung5_tiles import BK, BQ, extra_bytes, hide_the_future, load_queries, traffic
from minilm_kernels.ladder.inputs import Array, check_attention, heads, softmax_scale
from minilm_kernels.ladder.product.rung4_register_tile import add_row, register_tile

__all__ = ["attention", "extra_bytes", "traffic"]

SCALE = np.float32(LOG2E)
LN2 = np.float32(math.log(2))


def attention(query: Array, key: Array, value: Array, causal: bool = False) -> Array:
    """O = softmax(Q Kᵀ/√D) V, all (B, H, T, D); causal: query i sees keys j ≤ i."""
    check_attention(query, key, value)
    T, D = query.shape[2:]
    output = np.empty_like(query)
    log_sum_exp = np.empty((*query.shape[:2], T), np.float32).reshape(-1, T)
    scratch = np.empty((BK + 2 * D + 3, BQ), np.float32)
    arrays = heads(query), heads(key), heads(value), heads(output), log_sum_exp
    attend(*arrays, softmax_scale(D) * SCALE, causal, scratch)
    return output


@kernel
def attend(Q, K, V, O, L, scale, causal, scratch):
    """Q, K, V, O: (B·H, T, D). L: (B·H, T), becomes log Σ_j exp(s_ij), which backward will want (rung 9)."""
    for head in range(Q.shape[0]):
        for i0 in range(0, Q.shape[1], BQ):
            attend_tile(Q[head], K[head], V[head], O[head], L[head], i0, scale, causal, scratch)


@part
def attend_tile(Q, K, V, O, L, i0, scale, causal, scratch):
    """Queries i0 … i0 + BQ − 1 of one head."""
    T, D = Q.shape
    QT, OT, ST = scratch[:D], scratch[D : 2 * D], scratch[2 * D : 2 * D + BK]
    m, l, alpha = scratch[2 * D + BK], scratch[2 * D + BK + 1], scratch[2 * D + BK + 2]
    rows = min(BQ, T - i0)
    load_queries(Q[i0 : i0 + rows], scale, QT)
    m[:], l[:], OT[:] = -np.inf, 0, 0
    end = i0 + rows if causal else T
    for j0 in range(0, end, BK):
        keys = min(BK, end - j0)
        ST[:] = 0
        add_product(pointer(K) + j0 * D, D, 1, pointer(QT), BQ, pointer(ST), BQ, keys, BQ, D)
        if causal and j0 + keys > i0:
            hide_the_future(ST, i0, j0)
        online_softmax(pointer(ST), keys, pointer(m), pointer(l), pointer(alpha))
        for d in range(D):
            for i in range(0, BQ, lanes(OT)):
                store(pointer(OT[d]) + i, load(pointer(OT[d]) + i) * load(pointer(alpha) + i))
        add_product(pointer(V) + j0 * D, 1, D, pointer(ST), BQ, pointer(OT), BQ, D, BQ, keys)
    for i in range(rows):
        L[i0 + i] = (m[i] + math.log2(l[i])) * LN2
        for d in range(D):
            O[i0 + i, d] = OT[d, i] / l[i]


@part
def add_product(a, a_row, a_column, b, b_row, c, c_row, rows, columns, K):
    """C += A B: a_mk at a[m·a_row + k·a_column], b_kn at b[k·b_row + n] (padded to 2 vectors), c_mn at c[m·c_row + n].

    The last rows, fewer than 4, go one by one: with stride 0 all four rows of the tile are the same.
    """
    for n in range(0, columns, 2 * lanes(b)):
        m = 0
        while m < rows:
            whole = rows - m >= 4
            sums = register_tile(a + m * a_row, a_row if whole else 0, a_column, b + n, b_row, K)
            add_row(sums[0], c + (m * c_row + n), columns - n)
            if whole:
                add_row(sums[1], c + ((m + 1) * c_row + n), columns - n)
                add_row(sums[2], c + ((m + 2) * c_row + n), columns - n)
                add_row(sums[3], c + ((m + 3) * c_row + n), columns - n)
            m += 4 if whole else 1


@part
def online_softmax(ST, keys, m, l, alpha):
    """Scores → 2^(s − m') in place, for a vector of queries at a time; m, l, alpha as in rung 5."""
    for i in range(0, BQ, lanes(ST)):
        old = load(m + i)
        new = old
        for j in range(keys):
            new = maximum(new, load(ST + (j * BQ + i)))
        factor = exp2(old - new)
        total = load(l + i) * factor
        for j in range(keys):
            p = exp2(load(ST + (j * BQ + i)) - new)
            store(ST + (j * BQ + i), p)
            total += p
        store(m + i, new)
        store(l + i, total)
        store(alpha + i, factor)
