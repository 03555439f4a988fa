"""What threads need from the processor and from the system: indivisible steps on shared memory, waiting, and sleeping.

An array is always one of 64-bit numbers; i is the index of the number meant.
"""

from __future__ import annotations

import platform
import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

FUTEX_CALLS = {"x86_64": 202, "aarch64": 98, "riscv64": 98}  # the number of Linux's system call `futex`
FUTEX = FUTEX_CALLS.get(platform.machine(), 0) if sys.platform == "linux" else 0
FUTEX_WAIT, FUTEX_WAKE = 128, 129  # of this process only
EVERYBODY = 1 << 30
CPU_WORDS = 16  # 64-bit words in a set of processors: 1,024 of them

I8P, I32, I64 = ir.IntType(8).as_pointer(), ir.IntType(32), ir.IntType(64)


def _slot(context: Any, builder: ir.IRBuilder, kind: Any, array: ir.Value, i: ir.Value) -> ir.Value:
    return builder.gep(context.make_array(kind)(context, builder, array).data, [i])


@intrinsic
def atomic_add(typingctx, array, i, x):
    """array[i] += x as one indivisible step; returns what was there before."""

    def generate(context, builder, sig, args):
        return builder.atomic_rmw("add", _slot(context, builder, sig.args[0], args[0], args[1]), args[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), generate


@intrinsic
def atomic_swap(typingctx, array, i, x):
    """array[i] = x as one indivisible step; returns what was there before."""

    def generate(context, builder, sig, args):
        return builder.atomic_rmw("xchg", _slot(context, builder, sig.args[0], args[0], args[1]), args[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), generate


@intrinsic
def atomic_replace(typingctx, array, i, old, new):
    """array[i] = new if it is still `old`, as one indivisible step; tells whether it was."""

    def generate(context, builder, sig, args):
        where = _slot(context, builder, sig.args[0], args[0], args[1])
        return builder.extract_value(builder.cmpxchg(where, args[2], args[3], "seq_cst", "seq_cst"), 1)

    return types.boolean(array, types.intp, types.int64, types.int64), generate


@intrinsic
def atomic_get(typingctx, array, i):
    """array[i] as it is now, whoever wrote it."""

    def generate(context, builder, sig, args):
        return builder.load_atomic(_slot(context, builder, sig.args[0], args[0], args[1]), "seq_cst", 8)

    return types.int64(array, types.intp), generate


@intrinsic
def pause(typingctx):
    """Tell the processor that this thread is waiting."""

    def generate(context, builder, sig, args):
        if builder.module.triple.startswith(("x86", "i686")):
            function = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "llvm.x86.sse2.pause"), [])
        elif builder.module.triple.startswith(("aarch64", "arm64")):
            builder.asm(ir.FunctionType(ir.VoidType(), []), "yield", "", [], side_effect=True)
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def give_way(typingctx):
    """Let the system run another thread on this core."""

    def generate(context, builder, sig, args):
        if sys.platform != "win32":
            function = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def futex(typingctx, array, i, operation, value):
    """Linux: sleep while the low half of array[i] is `value` (FUTEX_WAIT), or wake `value` sleepers (FUTEX_WAKE)."""

    def generate(context, builder, sig, args):
        word = builder.ptrtoint(_slot(context, builder, sig.args[0], args[0], args[1]), I64)
        kind = ir.FunctionType(I64, [I64], var_arg=True)
        function = cgutils.get_or_insert_function(builder.module, kind, "syscall")
        return builder.call(function, [ir.Constant(I64, FUTEX), word, args[2], args[3], ir.Constant(I64, 0)])

    return types.int64(array, types.intp, types.int64, types.int64), generate


@intrinsic
def current_cpu(typingctx):
    """Linux: the number of the processor that this thread runs on."""

    def generate(context, builder, sig, args):
        if not FUTEX:
            return ir.Constant(I64, -1)
        function = ir.FunctionType(I32, [])
        return builder.sext(
            builder.call(cgutils.get_or_insert_function(builder.module, function, "sched_getcpu"), []), I64
        )

    return types.int64(), generate


def _affinity(name: str) -> Any:
    """Linux: a function that reads or sets on which processors a thread may run: CPU_WORDS words of bits from array[i] on."""

    def affinity(typingctx, thread, array, i):
        def generate(context, builder, sig, args):
            if not FUTEX:
                return ir.Constant(I64, -1)
            mask = builder.bitcast(_slot(context, builder, sig.args[1], args[1], args[2]), I8P)
            function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(I32, [I32, I64, I8P]), name)
            return builder.sext(
                builder.call(function, [builder.trunc(args[0], I32), ir.Constant(I64, 8 * CPU_WORDS), mask]), I64
            )

        return types.int64(types.int64, array, types.intp), generate

    return intrinsic(affinity)


get_affinity, set_affinity = _affinity("sched_getaffinity"), _affinity("sched_setaffinity")
