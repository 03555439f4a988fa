"""Rung 5: a tile of queries meets a tile of keys, with a softmax that corrects itself as it goes (online softmax).

Idea. Fetch 64 keys and values once for 64 queries. But the maximum of a row is not known before its last tile of keys.
So keep, for each query, the largest score m so far, the sum l of exp(s − m), and the output o; when a tile brings a
larger score, rescale what was summed (Milakov & Gimelshein 2018; Dao et al. 2022, FlashAttention):
    m' = max(m, max_j s_j)    α = exp(m − m')    l ← α l + Σ_j exp(s_j − m')      o ← α o + Σ_j exp(s_j − m') v_j
Queries stand in the columns of a tile (Sᵀ = K Qᵀ): every inner loop runs over 64 independent queries, so the compiler
makes vector instructions of each, also of the dot products, and no sum has to be reordered.

Memory traffic. K and V are read once for each tile of BQ = 64 queries; the tiles stay in the cache:
    bytes = 4 · 2D · N/BQ + 4 · 2 · B·H·T·D,  N = B·H·T²
Removed since rung 4: the factor BQ. Extra memory: 4 · (BK·BQ + 2·D·BQ + 3·BQ) bytes, independent of T.

Beside the rung before: faster, and yet SLOWER than rung 2 (NumPy) on dense scores. A BLAS keeps its sums in
registers; here each is read and written in the near cache for every multiplication, and exp is a call for one number.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from minilm_kernels.ladder.inputs import Array, AttentionShape, check_attention, heads, softmax_scale

BQ, BK = 64, 64  # queries and keys in a tile


def attention(query: Array, key: Array, value: Array, causal: bool = False) -> Array:
    """O = softmax(Q Kᵀ/√D) V, all (B, H, T, D); causal: query i sees keys j ≤ i."""
    check_attention(query, key, value)
    output = np.empty_like(query)
    attend(heads(query), heads(key), heads(value), heads(output), softmax_scale(query.shape[3]), causal)
    return output


@njit(error_model="numpy")
def attend(Q, K, V, O, scale, causal):
    """Q, K, V, O: (B·H, T, D). The scratch of a tile is transposed: one column for each query."""
    T, D = Q.shape[1:]
    QT, OT, ST = np.empty((D, BQ), np.float32), np.empty((D, BQ), np.float32), np.empty((BK, BQ), np.float32)
    m, l, alpha = np.empty(BQ, np.float32), np.empty(BQ, np.float32), np.empty(BQ, np.float32)
    for head in range(Q.shape[0]):
        for i0 in range(0, T, BQ):
            rows = min(BQ, T - i0)
            load_queries(Q[head, i0 : i0 + rows], scale, QT)
            m[:], l[:], OT[:] = -np.inf, 0, 0
            end = i0 + rows if causal else T
            for j0 in range(0, end, BK):
                j1 = min(j0 + BK, end)
                scores(K[head, j0:j1], QT, ST)
                if causal and j1 > i0:
                    hide_the_future(ST, i0, j0)
                online_softmax(ST[: j1 - j0], m, l, alpha)
                add_values(V[head, j0:j1], ST, alpha, OT)
            for i, d in np.ndindex(rows, D):
                O[head, i0 + i, d] = OT[d, i] / l[i]


@njit(error_model="numpy")
def load_queries(Q, scale, QT):
    """QT = (scale Q)ᵀ: (rows, D) → (D, BQ); the columns beyond the last query are zeros."""
    QT[:] = 0
    for i, d in np.ndindex(Q.shape):
        QT[d, i] = Q[i, d] * scale


@njit(error_model="numpy")
def scores(K, QT, ST):
    """Sᵀ = K Qᵀ: (keys, D) (D, BQ) → (keys, BQ)."""
    ST[:] = 0
    for j in range(K.shape[0]):
        for d in range(K.shape[1]):
            for i in range(BQ):
                ST[j, i] += K[j, d] * QT[d, i]


@njit(error_model="numpy")
def hide_the_future(ST, i0, j0):
    """The tile on the diagonal: query i0 + i may not see key j0 + j if that lies behind it."""
    for j in range(ST.shape[0]):
        for i in range(min(BQ, max(0, j0 + j - i0))):
            ST[j, i] = -np.inf


@njit(error_model="numpy")
def online_softmax(ST, m, l, alpha):
    """Scores → exp(s − m') in place; m, l as in the head of this file; alpha is what the output must be scaled by."""
    for i in range(BQ):
        alpha[i] = m[i]  # the old maximum, for a moment
        for j in range(ST.shape[0]):
            m[i] = max(m[i], ST[j, i])
        alpha[i] = math.exp(alpha[i] - m[i])
        l[i] *= alpha[i]
    for j, i in np.ndindex(ST.shape):
        ST[j, i] = math.exp(ST[j, i] - m[i])
        l[i] += ST[j, i]


@njit(error_model="numpy")
def add_values(V, PT, alpha, OT):
    """Oᵀ ← α Oᵀ + Vᵀ Pᵀ: (D, keys) (keys, BQ) → (D, BQ)."""
    for d in range(V.shape[1]):
        for i in range(BQ):
            OT[d, i] *= alpha[i]
        for j in range(V.shape[0]):
            for i in range(BQ):
                OT[d, i] += V[j, d] * PT[j, i]


def traffic(shape: AttentionShape) -> int:
    """Bytes read and written in arrays beyond the tiles: K and V for every tile of queries, Q and O once."""
    B, H, T, D = shape
    return 4 * B * H * (2 * D * T * -(-T // BQ) + 2 * T * D)


def extra_bytes(shape: AttentionShape) -> int:
    """Bytes beyond inputs and outputs: the tiles."""
    return 4 * (BK * BQ + 2 * shape[3] * BQ + 3 * BQ)
