"""Rung 2: the formula on whole arrays, in NumPy.

    S = Q Kᵀ/√D        W = exp(S − max S) / Σ exp(S − max S)        O = W V

Idea. Let a library loop. Each line below is one loop that was compiled long ago; the two products go to a BLAS, whose
own ladder is the other half of this folder (`ladder/product`).

Memory traffic. The products read their operands once or a few times, no longer once for each number they compute. But
every line sends a whole T×T array to memory and the next line fetches it back. In passes over N = B·H·T² numbers:
write S 1, maximum 1, difference 2, exponential 2, sum 1, quotient 2, product with V 1:
    bytes = 4 · 10 · N + 4 · 6 · B·H·T·D
Removed since rung 1: 4 · (4D + 6 − 10) · N. Remaining: 40 bytes for each of the N pairs, which have 4·D operations
each; at D = 64 that is 6.4 operations per byte. Three arrays of 4·N bytes live at once.

Beside the rung before: thousands of times faster. What is left is bound by memory and by exp, not by the products.
"""

from __future__ import annotations

import numpy as np

from minilm_kernels.ladder.inputs import Array, AttentionShape, check_attention, softmax_scale


def attention(query: Array, key: Array, value: Array, causal: bool = False) -> Array:
    """O = softmax(Q Kᵀ/√D) V, all (B, H, T, D); causal: query i sees keys j ≤ i."""
    check_attention(query, key, value)
    T, D = query.shape[2:]
    S = (query * softmax_scale(D)) @ key.swapaxes(-1, -2)  # (B, H, T, T)
    if causal:
        S[..., np.triu(np.ones((T, T), bool), k=1)] = -np.inf
    W = np.exp(S - S.max(axis=-1, keepdims=True, initial=-np.inf))
    W = W / W.sum(axis=-1, keepdims=True)
    return W @ value


def traffic(shape: AttentionShape) -> int:
    """Bytes read and written in arrays: ten passes over the scores, and Q twice more for the scaling."""
    B, H, T, D = shape
    return 4 * B * H * (10 * T * T + 6 * T * D)


def extra_bytes(shape: AttentionShape) -> int:
    """Bytes beyond inputs and outputs: S, the difference and its exponential live at once; and the scaled Q."""
    B, H, T, D = shape
    return 4 * B * H * (3 * T * T + T * D)
