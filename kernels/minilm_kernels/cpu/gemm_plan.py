"""How a product is cut into tasks, and the part of a product that a task or a piece is."""

from __future__ import annotations

import functools
from typing import NamedTuple

from minilm_kernels.cpu.gemm import KC, PANELS
from minilm_kernels.cpu.gemm_chunks import CHUNK
from minilm_kernels.cpu.gemm_few import STRIPE
from minilm_kernels.cpu.gemm_split import BLOCK, MOST_K
from minilm_kernels.cpu.gemm_tiles import ROWS, VECTORS
from minilm_kernels.cpu.split import K_TILE, PANEL, STEP_BYTES
from minilm_kernels.cpu.target import lanes_of

MOST_ROWS = 8  # panels of rows in a task on the matrix unit
CHUNK_BYTES = 3 << 19  # of packed A and B in a task of gemm_chunks
SUMS_BYTES = 16 << 20  # of its C's, one for each chunk
SMALL = 1 << 27  # multiplications
SHARED_LIMIT = 1 << 26  # bytes of B that are packed for all tasks at once; beyond, each task packs its own block


def even(n: int, parts: int, unit: int) -> int:
    """The size of `parts` nearly equal parts of n, in whole units."""
    return max(-(-n // (parts * unit)), 1) * unit


@functools.lru_cache(4096)
def plan(M: int, N: int, K: int, threads: int, itemsize: int, a_transposed: int) -> tuple[int, int, int]:
    """mc, nc and how many bytes of B are packed for all tasks (0: each task packs what it needs)."""
    width = VECTORS * lanes_of(itemsize)
    nc = even(N, -(-N // (PANELS * width)), width)
    if threads == 1 or M * N * K < 1 << 18:
        return even(M, 1, ROWS), nc, 0
    blocks = -(-N // nc)
    # C is wide: tasks are blocks of columns, so that each part of B is packed and used by one task alone. All of A is gone
    # through for each; where it must be packed for that, the blocks should not be narrow
    narrowest = nc if a_transposed else 3 * width
    if M <= 1024 and 2 * threads * narrowest <= N:
        return even(M, 1, ROWS), min(nc, even(N, 2 * threads, width)), 0
    if 4 * M < N and threads * 2 * width <= N:  # so few rows that packing A more than once costs less than B
        return even(M, 1, ROWS), min(nc, even(N, threads, width)), 0
    # several tasks per thread, so that a thread that is held up delays the others less; but blocks of many rows, as each task
    # goes through all of B. In a small product one task per thread
    choices = ((1, 0),) if M * N * K < SMALL else ((4, 384), (2, 192), (1, 0))
    for tasks, least in choices:
        parts = -(-tasks * threads // blocks)
        while parts * blocks % threads and parts < 2 * tasks * threads:  # as many tasks for one thread as for another
            parts += 1
        if M // parts >= least:
            break
    mc = even(M, parts, ROWS)
    size = -(-K // KC) * KC * -(-N // width) * width * itemsize
    # packing all of B at once is worth a second start of the threads only if many would pack the same
    return mc, nc, size if -(-M // mc) > 4 and size <= SHARED_LIMIT else 0


@functools.lru_cache(4096)
def worth_splitting(M: int, N: int, K: int) -> bool:
    """Whether splitting and packing cost less than the matrix unit saves.

    B's packed copy must serve many rows of A, more of them where the product is small or C is gone through once for every
    MOST_K k's.
    """
    if min(N, K) < 128:
        return False
    work = M * N * K
    if K > MOST_K:
        return M >= 384 and work >= 2 * SMALL
    return M >= 128 and work >= (SMALL // 4 if M >= 384 else SMALL)


@functools.lru_cache(4096)
def worth_chunks(M: int, N: int, K: int) -> bool:
    """Whether to cut the sums along k: what a task packs stays in its second cache, and all chunks' C take bearable room."""
    packed = (M + N) * CHUNK * STEP_BYTES // (PANEL * K_TILE)
    sums = 4 * M * N * -(-K // CHUNK)
    return min(M, N) >= 64 and K >= 2 * CHUNK and packed <= CHUNK_BYTES and sums <= SUMS_BYTES


@functools.lru_cache(4096)
def plan_pieces(M: int, N: int, K: int, most_k: int, most_packed: int) -> tuple[int, int, int] | None:
    """Rows, columns and k's of the pieces that a product on the matrix unit is cut into; None if it is one piece."""
    depth = even(K, -(-K // most_k), K_TILE)
    most = most_packed // (-(-depth // K_TILE) * STEP_BYTES // PANEL)
    if most_k >= K and most >= max(M, N):
        return None
    return even(M, -(-M // most), PANEL), even(N, -(-N // most), PANEL), depth


@functools.lru_cache(4096)
def plan_split(M: int, N: int, K: int, threads: int) -> tuple[int, int]:
    """mc and nc of gemm_split, in panels: a few rows and all columns, as A is packed for each cut; cut for many threads."""
    rows, columns = -(-M // PANEL), -(-N // PANEL)
    # the largest tasks of which every thread gets as many as the others
    mc = min(range(1, MOST_ROWS + 1), key=lambda mc: (-(-rows // mc // threads) * mc, -mc))
    cuts = min(-(-2 * threads // -(-rows // mc)), -(-columns // BLOCK)) if threads > 1 else 1
    return mc, even(columns, max(1, cuts), 1)


@functools.lru_cache(4096)
def plan_few(M: int, N: int, K: int, threads: int) -> tuple[int, int, int]:
    """The same for few rows: blocks of columns, none so small that handing it out would take longer than the work."""
    parts = max(min(4 * threads, N * K >> 15), 1) if threads > 1 else 1
    return M, min(max(-(-N // (parts * 64)) * 64, 64), STRIPE), 0


class Operands(NamedTuple):
    """A product as the kernels take it: addresses (0 where there is none), steps in elements, sizes. See gemm_tiles.Product."""

    a: int
    a_step: int
    a_transposed: int
    b: int
    b_step: int
    b_transposed: int
    c: int
    c_row: int
    start: int
    start_row: int
    start_column: int
    activation: int
    z: int
    residual: int
    residual_row: int
    sums: int
    add_sums: int
    M: int
    N: int
    K: int

    def piece(self, m0: int, m1: int, n0: int, n1: int, k0: int, k1: int) -> Operands:
        """The part of the product with these rows, columns and k's, in float32."""
        a = self.a + 4 * (k0 * self.a_step + m0 if self.a_transposed else m0 * self.a_step + k0)
        b = self.b + 4 * (n0 * self.b_step + k0 if self.b_transposed else k0 * self.b_step + n0)
        c, last = 4 * (m0 * self.c_row + n0), k1 == self.K
        start = self.start + 4 * (m0 * self.start_row + n0 * self.start_column), self.start_row, self.start_column
        if k0 > 0:
            start = self.c + c, self.c_row, 1
        return self._replace(
            a=a, b=b, c=self.c + c, start=start[0], start_row=start[1], start_column=start[2],
            activation=self.activation if last else 0, z=self.z + c if self.z and last else 0,
            residual=self.residual + 4 * (m0 * self.residual_row + n0) if self.residual and last else 0,
            sums=self.sums + 4 * m0 if self.sums and n0 == 0 else 0, add_sums=self.add_sums or int(k0 > 0),
            M=m1 - m0, N=n1 - n0, K=k1 - k0,
        )  # fmt: skip
