"""The two inner steps of every kernel that multiplies matrices: a product tile kept in registers, and a transposed copy.

A tile of C = A B with `rows` rows and `vectors` vectors of columns stays in rows · vectors registers while k runs:

    for k:  b_v = B[k, v]  (vectors loads);  for m:  a = A[m, k] in every lane;  C[m, v] += a · b_v

so each loaded vector of B is used `rows` times and each element of A `vectors` times. A is read element by
element with two strides: a transposed A needs no copy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from minilm_kernels.cpu import plain
from minilm_kernels.cpu.target import lanes_of
from minilm_kernels.cpu.vector_types import I32, I64, multiply_add, scalar, splat_value, vector_pointer

UNROLL = 4


def accumulate(
    builder: ir.IRBuilder,
    rows: int,
    vectors: int,
    vector: ir.VectorType,
    a: ir.Value,
    a_row: ir.Value,
    a_column: ir.Value,
    b: ir.Value,
    b_row: ir.Value,
    K: ir.Value,
    start: list[ir.Value],
) -> list[ir.Value]:
    """LLVM: start[m · vectors + v] + Σ_k A[m, k] B[k, v] for every register of the tile, four steps of k at a time."""
    total = [cgutils.alloca_once_value(builder, value) for value in start]
    width = ir.Constant(I64, vector.count)
    align = 8 if isinstance(vector.element, ir.DoubleType) else 4

    def step(k: ir.Value) -> None:
        b_at = builder.gep(b, [builder.mul(k, b_row)])
        a_at = builder.gep(a, [builder.mul(k, a_column)])
        columns = []
        for v in range(vectors):
            where = builder.gep(b_at, [builder.mul(width, ir.Constant(I64, v))])
            columns.append(builder.load(vector_pointer(builder, where, vector), align=align))
        for m in range(rows):
            element = builder.load(builder.gep(a_at, [builder.mul(a_row, ir.Constant(I64, m))]))
            spread = splat_value(builder, element, vector)
            for v in range(vectors):
                register = total[m * vectors + v]
                builder.store(multiply_add(builder, spread, columns[v], builder.load(register)), register)

    unroll = ir.Constant(I64, UNROLL)
    whole = builder.sdiv(K, unroll)
    with cgutils.for_range(builder, whole) as loop:
        first = builder.mul(loop.index, unroll)
        for u in range(UNROLL):
            step(builder.add(first, ir.Constant(I64, u)))
    done = builder.mul(whole, unroll)
    with cgutils.for_range(builder, builder.sub(K, done)) as loop:
        step(builder.add(done, loop.index))
    return [builder.load(register) for register in total]


def own_function(
    builder: ir.IRBuilder, name: str, kind: ir.FunctionType, write: Callable[[ir.IRBuilder, Any], None]
) -> Any:
    """LLVM: the function of that name in this module, written on first use; it is called, never copied into its callers."""
    if name in builder.module.globals:
        return builder.module.globals[name]
    function = ir.Function(builder.module, kind, name=name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    inside = ir.IRBuilder(function.append_basic_block("entry"))
    write(inside, function.args)
    inside.ret_void()
    return function


def make_product(rows: int, vectors: int, start: str = "zero") -> Any:
    """A function  product(a, a_row, a_column, b, b_row, c, c_row, K, factor)  for a tile of rows × vectors · lanes:

    start="zero":   C  = A B
    start="add":    C += A B
    start="scale":  C  = C ⊙ factor + A B, one factor per column (a pointer; elsewhere it is not looked at)

    A[m, k] = a[m·a_row + k·a_column], B[k, n] = b[k·b_row + n], C[m, n] = c[m·c_row + n]; all strides in elements.
    """
    if start not in ("zero", "add", "scale"):
        raise ValueError(f"start is {start!r}; a product starts from 'zero', 'add' or 'scale'")

    @intrinsic
    def product(typingctx, a, a_row, a_column, b, b_row, c, c_row, K, factor):
        element = scalar(a.element)
        vector = ir.VectorType(element, lanes_of(a.element.bitwidth // 8))
        align = a.element.bitwidth // 8

        def write(builder, args):
            a, a_row, a_column, b, b_row, c, c_row, K, factor = args
            width = [ir.Constant(I64, v * vector.count) for v in range(vectors)]
            lines = [builder.gep(c, [builder.mul(c_row, ir.Constant(I64, m))]) for m in range(rows)]
            places = [vector_pointer(builder, builder.gep(line, [w]), vector) for line in lines for w in width]
            zeros = [ir.Constant(vector, None)] * len(places)
            total = accumulate(builder, rows, vectors, vector, a, a_row, a_column, b, b_row, K, zeros)
            # what C holds is added at the end: a sum over many calls then has a rounding per call, not per k
            if start == "add":
                total = [builder.fadd(builder.load(place, align=align), x) for x, place in zip(total, places)]
            if start == "scale":
                factors = [vector_pointer(builder, builder.gep(factor, [w]), vector) for w in width]
                scales = [builder.load(place, align=align) for place in factors]
                before = [builder.load(place, align=align) for place in places]
                total = [multiply_add(builder, y, scales[i % vectors], total[i]) for i, y in enumerate(before)]
            for value, place in zip(total, places):
                builder.store(value, place, align=align)

        def generate(context, builder, sig, args):
            p = element.as_pointer()
            kind = ir.FunctionType(ir.VoidType(), [p, I64, I64, p, I64, p, I64, I64, p])
            name = f"product_{rows}x{vectors}_{start}_{element.intrinsic_name}"
            builder.call(own_function(builder, name, kind, write), args)
            return context.get_dummy_value()

        i = types.intp
        return types.void(a, i, i, b, i, c, i, i, factor), generate

    if not config.DISABLE_JIT:
        return product

    def plain_product(a, a_row, a_column, b, b_row, c, c_row, K, factor):
        width = vectors * lanes_of(a.dtype.itemsize)
        A = plain.strided(a, rows, K, a_row, a_column)
        C = plain.strided(c, rows, width, c_row, 1)
        before = 0 if start == "zero" else C if start == "add" else C * factor.view(width)
        C[:] = before + A @ plain.strided(b, K, width, b_row, 1)

    return plain_product


# --- transposed copies ------------------------------------------------------------------------------------------------


def butterfly(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """LLVM: transpose n vectors of n lanes: exchange halves of pairs of rows that are 1, 2, 4, … apart."""
    n = len(rows)
    rows = list(rows)
    indices = ir.VectorType(I32, n)
    step = 1
    while step < n:
        low = [i if not i & step else n + (i ^ step) for i in range(n)]
        high = [(i ^ step) if not i & step else n + i for i in range(n)]
        for r in range(n):
            if not r & step:
                x, y = rows[r], rows[r | step]
                rows[r] = builder.shuffle_vector(x, y, ir.Constant(indices, low))
                rows[r | step] = builder.shuffle_vector(x, y, ir.Constant(indices, high))
        step *= 2
    return rows


@intrinsic
def transpose_block(typingctx, source, source_row, target, target_row, factor):
    """target[j, i] = factor · source[i, j] for a block of lanes × lanes; strides in elements."""
    element = scalar(source.element)
    vector = ir.VectorType(element, lanes_of(source.element.bitwidth // 8))
    align = source.element.bitwidth // 8

    def write(builder, args):
        source, source_row, target, target_row, factor = args

        def row(base, stride, i):
            return vector_pointer(builder, builder.gep(base, [builder.mul(stride, ir.Constant(I64, i))]), vector)

        rows = [builder.load(row(source, source_row, i), align=align) for i in range(vector.count)]
        scale = splat_value(builder, factor, vector)
        for j, value in enumerate(butterfly(builder, rows)):
            builder.store(builder.fmul(value, scale), row(target, target_row, j), align=align)

    def generate(context, builder, sig, args):
        p = element.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [p, I64, p, I64, element])
        builder.call(own_function(builder, f"transpose_{element.intrinsic_name}", kind, write), args)
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp, source.element), generate


if config.DISABLE_JIT:
    transpose_block = plain.transpose_block
