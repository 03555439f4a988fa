"""Vectors as a type of Numba: arithmetic on as many numbers as the processor takes in one instruction.

    x = load(p)              # 16 float32 (AVX-512), 8 (AVX2), 4 (NEON, SSE)
    y = fma(x, x, splat(x, 1.0))
    store(q, y)

A `Pointer` is an array's address that knows its element type: `p + i` moves it by i elements, `p[i]` is an element.
Numba's own loops become vectors only where LLVM sees that they may, and at half the width on some processors; these
always do. Each operation here is one instruction, or a few. Nothing checks bounds.

With NUMBA_DISABLE_JIT=1 the same names come from plain.py, where a vector is a NumPy array: slow, but pdb can step through.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import config, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

from minilm_kernels.cpu.pointers import (  # noqa: F401
    address_of,
    bytes_at,
    lanes,
    load,
    load_first,
    load_like,
    pointer,
    pointer_at,
    prefetch,
    prefetch_far,
    store,
    store_first,
    store_past_caches,
    words_at,
)
from minilm_kernels.cpu.vector_types import (
    I32,
    Pointer,
    Vector,
    first_lanes,
    is_float,
    llvm_function,
    multiply_add,
    splat_value,
    suffix,
    vector_of,
)

# --- arithmetic -------------------------------------------------------------------------------------------------------


@intrinsic
def splat(typingctx, like, x):
    """The number x in every lane; `like` is a pointer or vector that says of which element type and length."""
    element = like.element
    result = like if isinstance(like, Vector) else vector_of(element)

    def generate(context, builder, sig, args):
        value = context.cast(builder, args[1], sig.args[1], element)
        return splat_value(builder, value, context.get_value_type(sig.return_type))

    return result(like, x), generate


_FLOAT = {operator.add: "fadd", operator.sub: "fsub", operator.mul: "fmul", operator.truediv: "fdiv"}
_INTEGER = {
    operator.add: "add", operator.sub: "sub", operator.mul: "mul",
    operator.xor: "xor", operator.and_: "and_", operator.lshift: "shl", operator.rshift: "lshr",
}  # fmt: skip
_IN_PLACE = {
    operator.add: operator.iadd, operator.sub: operator.isub, operator.mul: operator.imul, operator.truediv: operator.itruediv,
    operator.xor: operator.ixor, operator.and_: operator.iand, operator.lshift: operator.ilshift,
    operator.rshift: operator.irshift,
}  # fmt: skip


def _define_operator(function: Callable) -> None:
    """vector ∘ vector, vector ∘ number and number ∘ vector."""

    class Typing(AbstractTemplate):
        def generic(self, args, kws):
            a, b = args
            if isinstance(a, Vector) and (a == b or isinstance(b, types.Number)):
                return signature(a, a, b)
            if isinstance(b, Vector) and isinstance(a, types.Number):
                return signature(b, a, b)
            if function is operator.add and isinstance(a, Pointer) and isinstance(b, types.Integer):
                return signature(a, a, types.intp)
            return None

    def lowered(context, builder, sig, args):
        vector = sig.return_type
        llvm_vector = context.get_value_type(vector)
        values = [
            value if isinstance(kind, Vector)
            else splat_value(builder, context.cast(builder, value, kind, vector.element), llvm_vector)
            for value, kind in zip(args, sig.args)
        ]  # fmt: skip
        table = _FLOAT if is_float(llvm_vector) else _INTEGER
        return getattr(builder, table[function])(*values)

    for key in (function, _IN_PLACE[function]):
        infer_global(key)(type(Typing.__name__, (Typing,), {"key": key}))
        for kinds in ((Vector, Vector), (Vector, types.Number), (types.Number, Vector)):
            lower_builtin(key, *kinds)(lowered)


for _function in _IN_PLACE:
    _define_operator(_function)


@intrinsic
def fma(typingctx, a, b, c):
    """a·b + c."""

    def generate(context, builder, sig, args):
        return multiply_add(builder, *args)

    return a(a, b, c), generate


def _comparing(name: str, comparison: str, text: str) -> Any:
    def function(typingctx, a, b):
        def generate(context, builder, sig, args):
            return builder.select(builder.fcmp_unordered(comparison, *args), *args)

        return a(a, b), generate

    function.__name__, function.__doc__ = name, text
    return intrinsic(function)


maximum = _comparing("maximum", ">=", "The larger in each lane; a where either is NaN. One instruction on x86.")
minimum = _comparing("minimum", "<=", "The smaller in each lane; a where either is NaN. One instruction on x86.")


@intrinsic
def where_less(typingctx, a, b, x, y):
    """x in the lanes where a < b, else y. a and b may be integers: then they are compared without sign."""

    def generate(context, builder, sig, args):
        compare = builder.fcmp_ordered if is_float(args[0].type) else builder.icmp_unsigned
        return builder.select(compare("<", args[0], args[1]), args[2], args[3])

    return x(a, b, x, y), generate


@intrinsic
def where_first(typingctx, n, x, y):
    """x in the lanes 0 … n − 1, y in the others (n may be ≤ 0 or more than there are lanes)."""

    def generate(context, builder, sig, args):
        return builder.select(first_lanes(builder, args[0], args[1].type.count), args[1], args[2])

    return x(types.intp, x, y), generate


def _unary(name: str, llvm_name: str, text: str) -> Any:
    def function(typingctx, a):
        def generate(context, builder, sig, args):
            kind = args[0].type
            return builder.call(llvm_function(builder, f"llvm.{llvm_name}.{suffix(kind)}", kind, [kind]), args)

        return a(a), generate

    function.__name__, function.__doc__ = name, text
    return intrinsic(function)


sqrt = _unary("sqrt", "sqrt", "√a in each lane.")


@intrinsic
def as_words(typingctx, a):
    """The bits of float32 numbers, as 32-bit numbers without sign."""

    def generate(context, builder, sig, args):
        return builder.bitcast(args[0], ir.VectorType(I32, args[0].type.count))

    return Vector(types.uint32, a.lanes)(a), generate


@intrinsic
def floats_of(typingctx, words):
    """The float32 numbers with these bits."""

    def generate(context, builder, sig, args):
        return builder.bitcast(args[0], ir.VectorType(ir.FloatType(), args[0].type.count))

    return Vector(types.float32, words.lanes)(words), generate


absolute = _unary("absolute", "fabs", "|a| in each lane.")


def _halved(builder: ir.IRBuilder, value: ir.Value, combine: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
    """LLVM: combine the upper with the lower half of the lanes until one is left; in the same order each time."""
    n = value.type.count
    while n > 1:
        n //= 2
        low, high = ([ir.Constant(I32, i) for i in r] for r in (range(n), range(n, 2 * n)))
        halves = [builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(I32, n), p)) for p in (low, high)]
        value = combine(*halves)
    return builder.extract_element(value, ir.Constant(I32, 0))


@intrinsic
def reduce_add(typingctx, a):
    """The sum of all lanes, halves added to each other until one number is left."""

    def generate(context, builder, sig, args):
        return _halved(builder, args[0], builder.fadd)

    return a.element(a), generate


@intrinsic
def reduce_max(typingctx, a):
    """The largest lane; where a lane is NaN, NaN or the largest of the others."""

    def generate(context, builder, sig, args):
        return _halved(builder, args[0], lambda x, y: builder.select(builder.fcmp_ordered(">", x, y), x, y))

    return a.element(a), generate


if config.DISABLE_JIT:
    from minilm_kernels.cpu.plain import *  # type: ignore[assignment]  # noqa: F403
