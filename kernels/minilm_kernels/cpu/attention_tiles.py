"""The steps on one tile of scores, which forward and backward share.

A tile holds KEYS rows of ROW_BYTES: scores of 96 keys by 64 queries (32 in float64), transposed, Sᵀ = K Qᵀ. With queries in the
lanes the softmax over the keys runs down the columns and needs no sum across lanes, K and V are read element
by element where they lie, and only Q is turned once per tile of queries.

The score of the formula, times log2(e) so that exp is exp2, is c.factor · S. The power of two c.unit, the rest of the scale,
goes into Q, where it rounds nothing; c.factor goes into the exponential, which multiplies differences S − m with it.
A tile is worked on in blocks of VECTORS vectors of columns: the part that stays in registers.
"""

from __future__ import annotations

import functools
import math
from typing import Any

from minilm_kernels.cpu.attention_call import (
    HEAD_ROWS,
    HEAD_VECTORS,
    KEYS,
    LOG2E,
    PER_ROW,
    ROWS,
    SHORT_SUM,
    VECTORS,
    is_small,
)
from minilm_kernels.cpu.compile import part, variant
from minilm_kernels.cpu.tile import make_product, transpose_block
from minilm_kernels.cpu.vector import (
    bytes_at,
    lanes,
    load,
    load_first,
    load_like,
    maximum,
    pointer_at,
    splat,
    store,
    where_first,
    where_less,
    words_at,
)


@functools.cache  # two of those below may be the same
def make_rows_product(start: str, rows: int, vectors: int) -> Any:
    """C = A B (start="zero"), C + A B ("add") or C ⊙ factor + A B ("scale") for some vectors of columns and any rows."""
    many, four, one = (make_product(n, vectors, start) for n in (rows, 4, 1))
    most = rows

    @variant(start, rows, vectors)
    def rows_product(a, a_row, a_column, b, b_row, c, c_row, rows, K, factor):
        row = 0
        while row + most <= rows:
            many(a + row * a_row, a_row, a_column, b, b_row, c + row * c_row, c_row, K, factor)
            row += most
        while row + 4 <= rows:
            four(a + row * a_row, a_row, a_column, b, b_row, c + row * c_row, c_row, K, factor)
            row += 4
        while row < rows:
            one(a + row * a_row, a_row, a_column, b, b_row, c + row * c_row, c_row, K, factor)
            row += 1

    return rows_product


product = make_rows_product("zero", ROWS, VECTORS)
add_product = make_rows_product("add", ROWS, VECTORS)
scale_product = make_rows_product("scale", ROWS, VECTORS)
add_head_product = make_rows_product("add", HEAD_ROWS, HEAD_VECTORS)


@part
def head_products(c, a, a_row, b, out, rows, D):
    """out = A B for one block of columns, where a row of A and a column of B are vectors of one head."""
    pitch = lanes(out) * PER_ROW
    n = SHORT_SUM if is_small(c) else max(D, 1)
    product(a, a_row, 1, b, pitch, out, pitch, rows, min(n, D), out)
    for d in range(n, D, n):
        add_product(a + d, a_row, 1, b + d * pitch, pitch, out, pitch, rows, min(n, D - d), out)


