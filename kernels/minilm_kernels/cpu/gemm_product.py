"""From arrays to the kernels of gemm.py and gemm_few.py: how a product is cut, and where its memory lies."""

from __future__ import annotations

import functools
import threading

import numpy as np

from minilm_kernels.cpu import pool
from minilm_kernels.cpu.gemm import A_ROWS, KC, PANELS, gemm
from minilm_kernels.cpu.gemm_few import FEW, STRIPE, few
from minilm_kernels.cpu.gemm_tiles import ROWS, VECTORS
from minilm_kernels.cpu.micro import address_of
from minilm_kernels.cpu.target import lanes_of

SMALL = 1 << 27  # multiplications
SHARED_LIMIT = 1 << 26  # bytes of B that are packed for all tasks at once; beyond, each task packs its own block


@functools.lru_cache(4096)
def plan(M: int, N: int, K: int, threads: int, itemsize: int, a_transposed: int) -> tuple[int, int, int]:
    """mc, nc and how many bytes of B are packed for all tasks (0: each task packs what it needs)."""
    width = VECTORS * lanes_of(itemsize)

    def even(n: int, parts: int, unit: int) -> int:
        """The size of `parts` nearly equal parts of n, in whole units."""
        return max(-(-n // (parts * unit)), 1) * unit

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


def plan_few(M: int, N: int, K: int, threads: int) -> tuple[int, int, int]:
    """The same for few rows: blocks of columns, none so small that handing it out would take longer than the work."""
    parts = max(min(4 * threads, N * K >> 15), 1) if threads > 1 else 1
    return M, min(max(-(-N // (parts * 64)) * 64, 64), STRIPE), 0


SCRATCH: dict[int, int] = {
    size: -(-size * (ROWS * VECTORS * lanes_of(size) + A_ROWS // ROWS * (KC * ROWS + lanes_of(size))
    + KC * PANELS * VECTORS * lanes_of(size)) // 4096) * 4096 for size in (4, 8)
}  # fmt: skip
ZEROS = {np.dtype(t): np.zeros(VECTORS * 16, t) for t in (np.float32, np.float64)}
HUGE = 1 << 21  # bytes in a large page: packed panels in few pages need few translations of addresses
_local = threading.local()


def workspace(nbytes: int) -> int:
    """The address of at least nbytes of memory, the same each time for a Python thread."""
    kept = getattr(_local, "workspace", None)
    if kept is None or kept[1] < nbytes:
        _local.workspace = None
        memory = np.empty(nbytes + 2 * HUGE, np.uint8)
        kept = _local.workspace = (-(-memory.ctypes.data // HUGE) * HUGE, nbytes, memory)
    return kept[0]


def operand(x: np.ndarray, columns_first: bool = False) -> tuple[np.ndarray, int, int]:
    """x, the step between its rows, 0; or, where neighbours in memory stand in one column, the step between columns and 1."""
    (rows, columns), (row, column), size = x.shape, x.strides, x.itemsize
    if (column == size or columns == 1) and row % size == 0 and not columns_first:
        return x, row // size, 0
    if (row == size or rows == 1) and column % size == 0:
        return x, column // size, 1
    return np.ascontiguousarray(x), columns, 0


def product(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    *,
    accumulate: bool = False,
    bias: np.ndarray | None = None,
    activation: int = 0,
    z: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    sums: np.ndarray | None = None,
) -> None:
    """C = act(A B + bias) + residual, or C += A B, into c, whose rows must be contiguous; z gets the values before act.

    a: (M, K), b: (K, N); c, z, residual: (M, N); bias: (N,), contiguous, as are z (with c's strides) and the rows of residual.
    """
    (M, N), K, size = c.shape, a.shape[1], c.itemsize
    if M == 0 or N == 0:
        return
    zeros = ZEROS[c.dtype]
    if K == 0:  # an empty sum is 0: let it be 0 · 0
        K, a, b = 1, np.zeros((M, 1), c.dtype), np.zeros((1, N), c.dtype)
    a, a_step, a_transposed = operand(a, columns_first=sums is not None)
    b, b_step, b_transposed = operand(b)
    threads = pool.get_num_threads()
    few_rows = M <= FEW and not a_transposed
    mc, nc, shared = plan_few(M, N, K, threads) if few_rows else plan(M, N, K, threads, size, a_transposed)
    scratch_row = SCRATCH[size]
    scratch = workspace(threads * scratch_row + shared)
    at, c_row = address_of(c), c.strides[0] // size
    if accumulate:
        start, start_row, start_column = at, c_row, 1
    elif bias is not None:
        start, start_row, start_column = address_of(bias), 0, 1
    else:
        start, start_row, start_column = address_of(zeros), 0, 0
    (few if few_rows else gemm)(
        pool.start(), zeros, address_of(a), a_step, a_transposed, address_of(b), b_step, b_transposed, at, c_row,
        start, start_row, start_column, activation, 0 if z is None else address_of(z),
        0 if residual is None else address_of(residual), 0 if residual is None else residual.strides[0] // size,
        0 if sums is None else address_of(sums), M, N, K, mc, nc,
        scratch + threads * scratch_row if shared else 0, scratch, scratch_row,
    )  # fmt: skip


def matmul(a: np.ndarray, b: np.ndarray, *, out: np.ndarray | None = None, accumulate: bool = False) -> np.ndarray:
    """C = A B, or C += A B with accumulate.    [eq:matmul]

    a: (M, K), b: (K, N), of any strides: rows, columns and transposed views are read in place, others are copied first.
    out: (M, N), where the result is written; if it overlaps a or b, these are copied first.

    Returns C (M, N), which is `out` if that was given.
    """
    if out is None:
        out = np.empty((a.shape[0], b.shape[1]), a.dtype)
        product(a, b, out)
        return out
    if np.may_share_memory(a, out):
        a = a.copy()
    if np.may_share_memory(b, out):
        b = b.copy()
    row, column = out.strides
    size = out.itemsize
    if (column == size or out.shape[1] == 1) and row % size == 0:
        product(a, b, out, accumulate=accumulate)
    elif row == size and column % size == 0:  # Cᵀ = Bᵀ Aᵀ
        product(b.T, a.T, out.T, accumulate=accumulate)
    else:
        copy = np.ascontiguousarray(out) if accumulate else np.empty(out.shape, out.dtype)
        product(a, b, copy, accumulate=accumulate)
        out[...] = copy
    return out
