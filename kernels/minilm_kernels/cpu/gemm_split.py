"""The product of float32 matrices on the matrix unit, in tiles of 32 × 32.

    B is split and packed once for all tasks (split.py)
    a task, some panels of A's rows by some or all of B's columns:
        pack its rows of A                                  they stay in this core's second cache
        for each block of BLOCK panels of B:
            for each block of k (block_steps tiles):        B's part stays in the second cache
                for each panel of A:
                    for each panel of B:  tile += A panel · B panel        (matrix_unit.py)

Tiles are kept until the last block of k and only then go to C. The order of the sums is the same however C is cut.

The unit takes subnormal numbers for 0, and a split ∞ is none: where all numbers of a row of A or of a column of B are that
small, or one is that large, the product is left to gemm.py: wholly if it is B, for a panel of rows if it is A.
"""

from __future__ import annotations

from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.gemm_tiles import finish, make_product
from minilm_kernels.cpu.matrix_unit import AHEAD_BYTES, multiply_panels, release_unit, start_unit
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.split import K_TILE, PANEL, STEP_BYTES, block_steps, pack_columns, pack_rows
from minilm_kernels.cpu.vector import (
    address_of,
    lanes,
    load,
    load_first,
    pointer_at,
    store,
    store_first,
    words_at,
)

BLOCK = 4  # panels of B: with 16 tiles of k they fill a quarter of the second cache
TILE_BYTES = 4 * PANEL * PANEL + 128  # of C; the rest keeps rows of neighbours in different places of the cache
LEAST, MOST = 67 << 23, 237 << 23  # 2^−60 and 2^110 as bits: between them the largest number of a row must be


@part
def fits(largest):
    """Whether the unit can take 32 rows, or columns, of which these words are the bits of the largest numbers."""
    wrong = 0
    for i in range(PANEL):
        wrong += 0 < largest[i] < LEAST or largest[i] > MOST
    return wrong == 0


@part
def pack_task(worker, i, p, b_panels, largest):
    """Task i: one panel of B. largest: the address of PANEL words for each panel."""
    turned = pointer_at(p.scratch + worker * p.scratch_row, p.b)
    seen = words_at(largest + 4 * PANEL * i)
    pack_columns(p.b, p.b_step, p.b_transposed == 1, i, p.N, p.K, b_panels, turned, seen)


