"""The matrix product C = A B; on the way C may start from a bias or itself, and get an activation and a residual.

C is cut into blocks of mc rows and nc columns, one task each. A task goes through k in blocks of KC:

    for each block of k:
        B's KC × nc numbers lie packed in the core's second cache (packed by the task, or once for all tasks before)
        for each ROWS rows of A:                                    (stay in the first cache)
            for each panel of B:  C tile += A rows · B panel        (micro.py, in registers)

The sum over k inside a block starts from zero and is then added to C. Blocks of k always begin at multiples of KC, so the
bits of C depend on the shapes alone: not on the number of threads, nor on how C was cut.

After Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication (2008), with the second and third loop exchanged.
"""

from __future__ import annotations

from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.gemm_tiles import ROWS, VECTORS, make_product, row_of_tiles
from minilm_kernels.cpu.packing import GROUP, pack_a, pack_b, panel_rows
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.vector import lanes, load, load_first, pointer, pointer_at, splat, store_first

KC = 384  # k's in a block: ROWS · KC numbers of A stay in the first cache
PANELS = 12  # panels of B in a block: with KC they fill about half of the second cache
A_ROWS = 12 * ROWS  # rows of a transposed A that are packed at a time


@part
def sum_panels(a, stride, kn, sums, mn, add):
    """sums[m] = Σ_k A[m, k] over the kn columns of packed panels, added to what is there with `add`."""
    W = lanes(a)
    for m in range(0, mn, ROWS):
        for v in range(0, ROWS, W):
            x, y = splat(a, 0.0), splat(a, 0.0)  # two sums, as an addition takes longer than a load
            for k in range(0, kn - 1, 2):
                x += load(a + (k * ROWS + v))
                y += load(a + ((k + 1) * ROWS + v))
            if kn % 2:
                x += load(a + ((kn - 1) * ROWS + v))
            n = min(ROWS, mn - m) - v
            x += y
            if add:
                x += load_first(sums + (m + v), n)
            store_first(sums + (m + v), x, n)
        a += stride


@part
def compute(worker, i, p, zeros):
    """Task i: one block of C."""
    W = lanes(p.c)
    width = VECTORS * W
    blocks = -(-p.N // p.nc)
    m0, n0 = i // blocks * p.mc, i % blocks * p.nc
    m1, n1 = min(m0 + p.mc, p.M), min(n0 + p.nc, p.N)
    temporary = pointer_at(p.scratch + worker * p.scratch_row, zeros)
    own_a = temporary + ROWS * width
    own_b = own_a + A_ROWS // ROWS * (KC * ROWS + W)
    zero = pointer(zeros)
    for k0 in range(0, p.K, KC):
        kn = min(KC, p.K - k0)
        stride = panel_rows(kn, W) * width
        if p.shared:
            b = p.panels + (-(-p.N // width) * width * k0 + n0 // width * stride)
        else:
            b = own_b
            pack_b(p.b + ((n0 * p.b_step + k0) if p.b_transposed else (k0 * p.b_step + n0)),
                   p.b_step, p.b_transposed, b, kn, n1 - n0)  # fmt: skip
        s, s_row, s_column = p.start, p.start_row, p.start_column
        if k0 > 0:
            s, s_row, s_column = p.c, p.c_row, 1
        last = k0 + kn == p.K
        a_stride = kn * ROWS + W
        for first in range(m0, m1, A_ROWS):
            end = min(first + A_ROWS, m1)
            if p.a_transposed:
                pack_a(p.a + (k0 * p.a_step + first), p.a_step, own_a, a_stride, kn, end - first)
                if p.sum_rows and n0 == 0:
                    sum_panels(own_a, a_stride, kn, p.sums + first, end - first, k0 > 0 or p.sum_rows == 2)
            for m in range(first, end, ROWS):
                a = p.a + (m * p.a_step + k0)
                if p.a_transposed:
                    a = own_a + (m - first) // ROWS * a_stride
                row_of_tiles(p, m, n0, n1, a, b, stride, kn, s, s_row, s_column, last, temporary, zero)


@part
def pack_shared(worker, i, p):
    """Task i of packing B for all: GROUP panels of one block of k."""
    W = lanes(p.b)
    width = VECTORS * W
    group = GROUP * width
    groups = -(-p.N // group)
    k0, n0 = i // groups * KC, i % groups * group
    kn, nn = min(KC, p.K - k0), min(group, p.N - n0)
    target = p.panels + (-(-p.N // width) * width * k0 + n0 // width * panel_rows(kn, W) * width)
    source = p.b + ((n0 * p.b_step + k0) if p.b_transposed else (k0 * p.b_step + n0))
    pack_b(source, p.b_step, p.b_transposed, target, kn, nn)


@kernel
def gemm(
    pool, zeros, a, a_step, a_transposed, b, b_step, b_transposed, c, c_row, start, start_row, start_column,
    activation, z, residual, residual_row, sums, add_sums, M, N, K, mc, nc, panels, scratch, scratch_row,
):  # fmt: skip
    """The product; a, b, c, start, z, residual, sums and panels are addresses, 0 where there is none."""
    p = make_product(
        zeros, a, a_step, a_transposed, b, b_step, b_transposed, c, c_row, start, start_row, start_column,
        activation, z, residual, residual_row, sums, add_sums, M, N, K, mc, nc, panels, scratch, scratch_row,
    )  # fmt: skip
    if panels != 0:
        width = VECTORS * lanes(zeros)
        parallel_for(pool, -(-K // KC) * -(-N // (GROUP * width)), pack_shared, (p,))
    parallel_for(pool, -(-M // mc) * -(-N // nc), compute, (p, zeros))
