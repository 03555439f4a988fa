"""What the tasks of a feed-forward layer on the matrix unit share: the layer, its packed weights, and the activation.

A tile is 32 × 32 numbers, one row after the other: what one multiply_panels writes. The activation works on tiles in the second
cache and leaves its results split and packed (split.py), as the next product reads them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from minilm_kernels.cpu.compile import part, variant
from minilm_kernels.cpu.functions import (
    gelu_erf,
    gelu_erf_slope,
    gelu_tanh,
    gelu_tanh_slope,
    relu,
    relu_slope,
    silu,
    silu_slope,
)
from minilm_kernels.cpu.gemm_split import fits
from minilm_kernels.cpu.gemm_tiles import GELU, GELU_TANH, RELU
from minilm_kernels.cpu.split import (
    PANEL,
    STEP_BYTES,
    TILE_BYTES,
    WORDS,
    larger,
    pack_columns,
    store_pairs,
)
from minilm_kernels.cpu.vector import as_words, load, pointer_at, prefetch, splat, store, words_at

SQUARE_BYTES = 4 * PANEL * PANEL  # of a tile of float32
SEEN_BYTES = 4 * PANEL * WORDS  # the largest numbers of 32 rows, a vector of bits for each
AHEAD = 4  # rows of Z that are asked for before they are written


class Layer(NamedTuple):
    """The layer as its tasks see it. Rows lie `…_row` numbers apart, or one behind the other; a …_step is 0 without a bias."""

    x: Any  # (rows, inputs)
    x_row: int
    w_in: Any  # (hidden, inputs)
    b_in: Any
    b_in_step: int
    w_out: Any  # (outputs, hidden)
    b_out: Any
    b_out_step: int
    residual: Any  # (rows, outputs)
    residual_row: int  # 0: there is none
    z: Any  # (rows, hidden)
    y: Any  # Y (rows, outputs), backward dY
    dx: Any  # (rows, inputs)
    rows: int
    inputs: int
    hidden: int
    outputs: int
    activation: int
    block: int  # panels of rows that are worked on together
    panels: int  # address of both packed weights
    scratch: int  # address of each worker's memory, scratch_row bytes apart
    scratch_row: int


@part
def make_layer(zeros, numbers):
    """A Layer from its addresses and sizes, in the order of the fields."""
    (x, x_row, w_in, b_in, b_in_step, w_out, b_out, b_out_step, residual, residual_row, z, y, dx,
     rows, inputs, hidden, outputs, activation, block, panels, scratch, scratch_row) = numbers  # fmt: skip
    return Layer(
        pointer_at(x, zeros), x_row, pointer_at(w_in, zeros), pointer_at(b_in, zeros), b_in_step, pointer_at(w_out, zeros),
        pointer_at(b_out, zeros), b_out_step, pointer_at(residual, zeros), residual_row, pointer_at(z, zeros),
        pointer_at(y, zeros), pointer_at(dx, zeros), rows, inputs, hidden, outputs, activation, block, panels, scratch,
        scratch_row,
    )  # fmt: skip


@part
def pack_weights(worker, i, p, forward, bad):
    """Task i: a panel of the first product's B (W_inᵀ, backward W_out) or, behind those, of the second's (W_outᵀ, W_in)."""
    room = p.scratch + worker * p.scratch_row
    turned, seen = pointer_at(room, p.x), words_at(room + SQUARE_BYTES)
    first = p.hidden // PANEL
    summed = p.inputs if forward else p.outputs
    second = p.panels + first * (summed // PANEL) * STEP_BYTES
    w, step, own = p.w_in, p.inputs, i < first
    if own != forward:
        w, step = p.w_out, p.hidden
    if own:
        pack_columns(w, step, forward, i, p.hidden, summed, p.panels, turned, seen)
    else:
        pack_columns(w, step, forward, i - first, p.outputs if forward else p.inputs, p.hidden, second, turned, seen)
    bad[i] = not fits(seen)


@part
def largest_of_rows(seen):
    """The largest bits of each row's vector, into the first 32 words."""
    for r in range(PANEL):
        most = seen[r * WORDS]
        for j in range(1, WORDS):
            most = max(most, seen[r * WORDS + j])
        seen[r] = most