@part
def split_task(worker, i, p, b_panels, wrong):
    """Task i: a block of C, mc panels of rows by nc panels of columns. wrong[panel] = 1 for panels of A that do not fit."""
    rows, columns, steps = -(-p.M // PANEL), -(-p.N // PANEL), -(-p.K // K_TILE)
    blocks = -(-columns // p.nc)
    m0, n0 = i // blocks * p.mc, i % blocks * p.nc
    m1, n1 = min(m0 + p.mc, rows), min(n0 + p.nc, columns)
    tile = p.scratch + worker * p.scratch_row
    tiles = tile + TILE_BYTES  # (panels of rows, BLOCK) tiles
    a_panels = tiles + p.mc * BLOCK * TILE_BYTES
    add = p.sum_rows - 1 if n0 == 0 else -1
    turned, seen = pointer_at(tile, p.c), words_at(tiles)
    for m in range(m0, m1):
        own, along_k = m - m0, p.a_transposed == 0
        pack_rows(p.a, p.a_step, along_k, m, p.M, p.K, a_panels, own, p.mc, turned, seen, p.sums, add)
        wrong[m] = 0 if fits(seen) else 1
    # nothing to add: whole tiles go to C from the unit's registers
    block = block_steps(steps)
    direct = block == steps and p.start_row == 0 and p.start_column == 0
    b_end = b_panels + columns * steps * STEP_BYTES  # what lies behind belongs to another core
    start_unit()
    for n_block in range(n0, n1, BLOCK):
        n_end = min(n_block + BLOCK, n1)
        for k in range(0, steps, block):
            depth = min(block, steps - k)
            last = k + depth == steps
            # while this block is worked on, the next one comes into the second cache, a part with each panel of A
            next_n, next_k = (n_end if n_end < n1 else n0, 0) if last else (n_block, k + block)
            next_panels = b_panels + (next_k * columns + next_n * min(block, steps - next_k)) * STEP_BYTES
            next_stride = min(block, steps - next_k) * STEP_BYTES
            for m in range(m0, m1):
                if wrong[m]:
                    continue
                row_of_tiles = tiles + (m - m0) * BLOCK * TILE_BYTES
                a = a_panels + (k * p.mc + (m - m0) * depth) * STEP_BYTES
                for n in range(n_block, n_end):
                    b = b_panels + (k * columns + n * depth) * STEP_BYTES
                    ahead = next_panels + (n - n_block) * next_stride + (m - m0) * depth * AHEAD_BYTES
                    ahead = min(ahead, b_end - depth * AHEAD_BYTES)
                    kept = row_of_tiles + (n - n_block) * TILE_BYTES
                    if direct and (m + 1) * PANEL <= p.M and (n + 1) * PANEL <= p.N:
                        c = address_of(p.c + (m * PANEL * p.c_row + n * PANEL))
                        multiply_panels(a, b, depth, c, p.c_row, ahead)
                    elif k == 0:
                        multiply_panels(a, b, depth, kept, PANEL, ahead)
                    else:
                        multiply_panels(a, b, depth, tile, PANEL, ahead)
                        add_tile(pointer_at(kept, p.c), pointer_at(tile, p.c))
                if last:
                    write_rows(
                        p, m * PANEL, n_block * PANEL, min(p.N, n_end * PANEL), pointer_at(row_of_tiles, p.c), direct
                    )
    release_unit()


@part
def add_tile(kept, tile):
    """kept += tile."""
    W = lanes(kept)
    for i in range(0, PANEL * PANEL, W):
        store(kept + i, load(kept + i) + load(tile + i))


@part
def write_rows(p, m, n0, n1, tiles, direct):
    """C = act(start + tiles) + residual for a panel of rows and columns n0 … n1 − 1, row by row.

    direct: whole tiles are in C already.
    """
    W = lanes(p.c)
    begin = (n1 - n0) // PANEL * PANEL if direct and m + PANEL <= p.M else 0
    for i in range(min(PANEL, p.M - m)):
        c = p.c + ((m + i) * p.c_row + n0)
        s = p.start + ((m + i) * p.start_row + (n0 + begin) * p.start_column)
        for n in range(begin, n1 - n0, PANEL):
            tile = tiles + (n // PANEL * (TILE_BYTES // 4) + i * PANEL)
            left = n1 - n0 - n
            if left >= PANEL:
                for v in range(0, PANEL, W):
                    store(c + (n + v), load(s + v) + load(tile + v))
            else:
                for v in range(0, left, W):
                    store_first(c + (n + v), load_first(s + v, left - v) + load(tile + v), left - v)
            s += PANEL * p.start_column
        if p.activation or p.add:
            finish(p, m + i, n0, 1, n1 - n0)


@kernel
def gemm_split(
    pool, zeros, a, a_step, a_transposed, b, b_step, b_transposed, c, c_row, start, start_row, start_column,
    activation, z, residual, residual_row, sums, add_sums, M, N, K, mc, nc, panels, scratch, scratch_row, wrong,
):  # fmt: skip
    """The product as in gemm. Returns −1 if the numbers of B did not allow it and nothing was done; else how many panels of
    A's rows were left out for that reason (their sums were not).

    mc, nc: panels of rows and columns in a task; panels: room for the packed B and PANEL words for each of its panels; wrong: a
    number for each panel of A's rows, 1 for those left out.
    """
    p = make_product(
        zeros, a, a_step, a_transposed, b, b_step, b_transposed, c, c_row, start, start_row, start_column,
        activation, z, residual, residual_row, sums, add_sums, M, N, K, mc, nc, 0, scratch, scratch_row,
    )  # fmt: skip
    rows, columns = -(-M // PANEL), -(-N // PANEL)
    largest = panels + columns * -(-K // K_TILE) * STEP_BYTES
    parallel_for(pool, columns, pack_task, (p, panels, largest))
    for n in range(columns):
        if not fits(words_at(largest + 4 * PANEL * n)):
            return -1
    parallel_for(pool, -(-rows // mc) * -(-columns // nc), split_task, (p, panels, wrong))
    return wrong.sum()
