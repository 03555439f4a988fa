"""The cotangent of a bias of floats: dS, summed over the axes on which the bias was repeated.

A task writes one tile of it (all of an axis on which the bias has length 1) and computes each dS that goes into it anew.
That is two products of five again, and needs no memory of the size of the scores beside the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm_kernels.cpu import pool as threads
from minilm_kernels.cpu.attention_call import KEYS, PER_ROW, ROW_BYTES, VECTORS, call_of
from minilm_kernels.cpu.attention_scores import (
    BIAS_SHAPE,
    columns_of,
    gradients_of,
    prepare_queries,
    weights_block,
    whole_blocks,
)
from minilm_kernels.cpu.attention_tiles import all_padded, fill, keys_seen, stage_addends, tile_pointer
from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.vector import address_of, lanes, load, pointer, pointer_at, splat, store, where_first

Array = Any


def gradient_of_bias(
    numbers: Array, floats: tuple[float, float, float], places: Array, bias: Array, query: Array, value: Array
) -> Array:
    """dbias in the shape of the bias, from dS = W ⊙ (dW − δ)."""
    nb, nh, ni, nj = (1,) * (4 - bias.ndim) + bias.shape
    result = np.zeros((nb, nh, ni, nj), query.dtype)
    D, Dv, size = query.shape[3], value.shape[3], query.itemsize
    queries = ROW_BYTES // size
    # one number for a whole row of scores changes no weight: where the bias is repeated along the keys its cotangent is 0
    if result.size and nj > 1:
        count = nb * nh * (-(-ni // queries)) * (-(-nj // KEYS))
        wide = whole_blocks(D, size) + whole_blocks(Dv, size)
        memory = threads.scratch(size * queries * (D + 2 * Dv + wide + 2 + 4 * KEYS + queries))
        places = places.copy()
        places[BIAS_SHAPE:] = nb, nh, ni, nj
        bias_backward(threads.start(), memory, numbers, *floats, places, result, count)
    return result.reshape(bias.shape)


@kernel
def bias_backward(pool, memory, numbers, scale, kept, lowest, places, result, count):
    """Run the tasks: one per tile of the bias."""
    c, g = call_of(numbers, scale, kept, lowest), gradients_of(places)
    parallel_for(pool, count, bias_task, (address_of(pointer(memory)), memory.shape[1], c, g, pointer(result)))


@part
def bias_task(worker, i, memory, memory_row, c, g, like):
    """One tile of dbias."""
    queries = lanes(like) * PER_ROW
    block = VECTORS * lanes(like)
    wide, wide_v = columns_of(like, c.D), columns_of(like, c.Dv)
    Q = pointer_at(memory + worker * memory_row, like)
    dO = Q + c.D * queries
    rows_Q = dO + c.Dv * queries
    rows_dO = rows_Q + queries * wide
    m = rows_dO + queries * wide_v
    delta = m + queries
    S = delta + queries
    dS = S + KEYS * queries
    total = dS + KEYS * queries
    staged = total + KEYS * queries
    turned = staged + KEYS * queries
    O = turned + queries * lanes(like)
    fill(total, KEYS * queries, 0.0)

    # the part of each axis that this tile stands for: a piece of it, or all of it where the bias is repeated
    tiles_i, tiles_j = (g.ni + queries - 1) // queries, (g.nj + KEYS - 1) // KEYS
    tile_j, tile_i = i % tiles_j, i // tiles_j % tiles_i
    h0, b0 = i // (tiles_j * tiles_i) % g.nh, i // (tiles_j * tiles_i * g.nh)
    h1, b1 = (h0 + 1 if g.nh > 1 else c.H), (b0 + 1 if g.nb > 1 else c.B)
    first, last = tile_i * queries, (min(c.Tq, (tile_i + 1) * queries) if g.ni > 1 else c.Tq)
    start, end = tile_j * KEYS, min(c.Tk, (tile_j + 1) * KEYS)
    group = c.H // c.H_kv
    for b in range(b0, b1):
        for h in range(h0, h1):
            for query in range(first, last, queries):
                n = min(queries, last - query)
                stop = min(end, keys_seen(c, query + n - 1))
                if stop <= start or all_padded(c, b, start, stop - start):
                    continue
                prepare_queries(c, g, b, h, query, n, Q, dO, rows_Q, rows_dO, m, delta, O)
                K = tile_pointer(pointer_at(c.key, like), b, c.key_batch, h // group, c.key_head, start, c.key_row)
                V = tile_pointer(
                    pointer_at(c.value, like), b, c.value_batch, h // group, c.value_head, start, c.value_row
                )
                stage_addends(c, b, h, query, n, start, stop - start, staged)
                for x in range(0, n, block):
                    seen = max(0, min(stop, keys_seen(c, query + x + block - 1)) - start)
                    weights_block(
                        c, b, h, start, seen, K, V, query + x, Q + x, dO + x, m + x, delta + x, S + x, dS + x,
                        staged + x * KEYS, turned,
                    )  # fmt: skip
                    add_block(total + x, dS + x, seen, n - x)
    write_tile(g, like, total, b0, h0, first, min(queries, last - first), start, end - start)


@part
def add_block(total, dS, keys, n):
    """total[j, i] += dS[j, i] for the queries i < n of one block of columns."""
    width = lanes(total)
    pitch = width * PER_ROW
    zero = splat(total, 0.0)
    for j in range(keys):
        for v in range(VECTORS):
            at = j * pitch + v * width
            store(total + at, load(total + at) + where_first(n - v * width, load(dS + at), zero))


@part
def write_tile(g, bias, total, b, h, first, n, start, keys):
    """Write a tile where it belongs, summed over the queries where the bias has one row."""
    pitch = lanes(total) * PER_ROW
    bias = bias + (b * g.nh + h) * g.ni * g.nj
    for r in range(n if g.ni > 1 else 1):
        for j in range(keys):
            x = 0.0  # in float64: the queries of all tiles may go into it
            for i in range(r, r + 1 if g.ni > 1 else n):
                x += total[j * pitch + i]
            bias[(first + r if g.ni > 1 else 0) * g.nj + start + j] = x
