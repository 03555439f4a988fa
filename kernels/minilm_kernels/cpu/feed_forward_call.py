"""feed_forward: two linear layers with an activation between them; one kernel on the matrix unit, elsewhere two products."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from minilm_kernels.cpu import pool
from minilm_kernels.cpu.feed_forward_forward import forward_on_unit
from minilm_kernels.cpu.feed_forward_gradient import GROUP, gradient_on_unit
from minilm_kernels.cpu.feed_forward_tiles import SEEN_BYTES, SQUARE_BYTES
from minilm_kernels.cpu.gemm_linear import LinearResiduals, linear, linear_backward, row_contiguous
from minilm_kernels.cpu.gemm_product import ZEROS, workspace
from minilm_kernels.cpu.gemm_tiles import ACTIVATIONS
from minilm_kernels.cpu.micro import address_of
from minilm_kernels.cpu.split import PANEL, STEP_BYTES
from minilm_kernels.cpu.target import MATRIX_UNIT
from minilm_kernels.formulas.activations import activate

LEAST_ROWS = 256  # with fewer, packing the weights costs more than the unit saves
# of both packed weights and both gradients. A quarter of that stays in a core's second cache beside a block of rows; with more
# it is read again for each block, which by measurement costs less than it saves up to here
MOST_BYTES = 6 << 20
BLOCK = 4  # most panels of rows in a block
MOST_CHUNKS = 16  # of rows, each with weights' gradients of its own
FLOAT32 = np.dtype(np.float32)


class FeedForwardResiduals(NamedTuple):
    """What feed_forward_backward needs from feed_forward: the residuals of its two linear layers."""

    up: LinearResiduals
    down: LinearResiduals
    kept: bool = True  # whether down.rows is H; else it is empty, and backward computes H again from Z

    @property
    def shared(self) -> tuple[np.ndarray, ...]:
        """Those that the caller has as well; nobody else can reach the others."""
        return self.up.rows, self.up.weight, self.down.weight


def feed_forward(
    x: np.ndarray,
    weight_in: np.ndarray,
    weight_out: np.ndarray,
    bias_in: np.ndarray | None = None,
    bias_out: np.ndarray | None = None,
    *,
    activation: str,
    residual: np.ndarray | None = None,
) -> tuple[np.ndarray, FeedForwardResiduals]:
    """Y = act(X W_inᵀ + b_in) W_outᵀ + b_out + R, as in reference.feed_forward."""
    (hidden, inputs), outputs = weight_in.shape, weight_out.shape[0]
    rows = x.size // inputs if inputs else 0
    if not on_unit(rows, inputs, hidden, outputs, x.dtype):
        return two_products(x, weight_in, weight_out, bias_in, bias_out, activation, residual)
    X, W_in, W_out = row_contiguous(x.reshape(rows, inputs)), *map(np.ascontiguousarray, (weight_in, weight_out))
    b_in, b_out = (None if b is None else np.ascontiguousarray(b) for b in (bias_in, bias_out))
    R = None if residual is None else row_contiguous(residual.reshape(rows, outputs))
    Y, Z = np.empty((rows, outputs), FLOAT32), np.empty((rows, hidden), FLOAT32)
    size = rows, inputs, hidden, outputs
    threads = pool.get_num_threads()
    block = forward_block(-(-rows // PANEL), threads)
    row = forward_scratch(block, *(n // PANEL for n in size[1:]))
    scratch = workspace(threads * row + packed_bytes(*size[1:]))
    zeros = ZEROS[FLOAT32.itemsize]
    numbers = (
        address_of(X), X.strides[0] // 4, address_of(W_in), *place_of(b_in, zeros), address_of(W_out), *place_of(b_out, zeros),
        0 if R is None else address_of(R), 0 if R is None else R.strides[0] // 4, address_of(Z), address_of(Y), 0,
        *size, ACTIVATIONS[activation], block, scratch + threads * row, scratch, row,
    )  # fmt: skip
    bad = np.empty(hidden // PANEL + outputs // PANEL + -(-rows // (block * PANEL)), np.int64)
    if not forward_on_unit(pool.start(), zeros, numbers, bad):
        return two_products(x, weight_in, weight_out, bias_in, bias_out, activation, residual)
    up = LinearResiduals(X, W_in, Z, activation, x.shape, bias_in is not None, False)
    no_rows = np.empty((0, hidden), FLOAT32)
    shape = (*x.shape[:-1], hidden)
    down = LinearResiduals(no_rows, W_out, None, None, shape, bias_out is not None, residual is not None)
    return Y.reshape(*x.shape[:-1], outputs), FeedForwardResiduals(up, down, kept=False)


def two_products(
    x: np.ndarray,
    weight_in: np.ndarray,
    weight_out: np.ndarray,
    bias_in: np.ndarray | None,
    bias_out: np.ndarray | None,
    activation: str,
    residual: np.ndarray | None,
) -> tuple[np.ndarray, FeedForwardResiduals]:
    H, up = linear(x, weight_in, bias_in, activation=activation)
    Y, down = linear(H, weight_out, bias_out, residual=residual)
    return Y, FeedForwardResiduals(up, down)


def feed_forward_backward(
    grad_output: np.ndarray,
    residuals: FeedForwardResiduals,
    *,
    needs: tuple[bool, bool, bool] = (True, True, True),
    out: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    accumulate: tuple[bool, bool] = (False, False),
) -> tuple[np.ndarray | None, ...]:
    """The cotangents of x, weight_in, weight_out, bias_in, bias_out and residual, as in reference.feed_forward_backward."""
    up, down, kept = residuals
    if not kept:
        if all(needs) and all(place is None or place.flags.c_contiguous for place in out):
            gradients = backward_on_unit(grad_output, residuals, out, accumulate)
            if gradients is not None:
                return gradients
        assert up.activation is not None
        down = down._replace(rows=activate(up.preactivation, up.activation))
    need_x, need_in, need_out = needs
    dH, dW_out, db_out, dR = linear_backward(
        grad_output, down, needs=(need_x or need_in or up.bias, need_out), weight_out=out[1], accumulate=accumulate[1]
    )
    dX = dW_in = db_in = None
    if dH is not None:
        dX, dW_in, db_in, _ = linear_backward(
            dH, up, needs=(need_x, need_in), weight_out=out[0], accumulate=accumulate[0]
        )
    return dX, dW_in, dW_out, db_in, db_out, dR


def backward_on_unit(
    grad_output: np.ndarray,
    residuals: FeedForwardResiduals,
    out: tuple[np.ndarray | None, np.ndarray | None],
    accumulate: tuple[bool, bool],
) -> tuple[np.ndarray | None, ...] | None:
    """All cotangents; None if the numbers are not such as the unit takes."""
    up, down, _ = residuals
    X, Z, W_in, W_out = up.rows, up.preactivation, up.weight, down.weight
    (rows, inputs), (outputs, hidden) = X.shape, W_out.shape
    assert Z is not None
    dY = np.ascontiguousarray(grad_output).reshape(rows, outputs)
    dX, db_in, db_out = (np.empty(shape, FLOAT32) for shape in (X.shape, hidden, outputs))
    dW_in, dW_out = (np.empty_like(w) if place is None else place for w, place in zip((W_in, W_out), out))
    panels, threads = -(-rows // PANEL), pool.get_num_threads()
    chunk, block = cut_rows(panels)
    chunks = -(-panels // chunk)
    own_row = SQUARE_BYTES * (inputs + outputs) * hidden // PANEL**2 + 4 * (hidden + outputs) + 192
    row = gradient_scratch(block, inputs // PANEL, outputs // PANEL)
    scratch = workspace(threads * row + chunks * own_row + packed_bytes(inputs, hidden, outputs))
    own = scratch + threads * row
    packed = -(-(own + chunks * own_row) // 4096) * 4096
    numbers = (
        address_of(X), X.strides[0] // 4, address_of(W_in), 0, 0, address_of(W_out), 0, 0, 0, 0, address_of(Z), address_of(dY),
        address_of(dX), rows, inputs, hidden, outputs, ACTIVATIONS[up.activation], block, packed, scratch, row,
    )  # fmt: skip
    bad = np.empty(hidden // PANEL + inputs // PANEL + chunks, np.int64)
    done = gradient_on_unit(
        pool.start(), ZEROS[FLOAT32.itemsize], numbers, chunk, own, own_row, address_of(dW_in), int(accumulate[0]),
        address_of(dW_out), int(accumulate[1]), address_of(db_in), address_of(db_out), bad,
    )  # fmt: skip
    if not done:
        return None
    dR = grad_output if down.residual else None
    return dX.reshape(up.shape), dW_in, dW_out, db_in if up.bias else None, db_out if down.bias else None, dR


# --- how it is cut, and the memory it needs ---------------------------------------------------------------------------


def on_unit(rows: int, inputs: int, hidden: int, outputs: int, dtype: np.dtype) -> bool:
    """Whether both products go through the unit in one kernel: whole panels of features, in weights that fit the cache."""
    if not MATRIX_UNIT or dtype != FLOAT32 or rows < LEAST_ROWS or not inputs * hidden * outputs:
        return False
    whole = not (inputs % PANEL or hidden % PANEL or outputs % PANEL)
    return whole and packed_bytes(inputs, hidden, outputs) + 4 * (inputs + outputs) * hidden <= MOST_BYTES


def packed_bytes(inputs: int, hidden: int, outputs: int) -> int:
    return (inputs + outputs) * hidden // (PANEL * PANEL) * STEP_BYTES + 4096


def forward_scratch(block: int, x_steps: int, h_steps: int, y_steps: int) -> int:
    """Bytes of a worker's memory in forward_task."""
    most = max(h_steps, y_steps) * SQUARE_BYTES
    return SQUARE_BYTES + SEEN_BYTES + block * ((x_steps + h_steps) * STEP_BYTES + most)


