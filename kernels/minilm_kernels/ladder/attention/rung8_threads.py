"""Rung 8: all threads.

Idea. A tile of queries is a task: it reads K and V, which nobody changes, and writes rows of the output that are its alone. A
thread that is free takes the next task, with scratch memory of its own. No sum is shared, so no sum depends on who was
faster: the result has the same bits for any number of threads.

Memory traffic. That of rung 7, byte for byte; only, there are now several cores that ask for it:
    bytes = 4 · 2D · N/BQ + 4 · 2 · B·H·T·D,  N = B·H·T²
Causal: late tiles see more keys than early ones. Long tasks go first (the last tile of a head is its task 0), so that no
thread starts a long one when the others are about to end.

Beside the rung before: as many times faster as there are cores, less what the memory and the clock take back when all
of them work.
"""

from __future__ import annotations

import numpy as np

from minilm_kernels.cpu import pool
from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.ladder.attention import rung7_vectors
from minilm_kernels.ladder.attention.rung7_vectors import BK, BQ, SCALE, attend_tile, traffic
from minilm_kernels.ladder.inputs import Array, AttentionShape, check_attention, heads, softmax_scale

__all__ = ["attention", "attention_with_log_sum_exp", "extra_bytes", "traffic"]


def attention(query: Array, key: Array, value: Array, causal: bool = False) -> Array:
    """O = softmax(Q Kᵀ/√D) V, all (B, H, T, D); causal: query i sees keys j ≤ i."""
    return attention_with_log_sum_exp(query, key, value, causal)[0]


def attention_with_log_sum_exp(query: Array, key: Array, value: Array, causal: bool = False) -> tuple[Array, Array]:
    """The output, and log Σ_j exp(s_ij) of each query (B, H, T): all that rung 9 needs to know of the softmax."""
    check_attention(query, key, value)
    T, D = query.shape[2:]
    output = np.empty_like(query)
    log_sum_exp = np.empty(query.shape[:3], np.float32)
    state = pool.start()
    scratch = np.empty((pool.get_num_threads(), BK + 2 * D + 3, BQ), np.float32)
    arrays = heads(query), heads(key), heads(value), heads(output), log_sum_exp.reshape(-1, T)
    attend(state, *arrays, softmax_scale(D) * SCALE, causal, scratch)
    return output, log_sum_exp


@kernel
def attend(state, Q, K, V, O, L, scale, causal, scratch):
    """Q, K, V, O: (B·H, T, D)."""
    tiles = (Q.shape[1] + BQ - 1) // BQ
    parallel_for(state, Q.shape[0] * tiles, attend_task, (Q, K, V, O, L, scale, causal, scratch, tiles))


@part
def attend_task(worker, task, Q, K, V, O, L, scale, causal, scratch, tiles):
    """One tile of queries of one head, the last tile of a head first."""
    head = task // tiles
    i0 = (tiles - 1 - task % tiles) * BQ
    attend_tile(Q[head], K[head], V[head], O[head], L[head], i0, scale, causal, scratch[worker])


def extra_bytes(shape: AttentionShape) -> int:
    """Bytes beyond inputs and outputs: the tiles of rung 7 for each thread."""
    return rung7_vectors.extra_bytes(shape) * pool.get_num_threads()