def make_hidden(function: Any) -> Any:
    """Z = tiles + b and H = act(Z) for 32 rows from row m on; H goes to the panel `target`, its largest bits to `seen`."""

    @variant(function)
    def hidden_rows(p, tiles, m, target, seen):
        steps, rows = p.hidden // PANEL, p.rows - m
        for i in range(PANEL):
            most = as_words(splat(p.x, 0.0))
            for n in range(steps):
                t, b = pointer_at(tiles + (n * SQUARE_BYTES + i * 4 * PANEL), p.x), p.b_in + n * PANEL * p.b_in_step
                low, high = load(t) + load(b), load(t + WORDS) + load(b + WORDS)
                if i < rows:
                    z = p.z + ((m + i) * p.hidden + n * PANEL)
                    prefetch(z + AHEAD * p.hidden)
                    prefetch(z + (AHEAD * p.hidden + WORDS))
                    store(z, low)
                    store(z + WORDS, high)
                h, g = function(low), function(high)
                most = larger(larger(most, h), g)
                half = target + (n * STEP_BYTES + i // WORDS * TILE_BYTES)
                store_pairs(h, g, words_at(half + i % WORDS * 4 * WORDS))
            store(seen + i * WORDS, most)

    return hidden_rows


def make_slope(function: Any, slope: Any) -> Any:
    """dZ = dH ⊙ act′(Z) and H = act(Z) for one tile of dH: rows from m on, hidden units from 32 n on.

    dZ is packed twice: with pairs along its rows (dz_rows, for dX) and along its columns (dz_columns, for dW_in); H along its
    columns (h_columns, for dW_out). rows_seen, columns_seen: their largest bits so far; db: where Σ_rows dZ is added.
    """

    @variant(function)
    def slope_tile(p, tile, m, n, dz_rows, dz_columns, h_columns, rows_seen, columns_seen, db):
        rows, zero = p.rows - m, splat(p.x, 0.0)
        left_seen, right_seen = load(columns_seen), load(columns_seen + WORDS)
        h_left_seen, h_right_seen = load(columns_seen + 2 * WORDS), load(columns_seen + 3 * WORDS)
        left_sum, right_sum = load(db), load(db + WORDS)
        for i in range(WORDS):  # rows i and i + 16, the left and right half of each
            z0, z1, z2, z3 = zero, zero, zero, zero
            z, t = p.z + ((m + i) * p.hidden + n * PANEL), tile + i * PANEL
            if i < rows:
                z0, z1 = load(z), load(z + WORDS)
            if i + WORDS < rows:
                z2, z3 = load(z + WORDS * p.hidden), load(z + (WORDS * p.hidden + WORDS))
            d0, d1 = load(t) * slope(z0), load(t + WORDS) * slope(z1)
            d2, d3 = load(t + WORDS * PANEL) * slope(z2), load(t + (WORDS * PANEL + WORDS)) * slope(z3)
            h0, h1, h2, h3 = function(z0), function(z1), function(z2), function(z3)
            left_sum += d0 + d2
            right_sum += d1 + d3
            upper, lower = rows_seen + i * WORDS, rows_seen + (i + WORDS) * WORDS
            store(upper, larger(larger(load(upper), d0), d1))
            store(lower, larger(larger(load(lower), d2), d3))
            left_seen, right_seen = larger(larger(left_seen, d0), d2), larger(larger(right_seen, d1), d3)
            h_left_seen, h_right_seen = larger(larger(h_left_seen, h0), h2), larger(larger(h_right_seen, h1), h3)
            at = i * 4 * WORDS
            store_pairs(d0, d1, words_at(dz_rows + at))
            store_pairs(d2, d3, words_at(dz_rows + at + TILE_BYTES))
            store_pairs(d0, d2, words_at(dz_columns + at))
            store_pairs(d1, d3, words_at(dz_columns + at + TILE_BYTES))
            store_pairs(h0, h2, words_at(h_columns + at))
            store_pairs(h1, h3, words_at(h_columns + at + TILE_BYTES))
        store(columns_seen, left_seen)
        store(columns_seen + WORDS, right_seen)
        store(columns_seen + 2 * WORDS, h_left_seen)
        store(columns_seen + 3 * WORDS, h_right_seen)
        store(db, left_sum)
        store(db + WORDS, right_sum)

    return slope_tile


hidden_gelu, hidden_tanh, hidden_relu, hidden_silu = (make_hidden(f) for f in (gelu_erf, gelu_tanh, relu, silu))
slope_gelu, slope_tanh = make_slope(gelu_erf, gelu_erf_slope), make_slope(gelu_tanh, gelu_tanh_slope)
slope_relu, slope_silu = make_slope(relu, relu_slope), make_slope(silu, silu_slope)


@part
def hidden_rows(p, tiles, m, target, seen):
    if p.activation == GELU:
        hidden_gelu(p, tiles, m, target, seen)
    elif p.activation == GELU_TANH:
        hidden_tanh(p, tiles, m, target, seen)
    elif p.activation == RELU:
        hidden_relu(p, tiles, m, target, seen)
    else:
        hidden_silu(p, tiles, m, target, seen)


@part
def slope_tile(p, tile, m, n, dz_rows, dz_columns, h_columns, rows_seen, columns_seen, db):
    if p.activation == GELU:
        slope_gelu(p, tile, m, n, dz_rows, dz_columns, h_columns, rows_seen, columns_seen, db)
    elif p.activation == GELU_TANH:
        slope_tanh(p, tile, m, n, dz_rows, dz_columns, h_columns, rows_seen, columns_seen, db)
    elif p.activation == RELU:
        slope_relu(p, tile, m, n, dz_rows, dz_columns, h_columns, rows_seen, columns_seen, db)
    else:
        slope_silu(p, tile, m, n, dz_rows, dz_columns, h_columns, rows_seen, columns_seen, db)
