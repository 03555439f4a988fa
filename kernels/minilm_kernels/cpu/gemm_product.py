"""From arrays to the kernels of gemm.py and gemm_few.py: how a product is cut, and where its memory lies."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from minilm_kernels.cpu import gemm_chunks as chunks
from minilm_kernels.cpu import pool
from minilm_kernels.cpu.gemm import A_ROWS, KC, PANELS, gemm
from minilm_kernels.cpu.gemm_few import FEW, few
from minilm_kernels.cpu.gemm_plan import (
    Operands,
    plan,
    plan_few,
    plan_pieces,
    plan_split,
    worth_chunks,
    worth_splitting,
)
from minilm_kernels.cpu.gemm_split import MOST_K, TASK_BYTES, gemm_split
from minilm_kernels.cpu.gemm_tiles import ROWS, VECTORS
from minilm_kernels.cpu.micro import address_of
from minilm_kernels.cpu.split import K_TILE, PANEL, STEP_BYTES
from minilm_kernels.cpu.target import MATRIX_UNIT, lanes_of

MOST_PACKED = 16 << 20  # bytes of packed A or B in a piece of a product on the matrix unit
SCRATCH: dict[int, int] = {
    size: -(-size * (ROWS * VECTORS * lanes_of(size) + A_ROWS // ROWS * (KC * ROWS + lanes_of(size))
    + KC * PANELS * VECTORS * lanes_of(size)) // 4096) * 4096 for size in (4, 8)
}  # fmt: skip
ZEROS = {t().itemsize: np.zeros(VECTORS * 16, t) for t in (np.float32, np.float64)}
ZEROS_AT = {size: address_of(zeros) for size, zeros in ZEROS.items()}
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
    zeros = ZEROS[size]
    if K == 0:  # an empty sum is 0: let it be 0 · 0
        K, a, b = 1, np.zeros((M, 1), c.dtype), np.zeros((1, N), c.dtype)
    a, a_step, a_transposed = operand(a, columns_first=sums is not None)
    b, b_step, b_transposed = operand(b)
    threads = pool.get_num_threads()
    at, c_row = address_of(c), c.strides[0] // size
    if accumulate:
        start, start_row, start_column = at, c_row, 1
    elif bias is not None:
        start, start_row, start_column = address_of(bias), 0, 1
    else:
        start, start_row, start_column = ZEROS_AT[size], 0, 0
    operands = (  # Operands without its names, which take half a microsecond
        address_of(a), a_step, a_transposed, address_of(b), b_step, b_transposed, at, c_row, start, start_row, start_column,
        activation, 0 if z is None else address_of(z), 0 if residual is None else address_of(residual),
        0 if residual is None else residual.strides[0] // size, 0 if sums is None else address_of(sums), 0, M, N, K,
    )  # fmt: skip
    if M <= FEW and not a_transposed:
        run(few, operands, zeros, size, threads, plan_few(M, N, K, threads))
        return
    if MATRIX_UNIT and size == 4:
        bare = bias is None and activation == 0 and residual is None
        if bare and worth_chunks(M, N, K) and in_chunks(operands, zeros, threads):
            return
        if worth_splitting(M, N, K):
            split_product(operands, zeros, threads)
            return
    run(gemm, operands, zeros, size, threads, plan(M, N, K, threads, size, a_transposed))


def run(
    kernel: Any, operands: tuple, zeros: np.ndarray, size: int, threads: int, planned: tuple[int, int, int]
) -> None:
    """Start gemm or few with a plan."""
    mc, nc, shared = planned
    row = SCRATCH[size]
    scratch = workspace(threads * row + shared)
    kernel(pool.start(), zeros, *operands, mc, nc, scratch + threads * row if shared else 0, scratch, row)


def in_chunks(operands: tuple, zeros: np.ndarray, threads: int) -> bool:
    """The product cut along k, if its numbers are such that gemm_chunks takes them; whether it was done."""
    M, N, K = operands[-3:]
    rows, columns, count = -(-M // PANEL), -(-N // PANEL), -(-K // chunks.CHUNK)
    own_row = 4 * rows * PANEL * (columns * PANEL + 1) + 192  # neighbours begin in different places of the cache
    row = TASK_BYTES + (rows + columns) * chunks.CHUNK_STEPS * STEP_BYTES
    own = workspace(count * own_row + threads * row)
    bad = np.empty(count, np.int64)
    return chunks.gemm_chunks(pool.start(), zeros, *operands, own, own_row, own + count * own_row, row, bad)


def split_product(operands: tuple, zeros: np.ndarray, threads: int) -> None:
    """The product on the matrix unit, in pieces whose packed copies are of bearable size."""
    M, N, K = operands[-3:]
    pieces = plan_pieces(M, N, K, MOST_K, MOST_PACKED)
    if pieces is None:
        split_piece(operands, zeros, threads)
        return
    whole = Operands._make(operands)
    rows, columns, depth = pieces
    for k in range(0, K, depth):
        for m in range(0, M, rows):
            for n in range(0, N, columns):
                piece = whole.piece(m, min(M, m + rows), n, min(N, n + columns), k, min(K, k + depth))
                split_piece(piece, zeros, threads)


def split_piece(operands: tuple, zeros: np.ndarray, threads: int) -> None:
    """A piece of a product on the matrix unit; what its numbers are too small or too large for, on vectors."""
    M, N, K = operands[-3:]
    mc, nc = plan_split(M, N, K, threads)
    rows, columns, steps = -(-M // PANEL), -(-N // PANEL), -(-K // K_TILE)
    panels = columns * (steps * STEP_BYTES + 4 * PANEL)
    row = TASK_BYTES + mc * steps * STEP_BYTES
    wrong = np.empty(rows, np.int64)
    scratch = workspace(panels + threads * row)
    left = gemm_split(pool.start(), zeros, *operands, mc, nc, scratch, scratch + panels, row, wrong)
    if left == 0:
        return
    piece = Operands._make(operands)
    if left < 0:
        run(gemm, piece, zeros, 4, threads, plan(M, N, K, threads, 4, piece.a_transposed))
    else:
        piece = piece._replace(sums=0)  # they are done
        for m in np.flatnonzero(wrong).tolist():
            some = piece.piece(m * PANEL, min(M, (m + 1) * PANEL), 0, N, 0, K)
            run(gemm, some, zeros, 4, threads, plan(some.M, N, K, threads, 4, piece.a_transposed))


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
