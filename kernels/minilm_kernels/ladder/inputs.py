"""What every rung takes: contiguous float32 arrays, checked here in one place so that the rungs show their idea alone."""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray
AttentionShape = tuple[int, int, int, int]  # B, H, T, D
ProductShape = tuple[int, int, int]  # M, N, K


def check_attention(*arrays: Array) -> None:
    """Raise ValueError unless all arrays are contiguous float32 of one shape (B, H, T, D)."""
    shape = arrays[0].shape
    for a in arrays:
        if a.dtype != np.float32 or a.ndim != 4 or a.shape != shape or not a.flags.c_contiguous:
            raise ValueError(
                f"a rung takes contiguous float32 arrays of one shape (B, H, T, D), not {a.dtype} {a.shape} beside "
                f"{shape}; convert with np.ascontiguousarray(a, np.float32), or use minilm_kernels.attention"
            )


def check_product(a: Array, b: Array) -> None:
    """Raise ValueError unless a is (M, K) and b is (K, N), both contiguous float32."""
    for x in (a, b):
        if x.dtype != np.float32 or x.ndim != 2 or not x.flags.c_contiguous:
            raise ValueError(
                f"a rung takes contiguous float32 matrices, not {x.dtype} {x.shape}; "
                "convert with np.ascontiguousarray(a, np.float32), or use minilm_kernels.matmul"
            )
    if a.shape[1] != b.shape[0]:
        raise ValueError(f"a {a.shape} and b {b.shape} do not fit: the columns of a must be as many as the rows of b")


def heads(a: Array) -> Array:
    """(B, H, T, D) → (B·H, T, D): every head is a task of its own, whatever batch it is from."""
    return a.reshape(-1, *a.shape[2:])


def softmax_scale(head_dim: int) -> np.float32:
    """1/√D."""
    return np.float32(1 / math.sqrt(max(head_dim, 1)))
