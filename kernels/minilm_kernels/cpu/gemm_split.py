"""The product of float32 matrices on the matrix unit, in tiles of 32 × 32, for at most MOST_K k's.

    B is split and packed once for all tasks (split.py)
    a task, some panels of A's rows by some or all of B's columns:
        pack its rows of A                                  they stay in this core's second cache
        for each block of BLOCK panels of B:                stays there too
            for each panel of A:
                for each panel of B:  C tile = start + A panel · B panel        (matrix_unit.py)

So few k's at once that A's rows stay in the cache and a tile's whole sum in the unit's registers; longer sums are products one
after the other, each of which starts from the C of the one before. The order of the sums is the same however C is cut.

The unit takes subnormal numbers for 0, and a split ∞ is none: where all numbers of a row of A or of a column of B are that
small, or one is that large, the product is left to gemm.py: wholly if it is B, for a panel of rows if it is A.
"""

from __future__ import annotations

from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.gemm_tiles import finish, make_product
from minilm_kernels.cpu.matrix_unit import AHEAD_BYTES, multiply_panels, release_unit, start_unit
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.split import K_TILE, PANEL, STEP_BYTES, WORDS, pack_columns, pack_rows
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

BLOCK = 4  # panels of B: with MOST_K they fill a fifth of the second cache
MOST_K = 512
TASK_BYTES = 4 * PANEL * PANEL + 4 * PANEL * WORDS  # a tile, and the largest numbers of a panel
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
    scratch = p.scratch + worker * p.scratch_row
    tile, seen = pointer_at(scratch, p.c), words_at(scratch + 4 * PANEL * PANEL)
    a_panels = scratch + TASK_BYTES
    add = p.sum_rows - 1 if n0 == 0 else -1
    for m in range(m0, m1):
        own, along_k = m - m0, p.a_transposed == 0
        pack_rows(p.a, p.a_step, along_k, m, p.M, p.K, a_panels, own, tile, seen, p.sums, add)
        wrong[m] = 0 if fits(seen) else 1
    from_zero = p.start_row == 0 and p.start_column == 0
    panel = steps * STEP_BYTES
    b_end = b_panels + columns * panel  # what lies behind belongs to another core
    start_unit()
    for n_block in range(n0, n1, BLOCK):
        n_end = min(n_block + BLOCK, n1)
        # while this block is worked on, the next one comes into the second cache, a part with each panel of A
        next_block = b_panels + (n_end if n_end < n1 else n0) * panel
        for m in range(m0, m1):
            if wrong[m]:
                continue
            a = a_panels + (m - m0) * panel
            for n in range(n_block, n_end):
                b = b_panels + n * panel
                ahead = next_block + (n - n_block) * panel + (m - m0) * steps * AHEAD_BYTES
                ahead = min(ahead, b_end - steps * AHEAD_BYTES)
                if from_zero and (m + 1) * PANEL <= p.M and (n + 1) * PANEL <= p.N:
                    c = address_of(p.c + (m * PANEL * p.c_row + n * PANEL))
                    multiply_panels(a, b, steps, c, p.c_row, ahead)
                else:
                    multiply_panels(a, b, steps, scratch, PANEL, ahead)
                    write_tile(p, m * PANEL, n * PANEL, tile)
            if p.activation or p.add:
                first, end = n_block * PANEL, min(p.N, n_end * PANEL)
                for i in range(m * PANEL, min(p.M, (m + 1) * PANEL)):
                    finish(p, i, first, 1, end - first)
    release_unit()


@part
def write_tile(p, m, n, tile):
    """C = start + tile for the tile that begins in row m and column n."""
    W = lanes(p.c)
    columns = min(PANEL, p.N - n)
    for i in range(min(PANEL, p.M - m)):
        c = p.c + ((m + i) * p.c_row + n)
        s = p.start + ((m + i) * p.start_row + n * p.start_column)
        if columns == PANEL:
            for v in range(0, PANEL, W):
                store(c + v, load(s + v) + load(tile + (i * PANEL + v)))
        else:
            for v in range(0, columns, W):
                store_first(c + v, load_first(s + v, columns - v) + load(tile + (i * PANEL + v)), columns - v)


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
