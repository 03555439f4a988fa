"""The product of a tall pair of float32 matrices on the matrix unit, as a weight's gradient is: C = Σ over chunks of k.

    a task, one chunk of CHUNK k's:
        pack A's and B's numbers of these k's               a core packs the rows that it wrote in the step before
        its own C = Σ over these k's, in tiles of 32 × 32, whole sums in the unit's registers
    then, the threads again, some rows of C each:
        C = start + the first chunk's + the second's + …    in this order, however many threads there are

Cut by rows or columns of C instead, every task would need all k's of one operand, half of them from the other core's cache.
Numbers that the unit cannot take (gemm_split.py) send the whole product back to gemm.py.
"""

from __future__ import annotations

from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.gemm_split import TASK_BYTES, fits
from minilm_kernels.cpu.gemm_tiles import make_product
from minilm_kernels.cpu.matrix_unit import multiply_panels, release_unit, start_unit
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.split import K_TILE, PANEL, STEP_BYTES, pack_columns, pack_rows
from minilm_kernels.cpu.vector import lanes, load, load_first, pointer_at, store_first, words_at

CHUNK = 384  # k's
CHUNK_STEPS = CHUNK // K_TILE


@part
def chunk_task(worker, i, p, own, own_row, bad):
    """Task i: the sums over chunk i. own + i · own_row: where its C goes, whole panels; behind it its Σ_k A[m, k].

    bad[i] = 1 if its numbers do not fit the unit.
    """
    rows, columns = -(-p.M // PANEL), -(-p.N // PANEL)
    k0 = i * CHUNK
    K = min(CHUNK, p.K - k0)
    steps = -(-K // K_TILE)
    scratch = p.scratch + worker * p.scratch_row
    turned, seen = pointer_at(scratch, p.c), words_at(scratch + 4 * PANEL * PANEL)
    a_panels = scratch + TASK_BYTES
    b_panels = a_panels + rows * CHUNK_STEPS * STEP_BYTES
    c = own + i * own_row
    sums = pointer_at(c + 4 * rows * columns * PANEL * PANEL, p.c)
    a = p.a + (k0 * p.a_step if p.a_transposed else k0)
    b = p.b + (k0 if p.b_transposed else k0 * p.b_step)
    wrong = 0
    for n in range(columns):
        pack_columns(b, p.b_step, p.b_transposed == 1, n, p.N, K, b_panels, turned, seen)
        wrong += not fits(seen)
    for m in range(rows):
        add = 0 if p.sum_rows else -1
        pack_rows(a, p.a_step, p.a_transposed == 0, m, p.M, K, a_panels, m, turned, seen, sums, add)
        wrong += not fits(seen)
    bad[i] = wrong > 0
    if wrong:
        return
    start_unit()
    row, panel = columns * PANEL, steps * STEP_BYTES
    for m in range(rows):
        for n in range(columns):
            b = b_panels + n * panel
            multiply_panels(a_panels + m * panel, b, steps, c + 4 * PANEL * (m * row + n), row, b)
    release_unit()


@part
def add_task(worker, i, p, own, own_row, chunks):
    """Task i: a panel of C's rows, and their sums."""
    rows, columns = -(-p.M // PANEL), -(-p.N // PANEL)
    m0 = i * PANEL
    m1 = min(m0 + PANEL, p.M)
    for m in range(m0, m1):
        s = p.start + (m * p.start_row)
        add_chunks(p.c + m * p.c_row, s, p.start_column, own + 4 * m * columns * PANEL, own_row, chunks, p.N)
    if p.sum_rows:
        at = own + 4 * (rows * columns * PANEL * PANEL + m0)
        add_chunks(p.sums + m0, p.sums + m0, p.sum_rows - 1, at, own_row, chunks, m1 - m0)


@part
def add_chunks(c, s, s_column, own, own_row, chunks, n):
    """c[j] = s[j] + Σ of the chunks' numbers j for j < n; without s if s_column is 0."""
    W = lanes(c)
    for j in range(0, n, W):
        x = load(pointer_at(own + 4 * j, c))
        for i in range(1, chunks):
            x += load(pointer_at(own + i * own_row + 4 * j, c))
        if s_column:
            x += load_first(s + j, n - j)
        store_first(c + j, x, n - j)


@kernel
def gemm_chunks(
    pool, zeros, a, a_step, a_transposed, b, b_step, b_transposed, c, c_row, start, start_row, start_column,
    activation, z, residual, residual_row, sums, add_sums, M, N, K, own, own_row, scratch, scratch_row, bad,
):  # fmt: skip
    """The product as in gemm, without activation and residual; start is C or zeros. Returns whether it was done.

    own: room for each chunk's C and sums, own_row bytes apart; bad: a number for each chunk.
    """
    p = make_product(
        zeros, a, a_step, a_transposed, b, b_step, b_transposed, c, c_row, start, start_row, start_column,
        activation, z, residual, residual_row, sums, add_sums, M, N, K, 0, 0, 0, scratch, scratch_row,
    )  # fmt: skip
    chunks = -(-K // CHUNK)
    parallel_for(pool, chunks, chunk_task, (p, own, own_row, bad))
    if bad.sum() > 0:
        return False
    parallel_for(pool, -(-M // PANEL), add_task, (p, own, own_row, chunks))
    return True
