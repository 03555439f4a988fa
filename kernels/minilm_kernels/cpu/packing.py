"""Copies of matrices into panels: the order in which the micro-kernel of micro.py reads them.

A panel of B holds `TILE.vectors` vectors of columns, row after row (k); a panel of A holds TILE.rows rows, k after k:

    B panel: b[k · width + n] = B[k, n0 + n]             A panel: a[k · rows + m] = A[m0 + m, k]

Columns beyond the matrix's edge are filled with whatever is at hand: each column of a product is computed by itself, and
the results of these are never used.
"""

from __future__ import annotations

from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

from minilm_kernels.cpu.compile import part
from minilm_kernels.cpu.micro import TILE
from minilm_kernels.cpu.plain import strided
from minilm_kernels.cpu.target import lanes_of
from minilm_kernels.cpu.tile import butterfly, own_function
from minilm_kernels.cpu.vector import lanes, load, load_first, store
from minilm_kernels.cpu.vector_types import I32, I64, first_lanes, llvm_function, scalar, suffix, vector_pointer

ROWS, VECTORS = TILE
GROUP = 4  # panels of B that are filled side by side: their rows are neighbours in memory


@intrinsic
def transpose_edge(typingctx, source, source_row, target, target_row, rows, columns):
    """target[j, i] = source[min(i, rows − 1), j] for i, j < lanes; where j ≥ columns nothing is read, and zeros are written."""
    element = scalar(source.element)
    vector = ir.VectorType(element, lanes_of(source.element.bitwidth // 8))
    align = source.element.bitwidth // 8

    def write(builder, args):
        source, source_row, target, target_row, rows, columns = args
        mask = first_lanes(builder, columns, vector.count)
        last = builder.sub(rows, ir.Constant(I64, 1))
        name = f"llvm.masked.load.{suffix(vector)}.p0"
        pointer = vector.as_pointer()
        masked_load = llvm_function(builder, name, vector, [pointer, I32, mask.type, vector])
        values = []
        for i in range(vector.count):
            number = ir.Constant(I64, i)
            row = builder.select(builder.icmp_signed("<", number, last), number, last)
            where = vector_pointer(builder, builder.gep(source, [builder.mul(row, source_row)]), vector)
            values.append(builder.call(masked_load, [where, ir.Constant(I32, align), mask, ir.Constant(vector, None)]))
        for j, value in enumerate(butterfly(builder, values)):
            where = builder.gep(target, [builder.mul(target_row, ir.Constant(I64, j))])
            builder.store(value, vector_pointer(builder, where, vector), align=align)

    def generate(context, builder, sig, args):
        p = element.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [p, I64, p, I64, I64, I64])
        builder.call(own_function(builder, f"transpose_edge_{element.intrinsic_name}", kind, write), args)
        return context.get_dummy_value()

    i = types.intp
    return types.void(source, i, target, i, i, i), generate


@part
def panel_rows(kn, width):
    """Rows of memory in a panel of B with kn rows: whole blocks of a transposed copy are written."""
    return -(-kn // width) * width


@part
def pack_b(b, b_step, transposed, target, kn, nn):
    """Pack nn columns and kn rows of B into panels at target.

    B[k, n] = b[k · b_step + n], or with transposed = 1: b[n · b_step + k].
    """
    W = lanes(b)
    width = VECTORS * W
    stride = panel_rows(kn, W) * width
    if transposed:
        for n in range(0, nn, W):
            t = target + (n // width * stride + n % width)
            for k in range(0, kn, W):
                transpose_edge(b + (n * b_step + k), b_step, t + k * width, width, nn - n, kn - k)
        return
    for first in range(0, nn, GROUP * width):
        end = min(first + GROUP * width, nn)
        for k in range(kn):
            source = b + k * b_step
            t = target + (first // width * stride + k * width)
            for n in range(first, end, width):
                if n + width <= nn:
                    for v in range(0, width, W):
                        store(t + v, load(source + (n + v)))
                else:
                    for v in range(0, width, W):
                        store(t + v, load_first(source + (n + v), nn - n - v))
                t += stride


@intrinsic
def copy_rows(typingctx, source, target):
    """target[m] = source[m] for m < ROWS, as one vector of that length (two or more where the processor's are shorter)."""

    def generate(context, builder, sig, args):
        vector = ir.VectorType(scalar(source.element), ROWS)
        align = source.element.bitwidth // 8
        value = builder.load(vector_pointer(builder, args[0], vector), align=align)
        builder.store(value, vector_pointer(builder, args[1], vector), align=align)
        return context.get_dummy_value()

    return types.void(source, target), generate


@part
def pack_a(a, a_step, target, stride, kn, mn):
    """Pack mn rows of a transposed A into panels, `stride` elements apart: A[m, k] = a[k · a_step + m]."""
    for k in range(kn):
        source = a + k * a_step
        t = target + k * ROWS
        for m in range(0, mn, ROWS):
            if m + ROWS <= mn:
                copy_rows(source + m, t)
            else:
                for i in range(mn - m):
                    t[i] = source[m + i]
            t += stride


if config.DISABLE_JIT:

    def copy_rows(source, target):
        target.view(ROWS)[:] = source.view(ROWS)

    def transpose_edge(source, source_row, target, target_row, rows, columns):
        n = lanes_of(source.dtype.itemsize)
        block = strided(target, n, n, target_row, 1)
        block[:] = 0
        columns = max(0, min(columns, n))
        block[:columns] = strided(source, min(rows, n), columns, source_row, 1)[[min(i, rows - 1) for i in range(n)]].T
