"""Y = act(X W_inᵀ + b_in) W_outᵀ + b_out + R on the matrix unit: a block of rows goes through both products in one task.

    both weights are split and packed once for all tasks        they stay in the second cache beside a block of rows
    a task, `block` panels of 32 rows:
        split and pack X's rows
        all tiles of X W_inᵀ                                    on the unit
        Z = tiles + b_in, written for backward; act(Z) is split and packed
        all tiles of act(Z) W_outᵀ                              on the unit
        Y = tiles + b_out + R

H = act(Z) is never written. The unit's work and that of the vectors take turns of many microseconds: after a rest of 200 ns
the unit needs up to 2,000 cycles before it multiplies again, so that tile by tile would take half as long again.
"""

from __future__ import annotations

from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.feed_forward_tiles import (
    SEEN_BYTES,
    SQUARE_BYTES,
    hidden_rows,
    largest_of_rows,
    make_layer,
    pack_weights,
)
from minilm_kernels.cpu.gemm_split import fits
from minilm_kernels.cpu.matrix_unit import AHEAD_BYTES, multiply_panels, release_unit, start_unit
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.split import PANEL, STEP_BYTES, WORDS, pack_rows
from minilm_kernels.cpu.vector import load, pointer_at, store, words_at


@part
def multiply_rows(a, b, panels, count, steps, tiles, tile_row):
    """tiles[m, n] = A panel m · B panel n for count panels of A; what lies behind B's panel is fetched on the way."""
    panel = steps * STEP_BYTES
    for n in range(panels):
        for m in range(count):
            tile, ahead = tiles + (m * tile_row + n) * SQUARE_BYTES, b + (n + 1) * panel + m * steps * AHEAD_BYTES
            multiply_panels(a + m * panel, b + n * panel, steps, tile, PANEL, ahead)


@part
def output_rows(p, tiles, m):
    """Y = tiles + b_out + R for 32 rows from row m on."""
    steps = p.outputs // PANEL
    for i in range(min(PANEL, p.rows - m)):
        for n in range(steps):
            t, b = pointer_at(tiles + (n * SQUARE_BYTES + i * 4 * PANEL), p.x), p.b_out + n * PANEL * p.b_out_step
            y, r = p.y + ((m + i) * p.outputs + n * PANEL), p.residual + ((m + i) * p.residual_row + n * PANEL)
            for v in range(0, PANEL, WORDS):
                s = load(t + v) + load(b + v)
                if p.residual_row:
                    s += load(r + v)
                store(y + v, s)


@part
def forward_task(worker, i, p, bad):
    """Task i: a block of rows. bad[i] = 1 if its numbers do not fit the unit."""
    x_steps, h_steps, y_steps = p.inputs // PANEL, p.hidden // PANEL, p.outputs // PANEL
    room = p.scratch + worker * p.scratch_row
    turned, seen = pointer_at(room, p.x), words_at(room + SQUARE_BYTES)
    x_panels = room + SQUARE_BYTES + SEEN_BYTES
    h_panels = x_panels + p.block * x_steps * STEP_BYTES
    tiles = h_panels + p.block * h_steps * STEP_BYTES
    second = p.panels + h_steps * x_steps * STEP_BYTES
    first = i * p.block
    count = min(p.block, -(-p.rows // PANEL) - first)
    wrong = 0
    for m in range(count):
        pack_rows(p.x, p.x_row, True, first + m, p.rows, p.inputs, x_panels, m, turned, seen, p.x, -1)
        wrong += not fits(seen)
    start_unit()
    multiply_rows(x_panels, p.panels, h_steps, count, x_steps, tiles, h_steps)
    for m in range(count):
        own = tiles + m * h_steps * SQUARE_BYTES
        hidden_rows(p, own, (first + m) * PANEL, h_panels + m * h_steps * STEP_BYTES, seen)
        largest_of_rows(seen)
        wrong += not fits(seen)
    multiply_rows(h_panels, second, y_steps, count, h_steps, tiles, y_steps)
    release_unit()
    for m in range(count):
        output_rows(p, tiles + m * y_steps * SQUARE_BYTES, (first + m) * PANEL)
    bad[i] = wrong > 0


@kernel
def forward_on_unit(pool, zeros, numbers, bad):
    """Whether the numbers allowed it; if not, what stands in Y and Z means nothing. bad: room for a number for each task."""
    p = make_layer(zeros, numbers)
    weights = p.hidden // PANEL + p.outputs // PANEL
    parallel_for(pool, weights, pack_weights, (p, True, bad))
    parallel_for(pool, -(-p.rows // (p.block * PANEL)), forward_task, (p, bad[weights:]))
    return bad.sum() == 0
