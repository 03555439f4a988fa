"""What the wrappers hand to kernels: arrays that a kernel can read, strides, and numbers of exactly the C type."""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm_kernels.gpu.compile import real
from minilm_kernels.namespace import array_namespace
from minilm_kernels.random import kept_scale, threshold

Array = Any
i32, i64, u32, u64 = np.int32, np.int64, np.uint32, np.uint64


def forward_strides(a: Array) -> Array:
    """The array itself if no stride is negative, else a copy: a pointer stands at the start of what a kernel reads."""
    return a if all(stride >= 0 for stride in a.strides) else array_namespace(a).ascontiguousarray(a)


def dense_rows(a: Array) -> Array:
    """The array itself if its last axis lies densely in memory, else a copy that does."""
    if a.strides[-1] == a.itemsize and all(stride >= 0 for stride in a.strides):
        return a
    return array_namespace(a).ascontiguousarray(a)


def dense(a: Array) -> Array:
    """The array itself if it is C-contiguous, else a copy that is."""
    return a if a.flags.c_contiguous else array_namespace(a).ascontiguousarray(a)


def strides(a: Array) -> tuple[np.int64, ...]:
    """STRIDES in scores.cuh: batch, head and row of a (B, H, T, D) array, in elements."""
    return tuple(i64(stride // a.itemsize) for stride in a.strides[:3])


def shape(query: Array, key: Array, value: Array) -> tuple[np.int32, ...]:
    """SHAPE in scores.cuh."""
    B, H, Tq, D = query.shape
    return i32(B), i32(H), i32(key.shape[1]), i32(Tq), i32(key.shape[2]), i32(D), i32(value.shape[3])


def masks(causal: bool, padding: Array | None, bias: Array | None) -> tuple[Any, ...]:
    """MASKS in scores.cuh. A bias of booleans goes to `seen`; axes along which it is broadcast have the stride 0."""
    steps = [0, 0, 0, 0]
    floats = seen = None
    if bias is not None:
        lead = 4 - bias.ndim
        steps[lead:] = [0 if n == 1 else stride // bias.itemsize for n, stride in zip(bias.shape, bias.strides)]
        floats, seen = (None, bias) if bias.dtype == bool else (bias, None)
    return (i32(causal), padding, floats, seen, *(i64(step) for step in steps))


def dropping(like: Array, dropout: float, seed: int | None) -> tuple[Any, ...]:
    """DROPOUT in scores.cuh."""
    return u64(seed or 0), u32(threshold(dropout)), real(like)(kept_scale(dropout))


def empty_like_heads(shape: tuple[int, ...], like: Array) -> Array:
    """A new (B, H, T, D) array whose heads lie in memory as those of `like` do: between positions, or around them."""
    xp = array_namespace(like)
    B, H, T, D = shape
    if like.strides[1] < like.strides[2]:
        return xp.empty((B, T, H, D), like.dtype).transpose(0, 2, 1, 3)
    return xp.empty(shape, like.dtype)
