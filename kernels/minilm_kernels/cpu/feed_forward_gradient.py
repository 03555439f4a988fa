"""The gradients of a feed-forward layer on the matrix unit: all that a block of rows contributes is computed in one task.

    a task, one chunk of rows, block by block:
        split and pack dY (as rows and as columns) and X (as columns)
        for each GROUP of 32 hidden units:
            dH = dY W_out                                       on the unit
            dZ = dH ⊙ act′(Z), H = act(Z), split and packed; db_in += Σ_rows dZ
            dW_inᵀ += Xᵀ dZ,  dW_out += dYᵀ H,  dX += dZ W_in   on the unit
    then, the threads again: each weight's gradient is the sum of the chunks' in their order

How the rows are cut into chunks depends on their number alone, so the bits do not depend on the number of threads.
"""

from __future__ import annotations

from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.feed_forward_forward import multiply_rows
from minilm_kernels.cpu.feed_forward_tiles import (
    SEEN_BYTES,
    SQUARE_BYTES,
    largest_of_rows,
    make_layer,
    pack_weights,
    slope_tile,
)
from minilm_kernels.cpu.gemm_chunks import add_chunks
from minilm_kernels.cpu.gemm_split import fits
from minilm_kernels.cpu.matrix_unit import multiply_onto, multiply_panels, release_unit, start_unit
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.split import PANEL, STEP_BYTES, WORDS, pack_rows
from minilm_kernels.cpu.tile import transpose_block
from minilm_kernels.cpu.vector import load, pointer_at, prefetch_far, store, words_at

GROUP = 4  # panels of hidden units: what the block's dZ and H of these take stays in the second cache


@part
def multiply(a, b, steps, tile, onto):
    """tile = A panel · B panel, or tile += …"""
    if onto:
        multiply_onto(a, b, steps, tile, PANEL, b)
    else:
        multiply_panels(a, b, steps, tile, PANEL, b)


