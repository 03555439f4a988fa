"""Attention backward by recomputation: what the forward pass keeps is O(T), and every tile of weights is made again.

A task takes the keys and values of one head (or a chunk of them) and all queries that use them, so that dK and dV have one
writer. Some tiles of queries wait in the processor's second cache while the keys go by, a tile at a time:

    dV += Wᵀ dO,   dK += dSᵀ Q,   dQ += dS K

Where all keys of a row are few, the keys go by twice: first for W, dP and δ, which wait as well (attention_scores.py).

Where there are few heads the keys are cut into chunks, by the shapes alone. Then dQ has a part from each chunk; a chunk adds
its part as soon as the chunk before it has, so that the order, and with it every bit, is always the same. Nobody waits in vain:
tasks are handed out in the order of their numbers, so the chunk before is done or at work.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import config

from minilm_kernels.cpu import pool as threads
from minilm_kernels.cpu.attention_bias import gradient_of_bias
from minilm_kernels.cpu.attention_call import (
    FEW_KEYS,
    HEAD_VECTORS,
    KEYS,
    PER_ROW,
    ROW_BYTES,
    VECTORS,
    AttentionResiduals,
    call_of,
    empty_heads,
    heads_are_inside,
    rows_of,
)
from minilm_kernels.cpu.attention_scores import (
    columns_of,
    describe_gradients,
    finish_block,
    gradients_of,
    prepare_queries,
    weights_block,
    weights_of_tile,
    whole_blocks,
)
from minilm_kernels.cpu.attention_tiles import (
    add_head_product,
    add_product,
    all_padded,
    fill,
    keys_seen,
    stage_addends,
    tile_pointer,
    transpose,
)
from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.pool import (
    PAUSES,
    atomic_get,
    atomic_swap,
    give_way,
    parallel_for,
    parallel_for_in_order,
    pause,
)
from minilm_kernels.cpu.vector import (
    address_of,
    lanes,
    load,
    load_first,
    pointer,
    pointer_at,
    store,
    store_first,
)

TASKS = 16  # as many tasks as there should be: fewer heads are cut into chunks of keys
SMALLEST_CHUNK = 256  # keys
CACHE_BYTES = 320 << 10  # for the tiles of queries that wait
FEW_KEYS_BYTES = 1 << 20  # the same with W and dP of all keys for each

Array = Any


def attention_backward(
    grad_output: Array,
    residuals: AttentionResiduals,
    *,
    bias_gradient: bool = True,
    out: tuple[Array, Array, Array] | None = None,
) -> tuple[Array, Array, Array, Array | None]:
    """The cotangents of query, key, value and bias (None without a bias of floats), as reference.attention_backward.

    Each lies in memory like its input: with the heads of a position next to each other, or not.
    bias_gradient: False leaves that of the bias out. out: where those of query, key and value are written (features
    contiguous).
    """
    numbers, floats, query, key, value, _, _, _, bias, _ = residuals
    dtype, size = query.dtype, query.itemsize
    (B, H, Tq, D), (_, H_kv, Tk, Dv) = query.shape, value.shape
    grad_output = rows_of(grad_output)
    if out is None:
        out = tuple(empty_heads(a.shape, heads_are_inside(a), dtype) for a in (query, key, value))
    chunks, chunk, few, tiles, scratch_bytes = plan(B * H_kv, Tq, Tk, D, Dv, size)
    done = np.zeros(chunks * B * H, np.int64)
    delta = np.zeros((B, H, Tq), dtype) if few else None
    places = describe_gradients([grad_output, *out], delta, chunk, tiles)
    memory = threads.scratch(scratch_bytes)
    backward(threads.start(), memory, numbers, *floats, places, np.empty(0, dtype), done, B * H_kv * chunks)
    grad_bias = None
    if bias_gradient and bias is not None and bias.dtype != bool:
        grad_bias = gradient_of_bias(numbers, floats, places, bias, query, value)
    return (*out, grad_bias)


@functools.lru_cache(256)
def plan(heads: int, Tq: int, Tk: int, D: int, Dv: int, size: int) -> tuple[int, int, bool, int, int]:
    """How many chunks of keys, keys in one; whether all keys of a query wait; tiles of queries at once; bytes of scratch."""
    chunks = max(1, min(-(-TASKS // max(1, heads)), Tk // SMALLEST_CHUNK))
    chunk = max(KEYS, -(-Tk // (chunks * KEYS)) * KEYS)
    chunks = max(1, -(-Tk // chunk))
    few = chunks == 1 and Tk <= FEW_KEYS
    tile_bytes = size * tile_elements(D, Dv, size) + (2 * Tk * ROW_BYTES if few else 0)
    tiles = max(1, min(8, (FEW_KEYS_BYTES if few else CACHE_BYTES) // tile_bytes, -(-Tq * size // ROW_BYTES)))
    return chunks, chunk, few, tiles, tiles * tile_bytes + size * key_elements(D, Dv, size)


def tile_elements(D: int, Dv: int, itemsize: int) -> int:
    """Scratch memory of a tile of queries: Q, dO, dQ (or O, before dQ is needed) turned, Q and dO as rows, m and δ."""
    queries = ROW_BYTES // itemsize
    return queries * (D + max(D, Dv) + Dv + whole_blocks(D, itemsize) + whole_blocks(Dv, itemsize) + 2)


def key_elements(D: int, Dv: int, itemsize: int) -> int:
    """Scratch memory of a tile of keys: W, dS, dK, dV, the addends and a turned block of them."""
    queries = ROW_BYTES // itemsize
    return KEYS * (3 * queries + whole_blocks(D, itemsize) + whole_blocks(Dv, itemsize)) + queries * queries


@kernel
def backward(pool, memory, numbers, scale, kept, lowest, places, like, done, count):
    """Run the tasks: one per chunk of keys, batch and key head.

    like: an array of the dtype; done: (chunks, B, H), how many queries of a head a chunk has added its part of dQ to.
    """
    c, g = call_of(numbers, scale, kept, lowest), gradients_of(places)
    memory_row = memory.shape[1]
    arguments = (address_of(pointer(memory)), memory_row, c, g, pointer(like), done)
    if count > c.B * c.H_kv:
        parallel_for_in_order(pool, count, gradient_task, arguments)
    else:
        parallel_for(pool, count, gradient_task, arguments)


@part
def gradient_task(worker, i, memory, memory_row, c, g, like, done):
    """dK and dV of a chunk of keys, and its part of dQ."""
    heads = c.B * c.H_kv
    # with a causal mask the first keys have the most queries: all heads' first chunks come first
    chunk, b, kv = i // heads, i % heads // c.H_kv, i % c.H_kv
    start = chunk * g.chunk
    stop = min(c.Tk, start + g.chunk)
    queries = lanes(like) * PER_ROW
    dK = tile_pointer(pointer_at(g.key, like), b, g.key_batch, kv, g.key_head, 0, g.key_row)
    dV = tile_pointer(pointer_at(g.value, like), b, g.value_batch, kv, g.value_head, 0, g.value_row)
    for j in range(start, stop):
        fill(dK + j * g.key_row, c.D, 0.0)
        fill(dV + j * g.value_row, c.Dv, 0.0)
    base = pointer_at(memory + worker * memory_row, like)
    group = c.H // c.H_kv
    for h in range(kv * group, (kv + 1) * group):
        for first in range(0, c.Tq, g.tiles * queries):
            tiles = min(g.tiles, (c.Tq - first + queries - 1) // queries)
            queries_task(c, g, b, h, kv, first, tiles, chunk, start, stop, base, dK, dV, done)


@part
def queries_task(c, g, b, h, kv, first, tiles, chunk, start, stop, base, dK, dV, done):
    """Some tiles of queries against a chunk of keys: adds to dK, dV and dQ; the first chunk writes dQ."""
    queries = lanes(base) * PER_ROW
    stop = min(stop, keys_seen(c, min(c.Tq, first + tiles * queries) - 1))
    turn = (chunk * c.B + b) * c.H + h
    if chunk > 0 and stop <= start:
        finish_turn(done, turn, first + tiles * queries)
        return
    block, head_block = VECTORS * lanes(base), HEAD_VECTORS * lanes(base)
    wide, wide_v = columns_of(base, c.D), columns_of(base, c.Dv)
    room = c.D + max(c.D, c.Dv)  # rows of Q and of dQ, or first O
    size = queries * (room + c.Dv + wide + wide_v + 2)
    few = g.delta != 0
    waiting = c.Tk * queries if few else 0  # of W, and of dP, for each tile
    all_W = base + g.tiles * size  # (tiles, 2, Tk, queries), if they wait
    own = all_W + g.tiles * 2 * waiting  # (2, KEYS, queries), if not
    staged = own + 2 * KEYS * queries  # (queries, KEYS)
    tile_dK = staged + KEYS * queries  # (KEYS, wide)
    tile_dV = tile_dK + KEYS * wide
    turned = tile_dV + KEYS * wide_v
    for t in range(tiles):
        Q = base + t * size
        dQ, dO, rows_Q = Q + c.D * queries, Q + room * queries, Q + (room + c.Dv) * queries
        rows_dO = rows_Q + queries * wide
        m = rows_dO + queries * wide_v
        n = min(queries, c.Tq - first - t * queries)
        delta = m + queries
        prepare_queries(c, g, b, h, first + t * queries, n, Q, dO, rows_Q, rows_dO, m, delta, dQ)
        fill(dQ, c.D * queries, 0.0)
        if few:
            W = all_W + t * 2 * waiting
            weights_of_tile(c, g, b, h, first + t * queries, n, Q, dO, m, delta, W, W + waiting, staged, turned)

    for key in range(start, stop, KEYS):
        keys = min(KEYS, stop - key)
        if all_padded(c, b, key, keys):
            continue
        K = tile_pointer(pointer_at(c.key, base), b, c.key_batch, kv, c.key_head, key, c.key_row)
        V = tile_pointer(pointer_at(c.value, base), b, c.value_batch, kv, c.value_head, key, c.value_row)
        fill(tile_dK, keys * wide, 0.0)
        fill(tile_dV, keys * wide_v, 0.0)
        for t in range(tiles):
            query = first + t * queries
            n = min(queries, c.Tq - query)
            seen = min(keys, keys_seen(c, query + n - 1) - key)
            if seen <= 0:
                continue
            Q = base + t * size
            dQ, dO, rows_Q = Q + c.D * queries, Q + room * queries, Q + (room + c.Dv) * queries
            rows_dO = rows_Q + queries * wide
            m = rows_dO + queries * wide_v
            delta = m + queries
            S = all_W + (t * 2 * waiting + key * queries) if few else own
            dS = S + (waiting if few else KEYS * queries)
            if not few and (c.bias != 0 or c.mask != 0):
                stage_addends(c, b, h, query, n, key, keys, staged)
            for x in range(0, n, block):
                part_seen = max(0, min(seen, keys_seen(c, query + x + block - 1) - key))
                if few:
                    finish_block(c, b, h, key, part_seen, query + x, delta + x, S + x, dS + x)
                else:
                    weights_block(
                        c, b, h, key, part_seen, K, V, query + x, Q + x, dO + x, m + x, delta + x, S + x, dS + x,
                        staged + x * KEYS, turned,
                    )  # fmt: skip
                for j in range(part_seen, seen):
                    fill(S + (j * queries + x), block, 0.0)
                    fill(dS + (j * queries + x), block, 0.0)
                add_product(K, 1, c.key_row, dS + x, queries, dQ + x, queries, c.D, part_seen, dS)
            for x in range(0, wide_v, head_block):
                add_head_product(S, queries, 1, rows_dO + x, wide_v, tile_dV + x, wide_v, seen, n, dS)
            for x in range(0, wide, head_block):
                add_head_product(dS, queries, 1, rows_Q + x, wide, tile_dK + x, wide, seen, n, dS)
        add_rows(tile_dK, wide, keys, c.D, dK + key * g.key_row, g.key_row)
        add_rows(tile_dV, wide_v, keys, c.Dv, dV + key * g.value_row, g.value_row)

    if chunk > 0:
        await_turn(done, turn - c.B * c.H, first)
    for t in range(tiles):
        query = first + t * queries
        n = min(queries, c.Tq - query)
        dQ = base + (t * size + c.D * queries)
        at = tile_pointer(pointer_at(g.query, base), b, g.query_batch, h, g.query_head, query, g.query_row)
        if chunk == 0:
            transpose(dQ, queries, c.D, n, at, g.query_row, c.scale)
        else:
            rows = base + (t * size + (room + c.Dv) * queries)  # rows_Q is no longer needed
            transpose(dQ, queries, c.D, n, rows, wide, c.scale)
            add_rows(rows, wide, n, c.D, at, g.query_row)
    finish_turn(done, turn, first + tiles * queries)


@part
def await_turn(done, before, first):
    """Wait until the chunk before has added its part of dQ to the tiles that begin with query `first`."""
    waited = 0
    while atomic_get(done, before) <= first:
        pause()
        waited += 1
        if waited > PAUSES:
            give_way()


@part
def finish_turn(done, turn, queries):
    """Say that this chunk has added its part to so many queries."""
    atomic_swap(done, turn, queries)


@part
def add_rows(source, source_row, rows, columns, target, target_row):
    """target += source."""
    width = lanes(source)
    for r in range(rows):
        x, y = source + r * source_row, target + r * target_row
        for i in range(0, columns // width * width, width):
            store(y + i, load(y + i) + load(x + i))
        i = columns // width * width
        if i < columns:
            store_first(y + i, load_first(y + i, columns - i) + load_first(x + i, columns - i), columns - i)


if config.DISABLE_JIT:  # tasks run one after the other: there is nobody to wait for

    def await_turn(done, before, first): ...

    def finish_turn(done, turn, queries): ...
