"""Rung 9, the partner: backward as its formulas read, in NumPy, with the matrix of weights in memory.

    dV = Wᵀ dO      dW = dO Vᵀ      dS = W ⊙ (dW − δ),  δ_i = Σ_j W_ij dW_ij = dO_i · O_i      dQ = dS K/√D      dK = dSᵀ Q/√D

Idea. None: it is what rung 9 is compared with. (Kept from the forward pass, W would take 4·N bytes until backward
comes, in every layer of a model. It is recomputed here as well, all of it at once.)

Memory traffic. Passes over N = B·H·T² numbers: S write 1, minus L 2, exponential 2, Wᵀ dO 1, dW write 1, minus δ 2,
times W 3, dS K 1, dSᵀ Q 1:
    bytes = 4 · 14 · N + 4 · 11 · B·H·T·D

Beside the rung before: this is another job, with 10·D·N operations in place of 4·D·N.
"""

from __future__ import annotations

import numpy as np

from minilm_kernels.ladder.inputs import Array, AttentionShape, check_attention, softmax_scale


def attention_backward(
    grad_output: Array, query: Array, key: Array, value: Array, output: Array, log_sum_exp: Array, causal: bool = False
) -> tuple[Array, Array, Array]:
    """(dQ, dK, dV), all (B, H, T, D), from dO, what attention took and gave, and its log Σ exp (B, H, T)."""
    check_attention(grad_output, query, key, value, output)
    T, D = query.shape[2:]
    scale = softmax_scale(D)
    S = (query * scale) @ key.swapaxes(-1, -2)  # (B, H, T, T)
    if causal:
        S[..., np.triu(np.ones((T, T), bool), k=1)] = -np.inf
    W = np.exp(S - log_sum_exp[..., None])
    dV = W.swapaxes(-1, -2) @ grad_output
    dW = grad_output @ value.swapaxes(-1, -2)
    dS = W * (dW - (grad_output * output).sum(axis=-1, keepdims=True))
    dQ = dS @ key * scale
    dK = dS.swapaxes(-1, -2) @ query * scale
    return dQ, dK, dV


def traffic(shape: AttentionShape) -> int:
    """Bytes read and written in arrays: fourteen passes over the scores, and the small arrays."""
    B, H, T, D = shape
    return 4 * B * H * (14 * T * T + 11 * T * D)


def extra_bytes(shape: AttentionShape) -> int:
    """Bytes beyond inputs and outputs: S, W, dW and dW − δ, which NumPy turns into dS in place; and the scaled Q."""
    B, H, T, D = shape
    return 4 * B * H * (4 * T * T + T * D)
