"""The innermost step of the matrix product: one tile of C, kept in registers while k runs.

    C[m, n] = S[m, n] + Σ_k A[m, k] B[k, n]        for `rows` rows and `vectors` vectors of columns

B lies in a packed panel, one row of the tile's width after the other, so that it is read straight on. A is either a packed
panel as well (k by k, `rows` numbers each: what was columns in memory), or the rows of a matrix as they are: each number
is loaded into all lanes anyway, so rows need no packing. S is where the sum starts from: zeros, a bias, or C itself.

The sum over k is kept apart and S is added at its end: one rounding of the large number per panel instead of one per k.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from minilm_kernels.cpu.plain import strided
from minilm_kernels.cpu.target import AVX2, AVX512, NEON, TARGET, lanes_of
from minilm_kernels.cpu.tile import UNROLL, own_function
from minilm_kernels.cpu.vector_types import (
    I64,
    llvm_function,
    multiply_add,
    scalar,
    splat_value,
    vector_pointer,
)


class Tile(NamedTuple):
    """The size of a tile: rows · vectors sums, `vectors` of B and one of A must fit into the registers."""

    rows: int
    vectors: int


TILE = {AVX512: Tile(8, 3), AVX2: Tile(6, 2), NEON: Tile(8, 3)}.get(TARGET, Tile(4, 2))


_HEAD = object.__basicsize__  # NumPy's C interface: the address of the data stands right after the head of the object
_address = ctypes.c_void_p.from_address


def address_of(array: np.ndarray) -> int:
    """The address of the first element: array.ctypes.data, eight times as fast."""
    return _address(id(array) + _HEAD).value or 0


def make_micro(vectors: int, packed: bool) -> Any:
    """A function  micro(a, a_row, last, b, s, s_row, c, c_row, K)  for TILE.rows rows and `vectors` vectors of columns:

    packed:      A[m, k] = a[k · rows + m]                      (a_row and last are not looked at)
    not packed:  A[m, k] = a[min(m, last) · a_row + k]          (rows after the last repeat it, their results are not used)
    B[k, n] = b[k · panel + n],  S[m, n] = s[m · s_row + n],  C[m, n] = c[m · c_row + n];  all strides in elements.

    `panel` is the width of a packed panel, TILE.vectors vectors; with fewer `vectors` only its first columns are worked on.
    """
    rows = TILE.rows

    @intrinsic
    def micro(typingctx, a, a_row, last, b, s, s_row, c, c_row, K):
        element = scalar(a.element)
        vector = ir.VectorType(element, lanes_of(a.element.bitwidth // 8))
        panel = TILE.vectors * vector.count
        align = a.element.bitwidth // 8

        def write(builder, args):
            a, a_row, last, b, s, s_row, c, c_row, K = args

            def number(i: int) -> ir.Constant:
                return ir.Constant(I64, i)

            def at(base: ir.Value, stride: ir.Value, m: int, v: int) -> ir.Value:
                offset = builder.add(builder.mul(stride, number(m)), number(v * vector.count))
                return builder.gep(base, [offset])

            byte = ir.IntType(8).as_pointer()
            fetch = llvm_function(builder, "llvm.prefetch.p0", ir.VoidType(), [byte, *[ir.IntType(32)] * 3])
            options = [ir.Constant(ir.IntType(32), i) for i in (0, 3, 1)]  # to read, into the nearest cache, data
            for m in range(rows):
                for v in range(vectors):
                    builder.call(fetch, [builder.bitcast(at(s, s_row, m, v), byte), *options])

            starts = [a]
            for m in range(1, rows):
                row = builder.select(builder.icmp_signed("<", number(m), last), number(m), last)
                starts.append(builder.gep(a, [builder.mul(row, a_row)]))
            zero = ir.Constant(vector, None)
            total = [cgutils.alloca_once_value(builder, zero) for _ in range(rows * vectors)]

            def step(k: ir.Value) -> None:
                b_at = builder.gep(b, [builder.mul(k, number(panel))])
                columns = [
                    builder.load(vector_pointer(builder, at(b_at, number(0), 0, v), vector), align=align)
                    for v in range(vectors)
                ]
                for m in range(rows):
                    if packed:
                        where = builder.gep(a, [builder.add(builder.mul(k, number(rows)), number(m))])
                    else:
                        where = builder.gep(starts[m], [k])
                    spread = splat_value(builder, builder.load(where), vector)
                    for v in range(vectors):
                        register = total[m * vectors + v]
                        builder.store(multiply_add(builder, spread, columns[v], builder.load(register)), register)

            whole = builder.sdiv(K, number(UNROLL))
            with cgutils.for_range(builder, whole) as loop:
                first = builder.mul(loop.index, number(UNROLL))
                for u in range(UNROLL):
                    step(builder.add(first, number(u)))
            done = builder.mul(whole, number(UNROLL))
            with cgutils.for_range(builder, builder.sub(K, done)) as loop:
                step(builder.add(done, loop.index))

            for m in range(rows):
                for v in range(vectors):
                    before = builder.load(vector_pointer(builder, at(s, s_row, m, v), vector), align=align)
                    value = builder.fadd(before, builder.load(total[m * vectors + v]))
                    builder.store(value, vector_pointer(builder, at(c, c_row, m, v), vector), align=align)

        def generate(context, builder, sig, args):
            p = element.as_pointer()
            kind = ir.FunctionType(ir.VoidType(), [p, I64, I64, p, p, I64, p, I64, I64])
            name = f"micro_{rows}x{vectors}_{'packed' if packed else 'rows'}_{element.intrinsic_name}"
            builder.call(own_function(builder, name, kind, write), args)
            return context.get_dummy_value()

        i = types.intp
        return types.void(a, i, i, b, s, i, c, i, i), generate

    if not config.DISABLE_JIT:
        return micro

    def plain_micro(a, a_row, last, b, s, s_row, c, c_row, K):
        W = lanes_of(a.dtype.itemsize)
        numbers = strided(a, rows, K, 1, rows) if packed else strided(a, last + 1, K, a_row, 1)
        A = numbers[[m if packed else min(m, last) for m in range(rows)]]
        B = strided(b, K, vectors * W, TILE.vectors * W, 1)
        strided(c, rows, vectors * W, c_row, 1)[:] = strided(s, rows, vectors * W, s_row, 1) + A @ B

    return plain_micro
