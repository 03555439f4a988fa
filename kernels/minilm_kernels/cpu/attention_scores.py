"""What the backward pass computes again instead of keeping: the weights of a tile and the cotangent of its scores.

    W = 2^(S − m),   dS = W ⊙ (dO Vᵀ − δ),   δ = rowsum(dO ⊙ O)

Each row of dO and of δ is first multiplied with 1/l, which stands for the division that W lacks; with dropout dO also carries
1/(1 − p), and dO Vᵀ is 0 where a weight was dropped. All tiles are turned: keys by queries.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from minilm_kernels.cpu.attention_call import HEAD_VECTORS, LOG2E, PER_ROW, ROW_BYTES, VECTORS, address
from minilm_kernels.cpu.attention_tiles import copy_rows, drop, fill, product, score_block, tile_pointer, transpose
from minilm_kernels.cpu.compile import part
from minilm_kernels.cpu.exponential import exp2
from minilm_kernels.cpu.vector import fma, lanes, load, pointer_at, splat, store

Array = Any


class Gradients(NamedTuple):
    """The cotangents of one call: addresses and strides as in Call."""

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
    chunk: int  # keys in a chunk
    tiles: int  # tiles of queries that a tile of keys is used for before the next one comes
    nb: int  # the shape of a bias: each axis 1 or the full size
    nh: int
    ni: int
    nj: int


def describe_gradients(arrays: list[Array], chunk: int, tiles: int) -> Gradients:
    """The tuple for dO, dQ, dK, dV, each (B, H, T, D), still without a bias."""
    places: list[int] = []
    for a in arrays:
        places += (address(a), *(s // a.itemsize for s in a.strides[:3]))
    return Gradients._make([*places, chunk, tiles, 1, 1, 1, 1])


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

    Q = scale log2(e) Qᵀ as in the forward pass, rows_Q = scale Q, dO and rows_dO = dO/l; O: room for (Dv, queries).
    δ is summed over d in the order in which dO Vᵀ is: where one weight is 1 and O that key's value, dO Vᵀ − δ is exactly 0.
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
    transpose(query, c.query_row, n, c.D, Q, queries, c.scale * LOG2E)
    fill(delta, queries, c.scale)
    copy_rows(query, c.query_row, n, c.D, rows_Q, wide, wide, delta)
    for i in range(n):
        m[i] = maxima[i]
        delta[i] = factors[i] * c.kept
    copy_rows(grad, g.output_row, n, c.Dv, rows_dO, wide_v, wide_v, delta)
    transpose(rows_dO, wide_v, n, c.Dv, dO, queries, 1.0)
    transpose(output, c.output_row, n, c.Dv, O, queries, 1.0)
    for x in range(0, queries, lanes(Q)):
        total = splat(Q, 0.0)
        for d in range(c.Dv):
            total = fma(load(O + (d * queries + x)), load(dO + (d * queries + x)), total)
        store(delta + x, total * c.unkept)


@part
def weights_block(c, b, h, key, keys, K, V, query, Q, dO, m, delta, S, dS, staged, turned):
    """S = the weights W (after dropout) and dS for one block of columns."""
    width = lanes(S)
    pitch = width * PER_ROW
    score_block(c, K, b, key, keys, Q, query, S, staged, turned)
    product(V, c.value_row, 1, dO, pitch, dS, pitch, keys, c.Dv, dS)
    row = (b * c.H + h) * c.Tq + query
    if c.drop_below > 0:
        drop(c, dS, row, key, keys)
    for v in range(VECTORS):
        largest, mean = load(m + v * width), load(delta + v * width)
        for j in range(keys):
            at = j * pitch + v * width
            w = exp2(load(S + at) - largest)
            store(S + at, w)
            store(dS + at, w * (load(dS + at) - mean))
    if c.drop_below > 0:
        drop(c, S, row, key, keys)
