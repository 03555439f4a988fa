"""What the backward pass computes again instead of keeping: the weights of a tile and the cotangent of its scores.

    W = 2^(c.factor (S − m)),   dP = dO Vᵀ,   dS = W ⊙ (dP − δ),   δ = rowsum(W ⊙ dP) = rowsum(dO ⊙ O)

Each row of dO and of δ is first multiplied with 1/l, which stands for the division that W lacks; with dropout dO also carries
1/(1 − p), and dP is 0 where a weight was dropped. All tiles are turned: keys by queries.

Where one weight is nearly 1, dP − δ is a small difference, and is exact only if δ is summed from the very dP that it is
taken from: then Σ dS = 0 over the keys, but for a rounding. The sum needs all keys before the first dS; so
W and dP of all keys wait where these are few. Where they are many δ comes from the output, which was rounded before.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minilm_kernels.cpu.attention_call import (
    HEAD_VECTORS,
    KEYS,
    PER_ROW,
    ROW_BYTES,
    VECTORS,
    address,
    to_fixed_tuple,
)
from minilm_kernels.cpu.attention_tiles import (
    all_padded,
    copy_rows,
    drop,
    fill,
    head_products,
    keys_seen,
    score_block,
    stage_addends,
    tile_pointer,
    transpose,
)
from minilm_kernels.cpu.compile import part
from minilm_kernels.cpu.exponential import exp2_of_product
from minilm_kernels.cpu.vector import fma, lanes, load, pointer_at, splat, store

Array = Any


class Gradients(NamedTuple):
    """The cotangents of one call: addresses and strides as in Call, and passed like its numbers."""

    output: int
    output_batch: int
    output_head: int
    output_row: int
    query: int
    query_batch: int
    query_head: int
    query_row: int
    key: int
    key_batch: int
    key_head: int
    key_row: int
    value: int
    value_batch: int
    value_head: int
    value_row: int
    delta: int  # (B, H, Tq): δ, if it is summed from W and dP; else 0
    chunk: int  # keys in a chunk
    tiles: int  # tiles of queries that a tile of keys is used for before the next one comes
    nb: int  # the shape of a bias: each axis 1 or the full size
    nh: int
    ni: int
    nj: int


PLACES = len(Gradients._fields)
BIAS_SHAPE = Gradients._fields.index("nb")


def describe_gradients(arrays: list[Array], delta: Array | None, chunk: int, tiles: int) -> Array:
    """The numbers of Gradients for dO, dQ, dK, dV, each (B, H, T, D), still without a bias."""
    places: list[int] = []
    for a in arrays:
        size, (batch, head, row, _) = a.itemsize, a.strides
        places += (address(a), batch // size, head // size, row // size)
    return np.array([*places, address(delta), chunk, tiles, 1, 1, 1, 1], np.int64)


@part
def gradients_of(places):
    """The Gradients with their names, inside a kernel."""
    return Gradients(*to_fixed_tuple(places, PLACES))


def whole_blocks(n: int, itemsize: int) -> int:
    """n, or the next number of columns that whole blocks of vectors fill."""
    block = HEAD_VECTORS * (ROW_BYTES // itemsize) // PER_ROW
    return -(-n // block) * block


@part
def columns_of(p, n):
    """whole_blocks inside a kernel."""
    block = HEAD_VECTORS * lanes(p)
    return (n + block - 1) // block * block


@part
def prepare_queries(c, g, b, h, first, n, Q, dO, rows_Q, rows_dO, m, delta, O):
    """A tile of queries and of dO, both turned (D, queries) and as rows (queries, D), zeros behind n; and m, δ.

    Q = c.unit Qᵀ as in the forward pass, rows_Q = scale Q, dO and rows_dO = dO/l; O: room for (Dv, queries).
    δ from the output is summed over d in the order in which dP is: where one weight is 1 and O that key's value, dP − δ is
    exactly 0.
    """
    queries = lanes(Q) * PER_ROW
    if n < queries:
        fill(Q, c.D * queries, 0.0)
        fill(dO, c.Dv * queries, 0.0)
        fill(O, c.Dv * queries, 0.0)
        fill(m, queries, 0.0)
    row = (b * c.H + h) * c.Tq + first
    maxima, factors = pointer_at(c.row_max, Q) + row, pointer_at(c.row_factor, Q) + row
    query = tile_pointer(pointer_at(c.query, Q), b, c.query_batch, h, c.query_head, first, c.query_row)
    output = tile_pointer(pointer_at(c.output, Q), b, c.output_batch, h, c.output_head, first, c.output_row)
    grad = tile_pointer(pointer_at(g.output, Q), b, g.output_batch, h, g.output_head, first, g.output_row)

    wide, wide_v = columns_of(Q, c.D), columns_of(Q, c.Dv)
    transpose(query, c.query_row, n, c.D, Q, queries, c.unit)
    fill(delta, queries, c.scale)
    copy_rows(query, c.query_row, n, c.D, rows_Q, wide, wide, delta)
    for i in range(n):
        m[i] = maxima[i]
        delta[i] = factors[i] * c.kept
    copy_rows(grad, g.output_row, n, c.Dv, rows_dO, wide_v, wide_v, delta)
    transpose(rows_dO, wide_v, n, c.Dv, dO, queries, 1.0)
    if g.delta != 0:
        known = pointer_at(g.delta, Q) + row
        for i in range(n):
            delta[i] = known[i]
        fill(delta + n, queries - n, 0.0)
        return
    transpose(output, c.output_row, n, c.Dv, O, queries, 1.0)
    for x in range(0, queries, lanes(Q)):
        total = splat(Q, 0.0)
        for d in range(c.Dv):
            total = fma(load(O + (d * queries + x)), load(dO + (d * queries + x)), total)
        store(delta + x, total * c.unkept)


@part
def weights_of_tile(c, g, b, h, first, n, Q, dO, m, delta, W, dP, staged, turned):
    """W, before dropout, and dP of all keys, each (Tk, queries), for one tile of queries; δ, which is kept in g.delta."""
    queries = lanes(Q) * PER_ROW
    block = VECTORS * lanes(Q)
    kv = h // (c.H // c.H_kv)
    for key in range(0, keys_seen(c, first + n - 1), KEYS):
        keys = min(KEYS, c.Tk - key)
        if all_padded(c, b, key, keys):
            continue
        K = tile_pointer(pointer_at(c.key, Q), b, c.key_batch, kv, c.key_head, key, c.key_row)
        V = tile_pointer(pointer_at(c.value, Q), b, c.value_batch, kv, c.value_head, key, c.value_row)
        if c.bias != 0 or c.mask != 0:
            stage_addends(c, b, h, first, n, key, keys, staged)
        for x in range(0, n, block):
            seen = max(0, min(keys, keys_seen(c, first + x + block - 1) - key))
            at = key * queries + x
            waiting_block(
                c, b, h, key, seen, K, V, first + x, Q + x, dO + x, m + x, delta + x, W + at, dP + at,
                staged + x * KEYS, turned,
            )  # fmt: skip
    row = (b * c.H + h) * c.Tq + first
    factors, known = pointer_at(c.row_factor, delta) + row, pointer_at(g.delta, delta) + row
    for i in range(n):
        delta[i] *= factors[i]
        known[i] = delta[i]


@part
def weights_block(c, b, h, key, keys, K, V, query, Q, dO, m, delta, S, dS, staged, turned):
    """S = the weights W (after dropout) and dS for one block of columns, from δ."""
    width = lanes(S)
    pitch = width * PER_ROW
    score_block(c, K, b, key, keys, Q, query, S, staged, turned)
    head_products(c, V, c.value_row, dO, dS, keys, c.Dv)
    row = (b * c.H + h) * c.Tq + query
    if c.drop_below > 0:
        drop(c, dS, row, key, keys)
    for v in range(VECTORS):
        largest, mean = load(m + v * width), load(delta + v * width)
        for j in range(keys):
            at = j * pitch + v * width
            w = exp2_of_product(load(S + at) - largest, c.factor)
            store(S + at, w)
            store(dS + at, w * (load(dS + at) - mean))
    if c.drop_below > 0:
        drop(c, S, row, key, keys)


@part
def waiting_block(c, b, h, key, keys, K, V, query, Q, dO, m, delta, S, dP, staged, turned):
    """S = the weights W before dropout and dP for one block of columns; δ += Σ W dP over these keys."""
    width = lanes(S)
    pitch = width * PER_ROW
    score_block(c, K, b, key, keys, Q, query, S, staged, turned)
    head_products(c, V, c.value_row, dO, dP, keys, c.Dv)
    if c.drop_below > 0:
        drop(c, dP, (b * c.H + h) * c.Tq + query, key, keys)
    for v in range(VECTORS):
        largest = load(m + v * width)
        even, odd = splat(S, 0.0), splat(S, 0.0)
        for j in range(0, keys - 1, 2):
            at = j * pitch + v * width
            w0 = exp2_of_product(load(S + at) - largest, c.factor)
            w1 = exp2_of_product(load(S + (at + pitch)) - largest, c.factor)
            store(S + at, w0)
            store(S + (at + pitch), w1)
            even, odd = fma(w0, load(dP + at), even), fma(w1, load(dP + (at + pitch)), odd)
        if keys % 2:
            at = (keys - 1) * pitch + v * width
            w0 = exp2_of_product(load(S + at) - largest, c.factor)
            store(S + at, w0)
            even = fma(w0, load(dP + at), even)
        store(delta + v * width, load(delta + v * width) + (even + odd))


@part
def finish_block(c, b, h, key, keys, query, delta, S, dP):
    """From what waiting_block left to S = W after dropout and dP ← dS."""
    width = lanes(S)
    pitch = width * PER_ROW
    for v in range(VECTORS):
        mean = load(delta + v * width)
        for j in range(keys):
            at = j * pitch + v * width
            store(dP + at, load(S + at) * (load(dP + at) - mean))
    if c.drop_below > 0:
        drop(c, S, (b * c.H + h) * c.Tq + query, key, keys)
