"""Rung 3: the loops of rung 1, compiled.

Idea. Not one line changes: Numba reads the Python function `attend` of rung 1, infers that its numbers are float32 and
its indices integers, and has LLVM translate the loops to machine code.

Memory traffic. That of rung 1, since the loops are the same:
    bytes = 4 · (4D + 6) · N + 4 · B·H·T·D,  N = B·H·T²
Nothing is removed but the interpreter. Most of these bytes do come from a near cache (a row of Q, a row of S), which
is the only reason why this is not slower still.

Beside the rung before: SLOWER than NumPy, and kept because it says something. Compiled is not the same as fast. The
sum over d is a chain: each addition waits for the one before, some four clock cycles, and the compiler may not
reorder it, for float addition is not associative. The processor could start 32 multiplications and additions in each
of those cycles. The BLAS behind rung 2 does; the rungs from 4 on learn how.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from minilm_kernels.ladder.attention import rung1_python_loops
from minilm_kernels.ladder.inputs import Array, AttentionShape, check_attention, heads, softmax_scale

attend = njit(rung1_python_loops.attend)


def attention(query: Array, key: Array, value: Array, causal: bool = False) -> Array:
    """O = softmax(Q Kᵀ/√D) V, all (B, H, T, D); causal: query i sees keys j ≤ i."""
    check_attention(query, key, value)
    T, D = query.shape[2:]
    output = np.empty_like(query)
    scores = np.empty((T, T), np.float32)
    for Q, K, V, O in zip(heads(query), heads(key), heads(value), heads(output)):
        attend(Q, K, V, O, scores, softmax_scale(D), causal)
    return output


def traffic(shape: AttentionShape) -> int:
    """Bytes read and written in arrays: the same loops, the same bytes."""
    return rung1_python_loops.traffic(shape)


def extra_bytes(shape: AttentionShape) -> int:
    """Bytes beyond inputs and outputs: the scores of one head."""
    return rung1_python_loops.extra_bytes(shape)
