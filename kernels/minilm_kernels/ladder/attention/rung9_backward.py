"""Rung 9: backward by recomputation; the T × T weights are neither kept from forward nor written down now.

    W = exp(S − L)      dV = Wᵀ dO      dS = W ⊙ (dO Vᵀ − δ),  δ_i = dO_i · O_i      dQ = dS K/√D      dK = dSᵀ Q/√D

Idea. Forward left L_i = log Σ_j exp(s_ij), one number per query. With it a tile of W can be made again from its tiles of
Q and K: one product more (10·D operations for a pair in place of 8·D), and T² numbers less to keep. The five products
follow each other while their tiles are in the cache. A head is a task, so that dK and dV, to which all queries of a
head add, have one writer and a fixed order.

Memory traffic. For each tile of BQ queries, K and V are read, dK and dV read and written:
    bytes = 4 · 6D · N/BQ + 4 · 7 · B·H·T·D,  N = B·H·T²
Removed beside the NumPy backward (rung9_numpy_backward.py): 4 · 14 · N, and 16·N bytes and more of memory.

Beside the rung before: another job, with 2.5 times the operations of forward. Compare with the NumPy backward.
"""

from __future__ import annotations

import numpy as np

from minilm_kernels.cpu import pool
from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.exponential import exp2
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.target import lanes_of
from minilm_kernels.cpu.vector import lanes, load, pointer, store
from minilm_kernels.ladder.attention.rung5_tiles import BK, BQ, hide_the_future, load_queries
from minilm_kernels.ladder.attention.rung7_vectors import SCALE, add_product
from minilm_kernels.ladder.inputs import Array, AttentionShape, check_attention, heads, softmax_scale

PAD = 2 * lanes_of(4)  # columns of a register tile


def attention_backward(
    grad_output: Array, query: Array, key: Array, value: Array, output: Array, log_sum_exp: Array, causal: bool = False
) -> tuple[Array, Array, Array]:
    """(dQ, dK, dV), all (B, H, T, D), from dO, what attention took and gave, and its log Σ exp (B, H, T)."""
    check_attention(grad_output, query, key, value, output)
    T, D = query.shape[2:]
    dQ, dK, dV = np.empty_like(query), np.zeros_like(key), np.zeros_like(value)
    delta = np.einsum("bhtd,bhtd->bht", grad_output, output).reshape(-1, T)
    L = log_sum_exp.reshape(-1, T) * SCALE  # log₂, as the scores
    arrays = [heads(x) for x in (grad_output, query, key, value, dQ, dK, dV)]
    state, threads, wide = pool.start(), pool.get_num_threads(), -(-D // PAD) * PAD
    columns = np.empty((threads, 5, max(D, BK), BQ), np.float32)  # Qᵀ, dOᵀ, dQᵀ, Sᵀ, dSᵀ of a tile
    rows = np.zeros((threads, 2, BQ, wide), np.float32)  # Q, dO of a tile
    sums = np.empty((threads, 2, BQ), np.float32)  # L, δ of a tile
    backward(state, *arrays, L, delta, softmax_scale(D), causal, columns, rows, sums)
    return dQ, dK, dV


@kernel
def backward(state, dO, Q, K, V, dQ, dK, dV, L, delta, scale, causal, columns, rows, sums):
    """All (B·H, T, D), L and delta (B·H, T); dK and dV are zeros."""
    arguments = dO, Q, K, V, dQ, dK, dV, L, delta, scale, causal, columns, rows, sums
    parallel_for(state, Q.shape[0], one_head, arguments)


@part
def one_head(worker, h, dO, Q, K, V, dQ, dK, dV, L, delta, scale, causal, columns, rows, sums):
    """Task h: all tiles of queries of head h."""
    T = Q.shape[1]
    for i0 in range(0, T, BQ):
        i1 = min(i0 + BQ, T)
        load_queries(Q[h, i0:i1], scale * SCALE, columns[worker, 0])
        load_queries(dO[h, i0:i1], np.float32(1), columns[worker, 1])
        rows[worker, 0, : i1 - i0, : Q.shape[2]] = Q[h, i0:i1]
        rows[worker, 1, : i1 - i0, : Q.shape[2]] = dO[h, i0:i1]
        sums[worker] = 0  # columns beyond the last query: anything finite
        sums[worker, 0, : i1 - i0] = L[h, i0:i1]
        sums[worker, 1, : i1 - i0] = delta[h, i0:i1]
        seen, scratch = K[h, : i1 if causal else T], (columns[worker], rows[worker], sums[worker])
        one_tile(seen, V[h], dQ[h, i0:i1], dK[h], dV[h], i0, scale, causal, *scratch)


@part
def one_tile(K, V, dQ, dK, dV, i0, scale, causal, columns, rows, sums):
    """One tile of queries meets K, all keys that it sees; its dQ is the result, dK and dV grow."""
    n, D = dQ.shape
    QT, GT, dQT = pointer(columns[0]), pointer(columns[1]), pointer(columns[2])
    S, dS = pointer(columns[3]), pointer(columns[4])
    Q, G, wide = pointer(rows[0]), pointer(rows[1]), rows.shape[2]
    columns[2] = 0
    for j0 in range(0, K.shape[0], BK):
        keys, at = min(BK, K.shape[0] - j0), j0 * D
        columns[3:] = 0
        add_product(pointer(K) + at, D, 1, QT, BQ, S, BQ, keys, BQ, D)  # Sᵀ = K Qᵀ
        add_product(pointer(V) + at, D, 1, GT, BQ, dS, BQ, keys, BQ, D)  # dWᵀ = V dOᵀ
        if causal and j0 + keys > i0:
            hide_the_future(columns[3, :keys], i0, j0)
        weights(S, dS, keys, pointer(sums[0]), pointer(sums[1]), scale)
        add_product(S, BQ, 1, G, wide, pointer(dV) + at, D, keys, D, n)  # dV += Wᵀ dO
        add_product(dS, BQ, 1, Q, wide, pointer(dK) + at, D, keys, D, n)  # dK += dSᵀ Q
        add_product(pointer(K) + at, 1, D, dS, BQ, dQT, BQ, D, BQ, keys)  # dQᵀ += Kᵀ dSᵀ
    for i, d in np.ndindex(n, D):
        dQ[i, d] = columns[2, d, i]


@part
def weights(w, ds, keys, log2_sum, delta, scale):
    """Sᵀ → Wᵀ = 2^(S − L)ᵀ and dWᵀ → dSᵀ/√D = Wᵀ ⊙ (dWᵀ − δ)/√D, in place."""
    for i in range(0, BQ, lanes(w)):
        for j in range(i, i + keys * BQ, BQ):
            p = exp2(load(w + j) - load(log2_sum + i))
            store(w + j, p)
            store(ds + j, p * (load(ds + j) - load(delta + i)) * scale)


def traffic(shape: AttentionShape) -> int:
    """Bytes read and written in arrays beyond the tiles."""
    B, H, T, D = shape
    return 4 * B * H * (6 * D * T * -(-T // BQ) + 7 * T * D)


def extra_bytes(shape: AttentionShape) -> int:
    """Bytes beyond inputs and outputs: the tiles of each thread; L and δ of all queries."""
    B, H, T, D = shape
    tiles = BQ * (5 * max(D, BK) + 2 * -(-D // PAD) * PAD + 2)
    return 4 * (tiles * pool.get_num_threads() + 2 * B * H * T)