@part
def gradient_task(worker, i, p, chunk, own, own_row, bad):
    """Task i: the chunk of panels i · chunk … of rows. bad[i] = 1 if its numbers do not fit the unit.

    own + i · own_row: where its part of the weights' gradients goes: tiles of dW_inᵀ, tiles of dW_out, db_in, db_out.
    """
    x_steps, h_steps, y_steps = p.inputs // PANEL, p.hidden // PANEL, p.outputs // PANEL
    room = p.scratch + worker * p.scratch_row
    turned, seen = pointer_at(room, p.x), words_at(room + SQUARE_BYTES)
    columns_seen = words_at(room + SQUARE_BYTES + SEEN_BYTES)
    rows_seen = room + SQUARE_BYTES + 2 * SEEN_BYTES
    dy_rows = rows_seen + p.block * SEEN_BYTES
    dy_columns = dy_rows + p.block * y_steps * STEP_BYTES
    x_columns = dy_columns + p.block * y_steps * STEP_BYTES
    dz_rows = x_columns + p.block * x_steps * STEP_BYTES
    dz_columns = dz_rows + p.block * GROUP * STEP_BYTES
    h_columns = dz_columns + p.block * GROUP * STEP_BYTES
    dh = h_columns + p.block * GROUP * STEP_BYTES
    dx = dh + p.block * GROUP * SQUARE_BYTES
    w_in = p.panels + h_steps * y_steps * STEP_BYTES
    dw_in = own + i * own_row
    dw_out = dw_in + x_steps * h_steps * SQUARE_BYTES
    db_in = pointer_at(dw_out + y_steps * h_steps * SQUARE_BYTES, p.x)
    db_out = db_in + p.hidden
    for j in range(p.hidden + p.outputs):
        db_in[j] = 0.0
    wrong, begin, end = 0, i * chunk, min((i + 1) * chunk, -(-p.rows // PANEL))
    for first in range(begin, end, p.block):
        count, m0, onto = min(p.block, end - first), first * PANEL, first > begin
        rows, panel = min(count * PANEL, p.rows - m0), count * STEP_BYTES
        dy, x = p.y + m0 * p.outputs, p.x + m0 * p.x_row
        for m in range(count):
            pack_rows(dy, p.outputs, True, m, rows, p.outputs, dy_rows, m, turned, seen, db_out, -1)
            wrong += not fits(seen)
        for n in range(y_steps):
            pack_rows(dy, p.outputs, False, n, p.outputs, rows, dy_columns, n, turned, seen, db_out, 1)
            wrong += not fits(seen)
        for n in range(x_steps):
            pack_rows(x, p.x_row, False, n, p.inputs, rows, x_columns, n, turned, seen, db_out, -1)
            wrong += not fits(seen)
        for j in range(count * PANEL * WORDS):
            words_at(rows_seen)[j] = 0
        start_unit()
        for group in range(0, h_steps, GROUP):
            width = min(GROUP, h_steps - group)
            weights = p.panels + group * y_steps * STEP_BYTES
            for m in range(count):
                ask_for_z(p, m0 + m * PANEL, group, width)
                multiply_rows(
                    dy_rows + m * y_steps * STEP_BYTES, weights, width, 1, y_steps, dh + m * width * SQUARE_BYTES, width
                )
            for n in range(width):
                for j in range(4 * WORDS):
                    columns_seen[j] = 0
                for m in range(count):
                    own_rows = dz_rows + (m * width + n) * STEP_BYTES
                    at, most = n * panel + m * STEP_BYTES, words_at(rows_seen + m * SEEN_BYTES)
                    tile = pointer_at(dh + (m * width + n) * SQUARE_BYTES, p.x)
                    slope_tile(p, tile, m0 + m * PANEL, group + n, own_rows, dz_columns + at, h_columns + at,
                               most, columns_seen, db_in + (group + n) * PANEL)  # fmt: skip
                wrong += not fits(columns_seen) or not fits(columns_seen + PANEL)
            for n in range(width):
                for k in range(x_steps):
                    tile = dw_in + ((group + n) * x_steps + k) * SQUARE_BYTES
                    multiply(x_columns + k * panel, dz_columns + n * panel, count, tile, onto)
                for k in range(y_steps):
                    tile = dw_out + ((group + n) * y_steps + k) * SQUARE_BYTES
                    multiply(dy_columns + k * panel, h_columns + n * panel, count, tile, onto)
            for k in range(x_steps):
                weights = w_in + (k * h_steps + group) * STEP_BYTES
                for m in range(count):
                    tile = dx + (m * x_steps + k) * SQUARE_BYTES
                    multiply(dz_rows + m * width * STEP_BYTES, weights, width, tile, group > 0)
        release_unit()
        for m in range(count):
            most = words_at(rows_seen + m * SEEN_BYTES)
            largest_of_rows(most)
            wrong += not fits(most)
            copy_rows(p, dx + m * x_steps * SQUARE_BYTES, m0 + m * PANEL)
    bad[i] = wrong > 0


@part
def ask_for_z(p, m, group, width):
    """Fetch Z of 32 rows and a group of hidden units into the second cache, while the unit works."""
    for i in range(min(PANEL, p.rows - m)):
        z = p.z + ((m + i) * p.hidden + group * PANEL)
        for v in range(0, width * PANEL, WORDS):
            prefetch_far(z + v)


@part
def copy_rows(p, tiles, m):
    """dX = tiles for 32 rows from row m on."""
    for i in range(min(PANEL, p.rows - m)):
        for n in range(p.inputs // PANEL):
            t, dx = pointer_at(tiles + (n * SQUARE_BYTES + i * 4 * PANEL), p.x), p.dx + ((m + i) * p.inputs + n * PANEL)
            store(dx, load(t))
            store(dx + WORDS, load(t + WORDS))


@part
def add_task(worker, i, p, own, own_row, chunks, dw_in, add_in, dw_out, add_out, db_in, db_out):
    """Task i: the sums over the chunks for hidden units 32 i …; with add_in, add_out they start from what is there."""
    room = p.scratch + worker * p.scratch_row
    tile, turned = pointer_at(room, p.x), pointer_at(room + SQUARE_BYTES, p.x)
    x_steps, h_steps, y_steps = p.inputs // PANEL, p.hidden // PANEL, p.outputs // PANEL
    for k in range(x_steps):
        add_chunks(tile, tile, 0, own + (i * x_steps + k) * SQUARE_BYTES, own_row, chunks, PANEL * PANEL)
        for r in range(0, PANEL, WORDS):
            for c in range(0, PANEL, WORDS):
                transpose_block(tile + (r * PANEL + c), PANEL, turned + (c * PANEL + r), PANEL, 1.0)
        for r in range(PANEL):
            to = dw_in + ((i * PANEL + r) * p.inputs + k * PANEL)
            for v in range(0, PANEL, WORDS):
                x = load(turned + (r * PANEL + v))
                store(to + v, load(to + v) + x if add_in else x)
    own += x_steps * h_steps * SQUARE_BYTES
    for k in range(y_steps):
        for r in range(PANEL):
            at, to = (i * y_steps + k) * SQUARE_BYTES + r * 4 * PANEL, dw_out + ((k * PANEL + r) * p.hidden + i * PANEL)
            add_chunks(to, to, add_out, own + at, own_row, chunks, PANEL)
    own += y_steps * h_steps * SQUARE_BYTES
    add_chunks(db_in + i * PANEL, db_in, 0, own + 4 * i * PANEL, own_row, chunks, PANEL)
    if i == 0:
        add_chunks(db_out, db_out, 0, own + 4 * p.hidden, own_row, chunks, p.outputs)


@kernel
def gradient_on_unit(
    pool, zeros, numbers, chunk, own, own_row, dw_in, add_in, dw_out, add_out, db_in, db_out, bad
):  # fmt: skip
    """Whether the numbers allowed it; if not, dX means nothing, and the others were not touched.

    dw_in … db_out: addresses; own: room for each chunk's part of them, own_row bytes apart; bad: for a number for each task.
    """
    p = make_layer(zeros, numbers)
    weights, chunks = p.hidden // PANEL + p.inputs // PANEL, -(-p.rows // (chunk * PANEL))
    parallel_for(pool, weights, pack_weights, (p, False, bad))
    parallel_for(pool, chunks, gradient_task, (p, chunk, own, own_row, bad[weights:]))
    if bad.sum() > 0:
        return False
    parallel_for(pool, p.hidden // PANEL, add_task, (
        p, own, own_row, chunks, pointer_at(dw_in, zeros), add_in, pointer_at(dw_out, zeros), add_out,
        pointer_at(db_in, zeros), pointer_at(db_out, zeros),
    ))  # fmt: skip
    return True
