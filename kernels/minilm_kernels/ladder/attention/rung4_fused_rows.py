"""Rung 4: one query at a time, from its scores to its output; the score matrix is gone.

    s_j = q · k_j / √D        w_j = exp(s_j − max s)        o = Σ_j w_j v_j / Σ_j w_j

Idea. Output i needs row i of the scores and no other, so finish a row before starting the next. One row of T floats
stays in the nearest cache, where S had T of them in memory. The division waits until the end: D numbers of o are
divided in place of T weights. And o itself is the accumulator: v_j is added to it as a row, D numbers that do not
depend on each other, which the compiler can take 8 or 16 at a time (a vector instruction) without reordering any sum.

Memory traffic. A query reads all of K and all of V; q, its scores and its output stay near:
    bytes = 4 · 2D · N + 4 · 2 · B·H·T·D,  N = B·H·T²
Removed since rung 3: 4 · (2D + 6) · N, of which all that was proportional to T² without D, the score matrix, is gone
for good. Extra memory: 4·T bytes, whatever the number of heads.

Beside the rung before: faster, since half of the arithmetic (Σ_j w_j v_j) is now vectors. The other half, the
dot product q · k_j, is still a chain of additions. And K and V are read once for every single query: half an operation
per byte.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from minilm_kernels.ladder.inputs import Array, AttentionShape, check_attention, heads, softmax_scale


def attention(query: Array, key: Array, value: Array, causal: bool = False) -> Array:
    """O = softmax(Q Kᵀ/√D) V, all (B, H, T, D); causal: query i sees keys j ≤ i."""
    check_attention(query, key, value)
    T, D = query.shape[2:]
    output = np.zeros_like(query)
    row = np.empty(T, np.float32)
    for Q, K, V, O in zip(heads(query), heads(key), heads(value), heads(output)):
        attend(Q, K, V, O, row, softmax_scale(D), causal)
    return output


@njit(error_model="numpy")
def attend(Q, K, V, O, s, scale, causal):
    """One head: Q, K, V, O (T, D), O all zeros; s (T,) is scratch: the scores of the query in hand."""
    T, D = Q.shape
    zero = np.float32(0)
    for i in range(T):
        last = i + 1 if causal else T
        largest = np.float32(-np.inf)
        for j in range(last):
            total = zero
            for d in range(D):
                total += Q[i, d] * K[j, d]
            s[j] = total * scale
            largest = max(largest, s[j])

        denominator = zero
        for j in range(last):
            weight = math.exp(s[j] - largest)
            denominator += weight
            for d in range(D):
                O[i, d] += weight * V[j, d]
        for d in range(D):
            O[i, d] /= denominator


def traffic(shape: AttentionShape) -> int:
    """Bytes read and written in arrays beyond one row: K and V for every query, Q and O once."""
    B, H, T, D = shape
    return 4 * B * H * (2 * D * T * T + 2 * T * D)


def extra_bytes(shape: AttentionShape) -> int:
    """Bytes beyond inputs and outputs: one row of scores."""
    return 4 * shape[2]
