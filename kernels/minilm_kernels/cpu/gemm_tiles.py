"""What a task of a product needs to know, and what it does with one tile of C: multiply, then activation and residual."""

from __future__ import annotations

from typing import Any, NamedTuple

from minilm_kernels.cpu.compile import inlined, part, variant
from minilm_kernels.cpu.functions import gelu_erf, gelu_tanh, relu, silu
from minilm_kernels.cpu.micro import TILE, make_micro
from minilm_kernels.cpu.vector import lanes, load, load_first, pointer_at, prefetch, store, store_first

ROWS, VECTORS = TILE
AHEAD = 4  # rows of Z that are asked for before they are written
GELU, GELU_TANH, RELU, SILU = range(1, 5)
ACTIVATIONS = {None: 0, "gelu": GELU, "gelu_tanh": GELU_TANH, "relu": RELU, "silu": SILU}

full_rows, two_rows, one_rows = (make_micro(min(v, VECTORS), packed=False) for v in (VECTORS, 2, 1))
full_packed, two_packed, one_packed = (make_micro(min(v, VECTORS), packed=True) for v in (VECTORS, 2, 1))


class Product(NamedTuple):
    """One product, as its tasks see it. Steps are the distances between rows (or columns) in elements."""

    a: Any
    a_step: int
    a_transposed: int  # whether neighbours in memory are neighbours along m
    b: Any
    b_step: int
    b_transposed: int  # whether neighbours in memory are neighbours along k
    c: Any
    c_row: int
    start: Any  # C starts from start[m · start_row + n · start_column]: zeros, a bias, or C
    start_row: int
    start_column: int
    activation: int
    keep: int  # whether the values before the activation are kept in z
    z: Any  # (M, N), with the strides of C
    add: int  # whether the residual is added
    residual: Any
    residual_row: int
    M: int
    N: int
    K: int
    mc: int
    nc: int
    shared: int  # whether B was packed for all tasks, at `panels`
    panels: Any
    sums: Any  # where Σ_k A[m, k] goes
    sum_rows: int  # 0: not wanted; 1: written; 2: added to what is there
    scratch: int  # address of each worker's memory, SCRATCH apart
    scratch_row: int


@part
def make_product(
    zeros, a, a_step, a_transposed, b, b_step, b_transposed, c, c_row, start, start_row, start_column,
    activation, z, residual, residual_row, sums, add_sums, M, N, K, mc, nc, panels, scratch, scratch_row,
):  # fmt: skip
    """A Product from addresses, 0 where there is no such array."""
    return Product(
        pointer_at(a, zeros), a_step, a_transposed, pointer_at(b, zeros), b_step, b_transposed, pointer_at(c, zeros), c_row,
        pointer_at(start, zeros), start_row, start_column, activation, z != 0, pointer_at(z, zeros), residual != 0,
        pointer_at(residual, zeros), residual_row, M, N, K, mc, nc, panels != 0, pointer_at(panels, zeros),
        pointer_at(sums, zeros), (1 + add_sums) * (sums != 0), scratch, scratch_row,
    )  # fmt: skip


@part
def multiply(transposed, vectors, a, a_row, last, b, s, s_row, c, c_row, K):
    """The micro-kernel for this kind of A and so many vectors of columns."""
    if transposed:
        if vectors == VECTORS:
            full_packed(a, a_row, last, b, s, s_row, c, c_row, K)
        elif vectors == 2:
            two_packed(a, a_row, last, b, s, s_row, c, c_row, K)
        else:
            one_packed(a, a_row, last, b, s, s_row, c, c_row, K)
    elif vectors == VECTORS:
        full_rows(a, a_row, last, b, s, s_row, c, c_row, K)
    elif vectors == 2:
        two_rows(a, a_row, last, b, s, s_row, c, c_row, K)
    else:
        one_rows(a, a_row, last, b, s, s_row, c, c_row, K)


def make_finish(function: Any) -> Any:
    """A function of a part of C, while it is still in the first cache: C = act(C) + R; Z keeps the old C if it is wanted."""

    @variant(function)
    def finish(p, m, n, rows, columns):
        W = lanes(p.c)
        whole = columns // W * W
        for i in range(m, m + rows):
            c, z, residual = p.c + (i * p.c_row + n), p.z + (i * p.c_row + n), p.residual + (i * p.residual_row + n)
            coming = z + AHEAD * p.c_row
            for j in range(0, whole, W):
                x = load(c + j)
                if p.keep:
                    prefetch(coming + j)
                    store(z + j, x)
                y = function(x)
                if p.add:
                    y += load(residual + j)
                store(c + j, y)
            if whole < columns:
                left = columns - whole
                x = load_first(c + whole, left)
                if p.keep:
                    store_first(z + whole, x, left)
                y = function(x)
                if p.add:
                    y += load_first(residual + whole, left)
                store_first(c + whole, y, left)

    return finish


@inlined
def identity(x):
    return x


# one loop for each activation: a choice inside the loop would take as long as the activation
finish_gelu, finish_gelu_tanh, finish_relu, finish_silu, finish_sum = (
    make_finish(f) for f in (gelu_erf, gelu_tanh, relu, silu, identity)
)


@part
def finish(p, m, n, rows, columns):
    """C = act(C) + R for a part of C."""
    if p.activation == GELU:
        finish_gelu(p, m, n, rows, columns)
    elif p.activation == GELU_TANH:
        finish_gelu_tanh(p, m, n, rows, columns)
    elif p.activation == RELU:
        finish_relu(p, m, n, rows, columns)
    elif p.activation == SILU:
        finish_silu(p, m, n, rows, columns)
    else:
        finish_sum(p, m, n, rows, columns)


@part
def row_of_tiles(p, m, n0, n1, a, b, stride, kn, s, s_row, s_column, last_block, temporary, zeros):
    """ROWS rows of C from row m on, columns n0 … n1 − 1: one panel of B after the other."""
    W = lanes(p.c)
    width = VECTORS * W
    rows = min(ROWS, p.M - m)
    for n in range(n0, n1, width):
        columns = min(width, n1 - n)
        vectors = -(-columns // W)
        c, start = p.c + (m * p.c_row + n), s + (m * s_row + n * s_column)
        whole = rows == ROWS and columns == vectors * W
        target, target_row, before, before_row = c, p.c_row, start, s_row
        if not whole:
            target, target_row, before, before_row = temporary, width, zeros, 0
        multiply(p.a_transposed, vectors, a, p.a_step, rows - 1, b, before, before_row, target, target_row, kn)
        if not whole:
            for i in range(rows):
                for v in range(0, columns, W):
                    left = columns - v
                    x = load_first(start + (i * s_row + v), left) + load(temporary + (i * width + v))
                    store_first(c + (i * p.c_row + v), x, left)
        if last_block and (p.activation or p.add):
            finish(p, m, n, rows, columns)
        b += stride
