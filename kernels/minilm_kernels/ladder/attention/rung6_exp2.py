"""Rung 6: the exponential as a polynomial, on vectors.

    exp(s − m) = 2^(s log₂e − m log₂e)        2^x = 2^n · 2^f,   n the whole number nearest to x,   |f| ≤ ½

Idea. math.exp is a call into the C library for each of the N scores, and it works on one number at a time. But 2^n
is free, n being the exponent field of a float, and on |f| ≤ ½ a polynomial of degree 5 is as exact as float32 can show.
Both are a few additions, multiplications and shifts, so the compiler makes vectors of them. The factor log₂e goes into
the scale of the queries, where it costs nothing. Adding 1.5·2²³ rounds x: at that size a float has no digits after the
point, and n stands in its low bits.

Memory traffic. None removed: that of rung 5,
    bytes = 4 · 2D · N/BQ + 4 · 2 · B·H·T·D,  N = B·H·T²
What goes is work that the usual count of 4·D·N operations leaves out: N calls of some 2 nanoseconds, a quarter of
rung 5's time.

Beside the rung before: faster by that quarter. The files differ in `online_softmax`, and in log₂e; the rest is imported.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from minilm_kernels.ladder.attention import rung5_tiles
from minilm_kernels.ladder.attention.rung5_tiles import BK, BQ, add_values, hide_the_future, load_queries, scores
from minilm_kernels.ladder.inputs import Array, check_attention, heads, softmax_scale

traffic, extra_bytes = rung5_tiles.traffic, rung5_tiles.extra_bytes

LOG2E = np.float32(1.4426950408889634)
ROUND = np.float32(1.5 * 2**23)
# 2^f ≈ Σ c_k f^k on |f| ≤ ½, fitted for the least relative error (7e-8); Taylor's ln(2)^k/k! would be off by 2e-6 at the ends
C0, C1, C2, C3, C4, C5 = (
    np.float32(c)
    for c in (1.0000000717, 0.6931469670, 0.2402211973, 0.0555071331, 0.0096755412, 0.0013276461)
)  # fmt: skip


def attention(query: Array, key: Array, value: Array, causal: bool = False) -> Array:
    """O = softmax(Q Kᵀ/√D) V, all (B, H, T, D); causal: query i sees keys j ≤ i."""
    check_attention(query, key, value)
    output = np.empty_like(query)
    attend(heads(query), heads(key), heads(value), heads(output), softmax_scale(query.shape[3]) * LOG2E, causal)
    return output


@njit(error_model="numpy")
def exp2(x):
    """2^x for x ≤ 0; exactly 0 from −127 down. (2^−126 instead would do, were its products not subnormal, hence slow.)"""
    x = max(x, np.float32(-127))
    shifted = x + ROUND
    f = x - (shifted - ROUND)
    fraction = C0 + f * (C1 + f * (C2 + f * (C3 + f * (C4 + f * C5))))
    bits = (np.float32(shifted).view(np.int32) << 23) + 0x3F800000  # n + 127 in the exponent, all else 0
    return fraction * np.int32(bits).view(np.float32)


@njit(error_model="numpy")
def online_softmax(ST, m, l, alpha):
    """As in rung 5, with 2^x for exp(x)."""
    alpha[:] = m
    for j in range(ST.shape[0]):
        for i in range(BQ):
            m[i] = max(m[i], ST[j, i])
    for i in range(BQ):
        alpha[i] = exp2(alpha[i] - m[i])
        l[i] *= alpha[i]
    for j in range(ST.shape[0]):
        for i in range(BQ):
            ST[j, i] = exp2(ST[j, i] - m[i])
            l[i] += ST[j, i]


@njit(error_model="numpy")
def attend(Q, K, V, O, scale, causal):
    """Q, K, V, O: (B·H, T, D). As in rung 5."""
    T, D = Q.shape[1:]
    QT, OT = np.empty((D, BQ), np.float32), np.empty((D, BQ), np.float32)
    ST = np.empty((BK, BQ), np.float32)
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
