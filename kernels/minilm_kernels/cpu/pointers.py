"""Addresses that know their element type, and vectors read from and written to them.

`p + i` moves a pointer by i elements, `p[i]` is an element. Nothing checks bounds. Kernels take these from vector.py.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

from minilm_kernels.cpu.vector_types import (
    I32,
    I64,
    Pointer,
    Vector,
    first_lanes,
    llvm_function,
    suffix,
    vector_of,
    vector_pointer,
)


@intrinsic
def pointer(typingctx, array):
    """The address of the array's first element."""

    def generate(context, builder, sig, args):
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return Pointer(array.dtype)(array), generate


@intrinsic
def pointer_at(typingctx, address, like):
    """The pointer at an address, a whole number, to elements like those of `like`, an array or a pointer."""
    result = like if isinstance(like, Pointer) else Pointer(like.dtype)

    def generate(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(result))

    return result(types.int64, like), generate


@intrinsic
def bytes_at(typingctx, address):
    """The address as a pointer to bytes without sign."""

    def generate(context, builder, sig, args):
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return Pointer(types.uint8)(types.int64), generate


@intrinsic
def words_at(typingctx, address):
    """The address as a pointer to 32-bit numbers without sign."""

    def generate(context, builder, sig, args):
        return builder.inttoptr(args[0], ir.IntType(32).as_pointer())

    return Pointer(types.uint32)(types.int64), generate


@intrinsic
def address_of(typingctx, p):
    """Where a pointer points, as a number."""

    def generate(context, builder, sig, args):
        return builder.ptrtoint(args[0], I64)

    return types.int64(p), generate


@infer_global(operator.getitem)
class _PointerGet(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], Pointer):
            return signature(args[0].element, args[0], types.intp)
        return None


@lower_builtin(operator.getitem, Pointer, types.intp)
def _get(context, builder, sig, args):
    return builder.load(builder.gep(args[0], [args[1]]))


@infer_global(operator.setitem)
class _PointerSet(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], Pointer):
            return signature(types.void, args[0], types.intp, args[0].element)
        return None


@lower_builtin(operator.setitem, Pointer, types.intp, types.Any)
def _set(context, builder, sig, args):
    builder.store(args[2], builder.gep(args[0], [args[1]]))


@lower_builtin(operator.add, Pointer, types.intp)
@lower_builtin(operator.iadd, Pointer, types.intp)
def _advance(context, builder, sig, args):
    return builder.gep(args[0], [args[1]])


@intrinsic
def lanes(typingctx, x):
    """How many elements of an array or behind a pointer fill a vector: a constant when compiling."""
    count = vector_of(x.element if isinstance(x, Pointer) else x.dtype).lanes

    def generate(context, builder, sig, args):
        return ir.Constant(I64, count)

    return types.intp(x), generate


def _loaded(p: Pointer, like: Any) -> Vector:
    return vector_of(p.element) if like is None else Vector(p.element, like.lanes)


@intrinsic
def load(typingctx, p):
    """The vector at p."""

    def generate(context, builder, sig, args):
        vector = context.get_value_type(sig.return_type)
        return builder.load(vector_pointer(builder, args[0], vector), align=p.element.bitwidth // 8)

    return vector_of(p.element)(p), generate


@intrinsic
def load_like(typingctx, p, like):
    """As many elements at p as the vector `like` has lanes."""

    def generate(context, builder, sig, args):
        vector = context.get_value_type(sig.return_type)
        return builder.load(vector_pointer(builder, args[0], vector), align=p.element.bitwidth // 8)

    return Vector(p.element, like.lanes)(p, like), generate


@intrinsic
def load_first(typingctx, p, n):
    """The first n elements at p (n may be ≤ 0 or more than there are lanes), 0 in the other lanes."""

    def generate(context, builder, sig, args):
        vector = context.get_value_type(sig.return_type)
        where = vector_pointer(builder, args[0], vector)
        mask = first_lanes(builder, args[1], vector.count)
        name = f"llvm.masked.load.{suffix(vector)}.p0"
        function = llvm_function(builder, name, vector, [where.type, I32, mask.type, vector])
        align = ir.Constant(I32, p.element.bitwidth // 8)
        return builder.call(function, [where, align, mask, ir.Constant(vector, None)])

    return vector_of(p.element)(p, types.intp), generate


@intrinsic
def store(typingctx, p, v):
    """Write the vector v to p."""

    def generate(context, builder, sig, args):
        builder.store(args[1], vector_pointer(builder, args[0], args[1].type), align=p.element.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(p, v), generate


@intrinsic
def store_past_caches(typingctx, p, v):
    """Write the vector v to p, which must be a multiple of its size, straight to memory: for results larger than the caches.

    A usual store first reads the line that it overwrites.
    """

    def generate(context, builder, sig, args):
        vector = args[1].type
        bytes_ = vector.count * p.element.bitwidth // 8
        instruction = builder.store(args[1], vector_pointer(builder, args[0], vector), align=bytes_)
        instruction.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(I32, 1)]))
        return context.get_dummy_value()

    return types.void(p, v), generate


@intrinsic
def store_first(typingctx, p, v, n):
    """Write the first n lanes of v to p (n may be ≤ 0 or more than there are lanes)."""

    def generate(context, builder, sig, args):
        vector = args[1].type
        where = vector_pointer(builder, args[0], vector)
        mask = first_lanes(builder, args[2], vector.count)
        name = f"llvm.masked.store.{suffix(vector)}.p0"
        function = llvm_function(builder, name, ir.VoidType(), [vector, where.type, I32, mask.type])
        builder.call(function, [args[1], where, ir.Constant(I32, p.element.bitwidth // 8), mask])
        return context.get_dummy_value()

    return types.void(p, v, types.intp), generate


def _fetching(name: str, nearness: int, text: str) -> Any:
    def function(typingctx, p):
        def generate(context, builder, sig, args):
            byte = builder.bitcast(args[0], ir.IntType(8).as_pointer())
            fetch = llvm_function(builder, "llvm.prefetch.p0", ir.VoidType(), [byte.type, I32, I32, I32])
            builder.call(fetch, [byte, ir.Constant(I32, 0), ir.Constant(I32, nearness), ir.Constant(I32, 1)])
            return context.get_dummy_value()

        return types.void(p), generate

    function.__name__, function.__doc__ = name, text
    return intrinsic(function)


prefetch = _fetching("prefetch", 3, "Ask for the cache line at p; it need not be there to be loaded.")
prefetch_far = _fetching("prefetch_far", 2, "The same, into the second cache: for many lines, or lines needed later.")