@part
def fill(p, n, x):
    """p[0 … n − 1] = x."""
    width = lanes(p)
    value = splat(p, x)
    for i in range(0, n - width + 1, width):
        store(p + i, value)
    for i in range(n // width * width, n):
        p[i] = x


@part
def transpose(source, source_row, rows, columns, target, target_row, factor):
    """target[c, r] = factor · source[r, c]."""
    width = lanes(source)
    whole_rows, whole_columns = rows // width * width, columns // width * width
    for r in range(0, whole_rows, width):
        for c in range(0, whole_columns, width):
            transpose_block(
                source + (r * source_row + c), source_row, target + (c * target_row + r), target_row, factor
            )
    for r in range(rows):
        for c in range(whole_columns if r < whole_rows else 0, columns):
            target[c * target_row + r] = source[r * source_row + c] * factor


@part
def copy_rows(source, source_row, rows, columns, target, target_row, wide, factors):
    """target[r, c] = factors[r] · source[r, c]; the columns from there to `wide`, whole vectors, become 0."""
    width = lanes(source)
    for r in range(rows):
        for c in range(0, wide, width):
            store(target + (r * target_row + c), load_first(source + (r * source_row + c), columns - c) * factors[r])


@part
def tile_pointer(p, batch, batch_stride, head, head_stride, row, row_stride):
    """The first element of a row of a (B, H, T, D) array."""
    return p + (batch * batch_stride + head * head_stride + row * row_stride)


@part
def keys_seen(c, query):
    """How many keys, counted from the first, this query may see if no mask hides them."""
    return max(0, min(c.Tk, query + 1 + c.Tk - c.Tq)) if c.causal else c.Tk


@part
def all_padded(c, b, key, keys):
    """Whether the padding mask hides all of these keys."""
    if c.padding == 0:
        return False
    padding = bytes_at(c.padding) + (b * c.Tk + key)
    seen = 0
    for j in range(keys):
        seen += padding[j]
    return seen == 0


@part
def stage_addends(c, b, h, query, queries, key, keys, staged):
    """staged[i, j] = log2(e) / c.factor · bias[i, j], −∞ where the mask hides key j from query i.

    A finite bias stays finite: the product must not make a row of the most negative numbers a hidden row.
    """
    width = lanes(staged)
    lowest = splat(staged, c.lowest)
    times = LOG2E / c.factor
    fill(staged, width * PER_ROW * KEYS, 0.0)
    for i in range(queries):
        row = staged + i * KEYS
        if c.bias != 0:
            at = tile_pointer(pointer_at(c.bias, staged), b, c.bias_batch, h, c.bias_head, query + i, c.bias_row)
            at += key * c.bias_column
            if c.bias_column != 1:
                for j in range(keys):
                    row[j] = at[j * c.bias_column]
                at = row
            for j in range(0, keys, width):
                x = load_first(at + j, keys - j)
                store(row + j, where_less(x, lowest, x, maximum(x * times, lowest)))
        if c.mask != 0:
            seen = tile_pointer(bytes_at(c.mask), b, c.mask_batch, h, c.mask_head, query + i, c.mask_row)
            seen += key * c.mask_column
            for j in range(keys):
                if seen[j * c.mask_column] == 0:
                    row[j] = -math.inf


@part
def add_staged(S, keys, staged, turned):
    """S[j, i] += staged[i, j] for one block of columns."""
    width = lanes(S)
    pitch = width * PER_ROW
    for v in range(VECTORS):
        for j in range(0, keys, width):
            transpose_block(staged + (v * width * KEYS + j), KEYS, turned, width, 1.0)
            for k in range(min(width, keys - j)):
                at = S + ((j + k) * pitch + v * width)
                store(at, load(at) + load(turned + k * width))


@part
def hide_padding(c, S, b, key, keys):
    """S[j] = −∞ where the padding mask hides key j, for one block of columns."""
    width = lanes(S)
    padding = bytes_at(c.padding) + (b * c.Tk + key)
    for j in range(keys):
        if padding[j] == 0:
            fill(S + j * width * PER_ROW, VECTORS * width, -math.inf)


@part
def hide_future(S, keys, first):
    """S[j, i] = −∞ for i < first + j: queries that come before the key, for one block of columns."""
    width = lanes(S)
    hidden = splat(S, -math.inf)
    for j in range(max(0, 1 - first), keys):
        for v in range(VECTORS):
            at = S + (j * width * PER_ROW + v * width)
            store(at, where_first(first + j - v * width, hidden, load(at)))


@part
def score_block(c, K, b, key, keys, Q, query, S, staged, turned):
    """S = log2(e) / c.factor · (scale K Qᵀ + bias), −∞ where a key is hidden, for one block of columns.

    K: the first of the keys; Q: (D, columns), times c.unit; query: the number of the first column's query.
    """
    head_products(c, K, c.key_row, Q, S, keys, c.D)
    if c.bias != 0 or c.mask != 0:
        add_staged(S, keys, staged, turned)
    if c.padding != 0:
        hide_padding(c, S, b, key, keys)
    if c.causal and key + keys > keys_seen(c, query):
        hide_future(S, keys, key - query - (c.Tk - c.Tq))


@part
def drop(c, W, row, key, keys):
    """W[j, i] = 0 where dropout strikes (random.py), for one block of columns; row: of the scores, of the first column."""
    width = lanes(W)
    for v in range(VECTORS):
        zero = splat(W, 0.0)
        k0 = load_like(words_at(c.k0) + (row + v * width), zero)
        k1 = load_like(words_at(c.k1) + (row + v * width), zero)
        below = splat(k0, c.drop_below)
        for j in range(keys):
            z = k0 + (((key + j) * 0x9E3779B9) & 0xFFFFFFFF)
            z = (z ^ (z >> 16)) * 0x7FEB352D
            z = (z ^ (z >> 15)) + k1
            z = z * 0x846CA68B
            z = z ^ (z >> 16)
            at = W + (j * width * PER_ROW + v * width)
            store(at, where_less(z >> 8, below, zero, load(at)))
