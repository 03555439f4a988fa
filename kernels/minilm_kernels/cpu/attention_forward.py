"""Attention forward in one pass over the keys: a tile of scores is made, used and forgotten.    [Dao et al. 2022]

A task takes one tile of queries of one head and walks over the keys. It keeps, per query, the largest score so far m, the sum
l of 2^(score − m), and the output not yet divided by l; when a later tile raises m, both are scaled by 2^(old m − new m):

    S = K Qᵀ;  m' = max(m, max_j S_j);  α = 2^(m − m');  W = 2^(S − m');  l ← α l + Σ_j W_j;  Oᵀ ← α Oᵀ + Vᵀ W

A tile's sums begin at 0 and are then added to those of the tiles before, so that the errors of a long sum grow with the tiles.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm_kernels.cpu import pool as threads
from minilm_kernels.cpu.attention_call import (
    KEYS,
    OUTPUT,
    PER_ROW,
    ROW_BYTES,
    SHORT_KEYS,
    VECTORS,
    AttentionResiduals,
    call_of,
    describe,
    is_small,
    padding_bytes,
    random_words,
    rows_of,
)
from minilm_kernels.cpu.attention_tiles import (
    all_padded,
    drop,
    fill,
    keys_seen,
    scale_product,
    score_block,
    stage_addends,
    tile_pointer,
    transpose,
)
from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.exponential import exp2_of_product
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.vector import (
    address_of,
    fma,
    lanes,
    load,
    maximum,
    pointer,
    pointer_at,
    splat,
    store,
    where_less,
)

Array = Any


def attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    causal: bool = False,
    key_padding_mask: Array | None = None,
    bias: Array | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: int | None = None,
) -> tuple[Array, AttentionResiduals]:
    """O = softmax(Q Kᵀ/√d_k + bias) V, as reference.attention; nothing of the size Tq × Tk is kept.

    The output lies in memory as (B, Tq, H, Dv), so that merging the heads copies nothing.
    """
    query, key, value = rows_of(query), rows_of(key), rows_of(value)
    B, H, Tq, D = query.shape
    Dv = value.shape[3]
    output = np.empty((B, Tq, H, Dv), query.dtype)
    statistics = np.empty((2, B, H, Tq), query.dtype)
    padding = padding_bytes(key_padding_mask)
    words = random_words(seed, B * H * Tq) if dropout else None
    numbers, floats = describe(query, key, value, causal, padding, bias, scale, dropout, words)
    tiles = -(-Tq * query.itemsize // ROW_BYTES)
    memory = threads.scratch(scratch_bytes(D, Dv, query.itemsize))
    forward(threads.start(), memory, numbers, *floats, output, statistics, B * H * tiles)
    output = output.transpose(0, 2, 1, 3)
    residuals = AttentionResiduals(numbers, floats, query, key, value, output, statistics, padding, bias, words)
    return output, residuals


def scratch_bytes(D: int, Dv: int, itemsize: int) -> int:
    """Q and O, turned; S; the addends and a turned block of them; m, l, α."""
    return (D + Dv + KEYS + 3) * ROW_BYTES + KEYS * ROW_BYTES + ROW_BYTES * ROW_BYTES // itemsize


@kernel
def forward(pool, memory, numbers, scale, kept, lowest, output, statistics, count):
    """Run the tasks: one per batch, head and tile of queries."""
    numbers[OUTPUT] = address_of(pointer(output))
    numbers[OUTPUT + 1] = address_of(pointer(statistics))
    numbers[OUTPUT + 2] = address_of(pointer(statistics) + statistics.size // 2)
    c = call_of(numbers, scale, kept, lowest)
    parallel_for(pool, count, forward_task, (address_of(pointer(memory)), memory.shape[1], c, pointer(output)))


@part
def forward_task(worker, i, memory, memory_row, c, like):
    """The output of one tile of queries."""
    width = lanes(like)
    queries = width * PER_ROW
    tiles = (c.Tq + queries - 1) // queries
    # the last tile of a head comes first: with a causal mask it is the longest
    b, h, first = i // tiles // c.H, i // tiles % c.H, (tiles - 1 - i % tiles) * queries
    n = min(queries, c.Tq - first)
    block = VECTORS * width
    columns = (n + block - 1) // block * block

    Q = pointer_at(memory + worker * memory_row, like)  # (D, queries), turned
    O = Q + c.D * queries  # (Dv, queries), turned
    S = O + c.Dv * queries  # (KEYS, queries)
    m = S + KEYS * queries
    l = m + queries
    alpha = l + queries
    staged = alpha + queries  # (queries, KEYS)
    turned = staged + KEYS * queries

    if n < queries:
        fill(Q, c.D * queries, 0.0)
    at = tile_pointer(pointer_at(c.query, like), b, c.query_batch, h, c.query_head, first, c.query_row)
    transpose(at, c.query_row, n, c.D, Q, queries, c.unit)
    fill(O, c.Dv * queries, 0.0)
    fill(m, queries, c.lowest)
    fill(l, queries, 0.0)

    group = c.H // c.H_kv
    K = tile_pointer(pointer_at(c.key, like), b, c.key_batch, h // group, c.key_head, 0, 0)
    V = tile_pointer(pointer_at(c.value, like), b, c.value_batch, h // group, c.value_head, 0, 0)
    stop = keys_seen(c, first + n - 1)
    tile = SHORT_KEYS if is_small(c) else KEYS
    for key in range(0, stop, tile):
        keys = min(tile, stop - key)
        if all_padded(c, b, key, keys):
            continue
        if c.bias != 0 or c.mask != 0:
            stage_addends(c, b, h, first, n, key, keys, staged)
        for x in range(0, columns, block):
            seen = min(keys, keys_seen(c, first + x + block - 1) - key)  # no later query of this block sees more
            if seen > 0:
                score_block(c, K + key * c.key_row, b, key, seen, Q + x, first + x, S + x, staged + x * KEYS, turned)
                softmax_block(S + x, seen, c.factor, m + x, l + x, alpha + x)
                if c.drop_below > 0:
                    drop(c, S + x, (b * c.H + h) * c.Tq + first + x, key, seen)
                scale_product(
                    V + key * c.value_row, 1, c.value_row, S + x, queries, O + x, queries, c.Dv, seen, alpha + x
                )
    finish(c, O, m, l, alpha, (b * c.H + h) * c.Tq + first, n)
    at = tile_pointer(pointer_at(c.output, like), b, c.output_batch, h, c.output_head, first, c.output_row)
    transpose(O, queries, c.Dv, n, at, c.output_row, 1.0)


@part
def softmax_block(S, keys, factor, m, l, alpha):
    """S ← 2^(factor (S − m)), m and l brought up to date, α = 2^(factor (old m − new m)), for one block of columns."""
    width = lanes(S)
    pitch = width * PER_ROW
    for v in range(VECTORS):
        column = S + v * width
        old = load(m + v * width)
        m0, m1, m2, m3 = old, old, old, old
        for j in range(0, keys - 3, 4):
            m0 = maximum(load(column + j * pitch), m0)
            m1 = maximum(load(column + (j + 1) * pitch), m1)
            m2 = maximum(load(column + (j + 2) * pitch), m2)
            m3 = maximum(load(column + (j + 3) * pitch), m3)
        for j in range(keys // 4 * 4, keys):
            m0 = maximum(load(column + j * pitch), m0)
        new = maximum(maximum(m0, m1), maximum(m2, m3))
        before = exp2_of_product(old - new, factor)
        store(m + v * width, new)
        store(alpha + v * width, before)
        even, odd = splat(S, 0.0), splat(S, 0.0)
        for j in range(0, keys - 1, 2):
            w0 = exp2_of_product(load(column + j * pitch) - new, factor)
            w1 = exp2_of_product(load(column + (j + 1) * pitch) - new, factor)
            store(column + j * pitch, w0)
            store(column + (j + 1) * pitch, w1)
            even += w0
            odd += w1
        if keys % 2:
            w0 = exp2_of_product(load(column + (keys - 1) * pitch) - new, factor)
            store(column + (keys - 1) * pitch, w0)
            even += w0
        store(l + v * width, fma(load(l + v * width), before, even + odd))


@part
def finish(c, O, m, l, factor, row, n):
    """O ← O/l, 0 for a query that saw no key; keep m and 1/l for the backward pass."""
    width = lanes(O)
    queries = width * PER_ROW
    zero, one = splat(O, 0.0), splat(O, 1.0)
    for x in range(0, queries, width):
        total = load(l + x)
        total_or_1 = where_less(
            total, one * 0.5, one, total
        )  # the largest weight alone makes l ≥ 1, unless all is hidden
        store(factor + x, where_less(total, one * 0.5, zero, one / total_or_1))
    for i in range(n):
        pointer_at(c.row_max, O)[row + i] = m[i]
        pointer_at(c.row_factor, O)[row + i] = factor[i]
    for x in range(0, queries, width):
        f = load(factor + x) * c.kept
        for d in range(c.Dv):
            store(O + (d * queries + x), load(O + (d * queries + x)) * f)
