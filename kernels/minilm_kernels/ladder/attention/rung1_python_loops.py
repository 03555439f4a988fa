"""Rung 1: attention as its definition reads, one number at a time, in Python.

    S_ij = q_i · k_j / √D        W_ij = exp(S_ij) / Σ_j exp(S_ij)        o_i = Σ_j W_ij v_j

Idea. None yet: this is the formula. It is here to be read, and to be right.

Memory traffic. N = B·H·T² pairs of a query and a key. A pair reads q_i and k_j for its score and writes S_ij; the
softmax reads it (maximum), reads and writes it (exponential), reads and writes it (division); the output reads W_ij
and a number of v_j for each of the D components:
    bytes = 4 · (2D + 1 + 5 + 2D) · N + 4 · B·H·T·D                    (every element read or written, 4 bytes each)
The score matrix of one head, 4·T² bytes, is the memory it needs beyond its inputs and outputs.

Beside the rung before: there is none. The time goes to the interpreter, not to memory or arithmetic: each pass of an
inner loop costs it some hundred nanoseconds, and the processor could do thousands of multiplications meanwhile.
"""

from __future__ import annotations

import math

import numpy as np

from minilm_kernels.ladder.inputs import Array, AttentionShape, check_attention, heads, softmax_scale


def attention(query: Array, key: Array, value: Array, causal: bool = False) -> Array:
    """O = softmax(Q Kᵀ/√D) V, all (B, H, T, D); causal: query i sees keys j ≤ i."""
    check_attention(query, key, value)
    T, D = query.shape[2:]
    output = np.empty_like(query)
    scores = np.empty((T, T), np.float32)
    for Q, K, V, O in zip(heads(query), heads(key), heads(value), heads(output)):
        attend(Q, K, V, O, scores, softmax_scale(D), causal)
    return output


def attend(Q, K, V, O, S, scale, causal):  # rung 3 compiles these very lines
    """One head: Q, K, V, O (T, D); S (T, T) is scratch."""
    T, D = Q.shape
    zero = scale - scale  # of the scores' own type, for the compiler's sake
    for i in range(T):
        last = i + 1 if causal else T
        for j in range(last):
            total = zero
            for d in range(D):
                total += Q[i, d] * K[j, d]
            S[i, j] = total * scale

        largest = S[i, 0]  # shifting all scores of a row changes nothing, and exp of a difference cannot overflow
        for j in range(1, last):
            largest = max(largest, S[i, j])
        denominator = zero
        for j in range(last):
            e = math.exp(S[i, j] - largest)
            S[i, j] = e
            denominator += e
        for j in range(last):
            S[i, j] /= denominator

        for d in range(D):
            total = zero
            for j in range(last):
                total += S[i, j] * V[j, d]
            O[i, d] = total


def traffic(shape: AttentionShape) -> int:
    """Bytes read and written in arrays."""
    B, H, T, D = shape
    return 4 * B * H * ((4 * D + 6) * T * T + T * D)


def extra_bytes(shape: AttentionShape) -> int:
    """Bytes beyond inputs and outputs: the scores of one head."""
    T = shape[2]
    return 4 * T * T