def gradient_scratch(block: int, x_steps: int, y_steps: int) -> int:
    """Bytes of a worker's memory in gradient_task."""
    packed = (2 * y_steps + x_steps + 3 * GROUP) * STEP_BYTES
    return SQUARE_BYTES + 2 * SEEN_BYTES + block * (SEEN_BYTES + packed + (GROUP + x_steps) * SQUARE_BYTES)


@functools.lru_cache(4096)
def forward_block(panels: int, threads: int) -> int:
    """Panels of rows in a task: the largest blocks of which every thread gets as many as the others."""

    def rows_of_a_thread(n: int) -> int:
        blocks = -(-panels // n)
        return -(-blocks // threads) * n

    return min(range(BLOCK, 0, -1), key=rows_of_a_thread)


@functools.lru_cache(4096)
def cut_rows(panels: int) -> tuple[int, int]:
    """Panels in a chunk and in a block of it, for any number of threads: a power of two of chunks, of four panels or more."""
    chunks = min(1 << max(panels // 4, 1).bit_length() - 1, MOST_CHUNKS)
    chunk = -(-panels // chunks)
    return chunk, -(-chunk // -(-chunk // BLOCK))


def place_of(bias: np.ndarray | None, zeros: np.ndarray) -> tuple[int, int]:
    """Where a bias stands, and 1; without one, zeros and 0."""
    return (address_of(zeros), 0) if bias is None else (address_of(bias), 1)
