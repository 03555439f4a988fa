"""What Python hands to the attention kernels: addresses, sizes and strides, in one tuple with names.

Addresses instead of arrays, so that one compiled kernel per dtype serves every layout, also read-only arrays. The arrays
live in the caller until the kernel returns.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numba import config
from numba.np.unsafe.ndarray import to_fixed_tuple

from minilm_kernels.cpu.compile import part
from minilm_kernels.cpu.micro import address_of
from minilm_kernels.cpu.target import TARGET
from minilm_kernels.random import kept_scale, row_keys, threshold

ROW_BYTES = 256  # a row of a tile: 64 float32 or 32 float64 queries
PER_ROW = ROW_BYTES // TARGET.vector_bytes  # vectors in a row
KEYS = 96  # rows of a tile: keys that are looked at together, whole vectors of any length
# the product tiles that are kept in registers: for columns that are queries, and for columns along head_dim
ROWS, VECTORS = (6, 4) if TARGET.registers == 32 else (6, 2)
HEAD_ROWS, HEAD_VECTORS = (8, 2) if TARGET.registers == 32 else (6, 2)
LOG2E = math.log2(math.e)
FEW_KEYS = 256  # so few that the backward pass looks at all keys of a query before it goes on (attention_scores.py)
# keys · head_dim below this: long sums are made of short ones, as a library makes products of small matrices, at some cost
SMALL, SHORT_KEYS, SHORT_SUM = 8192, 32, 16

Array = Any


class Call(NamedTuple):
    """One call of attention: where the arrays begin, how large they are, how far apart (in elements) their parts are.

    An address of 0 says that there is no such array. All but the first six are whole numbers, which Python passes as one
    array: a tuple of that many numbers takes Numba longer to unpack than a small attention takes to compute.
    """

    scale: float
    kept: float  # what a weight that dropout leaves is multiplied with
    unkept: float  # 1/kept, or 0
    lowest: float  # the most negative finite number
    unit: float  # a power of two with the sign of scale, and
    factor: float  # a number from 1 to 2: their product is scale · log2(e)
    query: int  # (B, H, Tq, D)
    key: int  # (B, H_kv, Tk, D)
    value: int  # (B, H_kv, Tk, Dv)
    padding: int  # (B, Tk) bytes, 0 where a key is hidden
    bias: int  # floats, by the strides below
    mask: int  # bytes, 0 where a key is hidden, by the strides below
    k0: int  # (B·H·Tq and a tile more) 32-bit words: the keys of the rows' random numbers
    k1: int
    drop_below: int  # a weight is dropped if the upper 24 bits of its draw are below this
    output: int  # (B, H, Tq, Dv)
    row_max: int  # (B, H, Tq): the largest score of a query's row, as attention_tiles.score_block makes it
    row_factor: int  # (B, H, Tq): 1/Σ 2^(factor (score − row_max)), or 0 where no key is seen
    B: int
    H: int
    H_kv: int
    Tq: int
    Tk: int
    D: int
    Dv: int
    causal: int
    query_batch: int
    query_head: int
    query_row: int
    key_batch: int
    key_head: int
    key_row: int
    value_batch: int
    value_head: int
    value_row: int
    output_batch: int
    output_head: int
    output_row: int
    bias_batch: int
    bias_head: int
    bias_row: int
    bias_column: int
    mask_batch: int
    mask_head: int
    mask_row: int
    mask_column: int


FLOATS = 6
NUMBERS = len(Call._fields) - FLOATS
OUTPUT = Call._fields.index("output") - FLOATS  # where the kernel writes the addresses of output, row_max, row_factor
LAYOUT = Call._fields.index("B") - FLOATS  # from here on shapes and strides


class AttentionResiduals(NamedTuple):
    """What attention_backward needs from attention: O(T) beside the inputs and the output."""

    numbers: Array  # the whole numbers of the Call
    floats: tuple[float, float, float]  # scale, kept, lowest
    query: Array
    key: Array
    value: Array
    output: Array
    statistics: Array  # (2, B, H, Tq): row_max and row_factor
    padding: Array | None
    bias: Array | None  # as it was given
    words: Array | None  # (2, n) uint32: k0 and k1

    @property
    def shared(self) -> tuple[Array | None, ...]:
        """Those that the caller has as well; one array where query, key and value are the parts of one."""
        _, _, query, key, value, output, _, padding, bias, _ = self
        packed = query.base
        one = isinstance(packed, np.ndarray) and packed is key.base and packed is value.base
        if one and packed.size == query.size + key.size + value.size:
            return packed, output, padding, bias
        return query, key, value, output, padding, bias


def rows_of(a: Array) -> Array:
    """The array itself if its last axis lies densely in memory, else a copy that does."""
    return a if a.strides[-1] == a.itemsize and a.flags.aligned else np.ascontiguousarray(a)


def empty_heads(shape: tuple[int, int, int, int], heads_inside: bool, dtype: Any) -> Array:
    """A new (B, H, T, D) array; heads_inside: lying in memory as (B, T, H, D), so that merging the heads copies nothing."""
    B, H, T, D = shape
    return np.empty((B, T, H, D), dtype).transpose(0, 2, 1, 3) if heads_inside else np.empty(shape, dtype)


def heads_are_inside(a: Array) -> bool:
    """Whether the heads of one position lie next to each other, as in a view of (B, T, H·D)."""
    return a.strides[1] < a.strides[2]


def address(a: Array | None) -> int:
    return 0 if a is None else address_of(a)


@functools.lru_cache(maxsize=256)
def layout(query: tuple, key: tuple, value: tuple, itemsize: int, causal: bool, bias: tuple | None) -> Array:
    """The numbers that shapes and strides fix, zeros for the others. Each array is given as (shape, strides).

    bias: (shape, strides, itemsize, whether it is a mask).
    """
    (B, H, Tq, D), (_, H_kv, Tk, _), Dv = query[0], key[0], value[0][3]
    strides = [s // itemsize for _, strides in (query, key, value) for s in strides[:3]]
    strides += [Tq * H * Dv, Dv, H * Dv]  # the output lies in memory as (B, Tq, H, Dv)
    none = [0] * 4
    own = list(none)
    if bias is not None:
        lead = 4 - len(bias[0])
        own[lead:] = [0 if n == 1 else s // bias[2] for n, s in zip(bias[0], bias[1])]
    is_mask = bias is not None and bias[3]
    strides += none + own if is_mask else own + none
    return np.array([0] * LAYOUT + [B, H, H_kv, Tq, Tk, D, Dv, int(causal), *strides], np.int64)


def describe(
    query: Array,
    key: Array,
    value: Array,
    causal: bool,
    padding: Array | None,
    bias: Array | None,
    scale: float | None,
    dropout: float = 0.0,
    words: Array | None = None,
) -> tuple[Array, tuple[float, float, float]]:
    """The numbers of the Call for these arrays, whose last axes are dense (the kernel adds the output's), and its floats."""
    is_mask = bias is not None and bias.dtype == bool
    numbers = layout(
        (query.shape, query.strides), (key.shape, key.strides), (value.shape, value.strides), query.itemsize, causal,
        None if bias is None else (bias.shape, bias.strides, bias.itemsize, is_mask),
    ).copy()  # fmt: skip
    numbers[:3] = address_of(query), address_of(key), address_of(value)
    if padding is not None:
        numbers[3] = address(padding)
    if bias is not None:
        numbers[5 if is_mask else 4] = address(bias)
    kept = 1.0
    if words is not None:
        numbers[6:9] = address(words), address(words[1]), threshold(dropout)
        kept = kept_scale(dropout)
    scale = 1 / math.sqrt(query.shape[3]) if scale is None else float(scale)
    return numbers, (scale, kept, LOWEST[query.dtype])


LOWEST = {np.dtype(t): float(np.finfo(t).min) for t in (np.float32, np.float64)}


def padding_bytes(mask: Array | None) -> Array | None:
    """A (B, Tk) mask of any dtype as dense bytes."""
    if mask is None:
        return None
    mask = mask if mask.dtype == bool else mask != 0
    return np.ascontiguousarray(mask).view(np.uint8)


def random_words(seed: int | None, rows: int) -> Array:
    """k0 and k1 of every row of scores, and a tile of zeros, as rows are read a vector at a time."""
    words = np.zeros((2, rows + ROW_BYTES // 4), np.uint32)
    words[0, :rows], words[1, :rows] = row_keys(seed or 0, np.arange(rows))
    return words


@part
def call_of(numbers, scale, kept, lowest):
    """The Call with its names, inside a kernel."""
    unit, factor = unit_and_factor(scale * LOG2E)
    unkept = 1 / kept if kept > 0 else 0.0
    return Call(scale, kept, unkept, lowest, unit, factor, *to_fixed_tuple(numbers, NUMBERS))


@part
def is_small(c):
    """Whether long sums are made of short ones."""
    return c.Tk * max(c.D, c.Dv) < SMALL


@part
def unit_and_factor(x):
    """x = unit · factor: a power of two with the sign of x, so that a product with it is exact, and a factor from 1 to 2."""
    half, exponent = math.frexp(abs(x))
    if half == 0.0:
        return 0.0, 1.0
    return math.copysign(math.ldexp(1.0, exponent - 1), x), 2 * half


if config.DISABLE_JIT:

    def to_fixed_tuple(numbers, n):
        return tuple(numbers.tolist())
