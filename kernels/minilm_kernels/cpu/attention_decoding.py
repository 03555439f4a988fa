"""Attention of a few new queries against a cache of keys and values: as fast as the cache can be read.

Each number of the cache is used once per query that shares its head, so memory is what one waits for, and a single head must
keep all threads busy. The keys are cut into chunks of fixed length; a task takes one chunk and one key head, for all queries
that use it, and leaves its own largest score m, sum l and output o. The parts are then put together in order:

    m = max_c m_c,   O = Σ_c 2^(m_c − m) o_c / Σ_c 2^(m_c − m) l_c                    [Dao et al. 2023, Flash-Decoding]
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minilm_kernels.cpu import pool as threads
from minilm_kernels.cpu.attention_call import (
    LOG2E,
    OUTPUT,
    ROW_BYTES,
    call_of,
    describe,
    padding_bytes,
    rows_of,
)
from minilm_kernels.cpu.attention_forward import attention
from minilm_kernels.cpu.attention_tiles import all_padded, copy_rows, fill, keys_seen, tile_pointer
from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.exponential import exp2
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.tile import make_product
from minilm_kernels.cpu.vector import (
    address_of,
    bytes_at,
    fma,
    lanes,
    load,
    load_first,
    maximum,
    pointer,
    pointer_at,
    reduce_add,
    reduce_max,
    splat,
    store,
    store_first,
)

CHUNK = 256  # keys of a task
FEW = 16  # more queries than this are faster in tiles

Array = Any


def attention_decode(
    query: Array,
    key: Array,
    value: Array,
    *,
    causal: bool = True,
    key_padding_mask: Array | None = None,
    bias: Array | None = None,
    scale: float | None = None,
) -> Array:
    """attention for a few new queries against a cache, as reference.attention_decode: the output alone."""
    B, H, Tq, D = query.shape
    if Tq > FEW:
        return attention(
            query, key, value, causal=causal, key_padding_mask=key_padding_mask, bias=bias, scale=scale
        )[0]  # fmt: skip
    query, key, value = rows_of(query), rows_of(key), rows_of(value)
    H_kv, Tk, Dv = key.shape[1], key.shape[2], value.shape[3]
    output = np.empty((B, Tq, H, Dv), query.dtype)
    padding = padding_bytes(key_padding_mask)
    numbers, floats = describe(query, key, value, causal, padding, bias, scale)
    chunks = max(1, -(-Tk // CHUNK))
    rows = H // H_kv * Tq
    partial = np.empty((B * H_kv * chunks, rows, Dv + 2), query.dtype)
    memory = threads.scratch(rows * (CHUNK + D + ROW_BYTES) * query.itemsize)
    decode(threads.start(), memory, numbers, *floats, output, partial, chunks)
    return output.transpose(0, 2, 1, 3)


@kernel
def decode(pool, memory, numbers, scale, kept, lowest, output, partial, chunks):
    """Run the tasks: one per chunk, batch and key head; then one per batch and key head to put the chunks together."""
    numbers[OUTPUT] = address_of(pointer(output))
    c = call_of(numbers, scale, kept, lowest)
    heads = c.B * c.H_kv
    if output.size > 0:
        where = address_of(pointer(memory))
        if chunks == 1:
            parallel_for(pool, heads, decode_whole_task, (where, memory.shape[1], c, pointer(partial)))
        else:
            parallel_for(pool, heads * chunks, decode_task, (where, memory.shape[1], c, pointer(partial), chunks))
            parallel_for(pool, heads, combine_task, (c, pointer(partial), chunks))


@part
def decode_whole_task(worker, i, memory, memory_row, c, partial):
    """All keys of a head: what decode_task and combine_task do, without waiting in between."""
    decode_task(worker, i, memory, memory_row, c, partial, 1)
    combine_task(worker, i, c, partial, 1)


@part
def decode_task(worker, i, memory, memory_row, c, partial, chunks):
    """One chunk of keys for all queries that share its head: m, l and o of each."""
    b, kv, start = i // chunks // c.H_kv, i // chunks % c.H_kv, i % chunks * CHUNK
    keys = min(CHUNK, c.Tk - start)
    group = c.H // c.H_kv
    rows = group * c.Tq
    width = lanes(partial)
    wide = (c.D + width - 1) // width * width
    W = pointer_at(memory + worker * memory_row, partial)  # (rows, CHUNK): scores, then weights
    Q = W + rows * CHUNK  # (rows, wide), scaled
    part_o = partial + i * rows * (c.Dv + 2)
    stop = keys_seen(c, c.Tq - 1) - start
    if stop <= 0 or all_padded(c, b, start, keys):
        for r in range(rows):
            fill(part_o + r * (c.Dv + 2), c.Dv + 2, 0.0)
            part_o[r * (c.Dv + 2) + c.Dv] = c.lowest
        return
    fill(W, group, c.scale * LOG2E)
    for q in range(c.Tq):
        at = tile_pointer(pointer_at(c.query, partial), b, c.query_batch, kv * group, c.query_head, q, c.query_row)
        copy_rows(at, c.query_head, group, c.D, Q + q * wide, c.Tq * wide, wide, W)  # rows are (head, query)
    K = tile_pointer(pointer_at(c.key, partial), b, c.key_batch, kv, c.key_head, start, c.key_row)
    V = tile_pointer(pointer_at(c.value, partial), b, c.value_batch, kv, c.value_head, start, c.value_row)
    dot_products(K, c.key_row, keys, Q, wide, rows, c.D, W)
    for r in range(rows):
        row = part_o + r * (c.Dv + 2)
        query = r % c.Tq
        hide_and_add(c, W + r * CHUNK, b, kv * group + r // c.Tq, query, start, keys)
        row[c.Dv], row[c.Dv + 1] = softmax_row(W + r * CHUNK, keys, c.lowest)
        weighted_sum(V, c.value_row, keys, W + r * CHUNK, c.Dv, row)


@part
def dot_products(K, key_row, keys, Q, query_row, rows, D, S):
    """S[r, j] = Σ_d Q[r, d] K[j, d]: four keys at a time are loaded from memory, once for all rows of Q."""
    width = lanes(K)
    whole = D // width * width
    for j in range(0, keys, 4):  # behind the last key the last one again: what is written there is hidden later
        k0, k1 = K + j * key_row, K + min(j + 1, keys - 1) * key_row
        k2, k3 = K + min(j + 2, keys - 1) * key_row, K + min(j + 3, keys - 1) * key_row
        for r in range(rows):
            q, s = Q + r * query_row, S + (r * CHUNK + j)
            s0 = splat(K, 0.0)
            s1, s2, s3 = s0, s0, s0
            for d in range(0, whole, width):
                x = load(q + d)
                s0, s1 = fma(load(k0 + d), x, s0), fma(load(k1 + d), x, s1)
                s2, s3 = fma(load(k2 + d), x, s2), fma(load(k3 + d), x, s3)
            if whole < D:
                x, n = load(q + whole), D - whole
                s0, s1 = fma(load_first(k0 + whole, n), x, s0), fma(load_first(k1 + whole, n), x, s1)
                s2, s3 = fma(load_first(k2 + whole, n), x, s2), fma(load_first(k3 + whole, n), x, s3)
            s[0], s[1], s[2], s[3] = reduce_add(s0), reduce_add(s1), reduce_add(s2), reduce_add(s3)


@part
def hide_and_add(c, S, b, h, query, start, keys):
    """Add the bias to a row of scores and write −∞ where a key is hidden, also behind the last key of the chunk."""
    if c.bias != 0:
        bias = tile_pointer(pointer_at(c.bias, S), b, c.bias_batch, h, c.bias_head, query, c.bias_row)
        for j in range(keys):
            x = bias[(start + j) * c.bias_column]
            S[j] = S[j] + (x if x < c.lowest else max(x * LOG2E, c.lowest))
    if c.mask != 0:
        mask = tile_pointer(bytes_at(c.mask), b, c.mask_batch, h, c.mask_head, query, c.mask_row)
        for j in range(keys):
            if mask[(start + j) * c.mask_column] == 0:
                S[j] = -math.inf
    if c.padding != 0:
        padding = bytes_at(c.padding) + (b * c.Tk + start)
        for j in range(keys):
            if padding[j] == 0:
                S[j] = -math.inf
    seen = max(0, min(keys, keys_seen(c, query) - start))
    fill(S + seen, CHUNK - seen, -math.inf)


@part
def softmax_row(S, keys, lowest):
    """S ← 2^(S − m), m = max S (over whole vectors; −∞ stands behind the last key); returns m and Σ S."""
    width = lanes(S)
    top = splat(S, lowest)
    for j in range(0, keys, width):
        top = maximum(top, load(S + j))
    m = reduce_max(top)
    total = splat(S, 0.0)
    for j in range(0, keys, width):
        w = exp2(load(S + j) - m)
        store(S + j, w)
        total += w
    return m, reduce_add(total)


four_vectors = make_product(1, 4)


@part
def weighted_sum(V, value_row, keys, W, Dv, o):
    """o = Σ_j W[j] V[j], four vectors of each row at a time, so that memory is read in order."""
    width = lanes(V)
    whole = Dv // (4 * width) * 4 * width
    for x in range(0, whole, 4 * width):
        four_vectors(W, 0, 1, V + x, value_row, o + x, 0, keys, W)
    for x in range(whole, Dv, width):
        total = splat(V, 0.0)
        for j in range(keys):
            total = fma(splat(V, W[j]), load_first(V + (j * value_row + x), Dv - x), total)
        store_first(o + x, total, Dv - x)


@part
def combine_task(worker, i, c, partial, chunks):
    """The output of the queries that share one key head, from the parts that its chunks left."""
    b, kv = i // c.H_kv, i % c.H_kv
    group = c.H // c.H_kv
    rows, row = group * c.Tq, c.Dv + 2
    width = lanes(partial)
    for r in range(rows):
        first = partial + (i * chunks * rows + r) * row
        m = c.lowest
        for k in range(chunks):
            m = max(m, first[k * rows * row + c.Dv])
        l = 0.0
        for k in range(chunks):
            at = first + k * rows * row
            at[c.Dv] = reduce_max(exp2(splat(partial, at[c.Dv] - m)))
            l += at[c.Dv] * at[c.Dv + 1]
        factor = 0.0 if l == 0.0 else 1.0 / l
        h, query = kv * group + r // c.Tq, r % c.Tq
        output = tile_pointer(pointer_at(c.output, partial), b, c.output_batch, h, c.output_head, query, c.output_row)
        for x in range(0, c.Dv, width):
            total = splat(partial, 0.0)
            for k in range(chunks):
                at = first + k * rows * row
                total = fma(load_first(at + x, c.Dv - x), splat(partial, at[c.Dv]), total)
            store_first(output + x, total * factor, c.Dv - x)
