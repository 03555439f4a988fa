"""The matrix unit of recent Intel processors (AMX): products of tiles of bfloat16, summed in float32.

The unit has eight registers of 16 × 64 bytes. One instruction adds to a tile of 16 × 16 sums the products of 16 × 32 by 32 × 16
numbers: 16,384 operations, where a vector instruction of AVX-512 does 32. Its numbers have 8 bits, so a float32 becomes three
of them (split.py), and a product six:

    a b = h h' + (h m' + m h') + (h l' + m m' + l h') + …              what is left out is below 2^−24 of |a| |b|

Six such products take little more than half the time of one product of vectors, with a smaller error: the small ones are
summed first, then the large one in steps of two k's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from minilm_kernels.cpu.plain import Pointer, strided
from minilm_kernels.cpu.split import PANEL, STEP_BYTES, TILE_BYTES, WORDS
from minilm_kernels.cpu.tile import own_function
from minilm_kernels.cpu.vector_types import llvm_function

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
# which parts of A and B, h, m or l, are multiplied: each pair shares a loaded tile with the one before
SMALL_PRODUCTS = ((0, 2), (0, 1), (1, 1), (1, 0), (2, 0))
REGISTERS = 8
AHEAD_LINES = 5  # lines of the cache that are fetched ahead with each of the small products
C_ROWS = 2  # rows of C that are fetched with each of them: stores wait for lines that come from afar
AHEAD_BYTES = 64 * AHEAD_LINES * len(SMALL_PRODUCTS)


def _call(builder: ir.IRBuilder, name: str, *args: ir.Value) -> None:
    kind = ir.FunctionType(ir.VoidType(), [a.type for a in args])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), args)


def _number(i: int) -> ir.Constant:
    return ir.Constant(I8, i)


def _settings() -> bytes:
    """What the unit is told first: palette 1, and for each register 64 bytes in a row and 16 rows."""
    data = bytearray(64)
    data[0] = 1
    data[16 : 16 + 2 * REGISTERS] = (64).to_bytes(2, "little") * REGISTERS
    data[48 : 48 + REGISTERS] = bytes([16]) * REGISTERS
    return bytes(data)


@intrinsic
def start_unit(typingctx):
    """Shape the unit's registers: before the first product of a task."""

    def generate(context, builder, sig, args):
        kind = ir.ArrayType(I8, 64)
        settings = cgutils.global_constant(builder, "tile_settings", ir.Constant(kind, bytearray(_settings())))
        _call(builder, "ldtilecfg", builder.bitcast(settings, I8.as_pointer()))
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def release_unit(typingctx):
    """Give the registers back, so that the system need not save them when it changes threads."""

    def generate(context, builder, sig, args):
        _call(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), generate


def make_multiply(onto: bool) -> Any:
    """A function  multiply(a, b, steps, c, c_row, ahead)  for 32 rows and 32 columns:  C = A B, or C += A B with `onto`.

    a, b: addresses of packed panels; steps: tiles of k; c: address of float32, whose rows are c_row numbers apart.
    AHEAD_BYTES of memory from `ahead` on are fetched into the second cache with each step: they may be anybody's.
    Registers 0 … 3 hold C, 4 and 5 two tiles of A, 6 and 7 two of B.
    """
    name = "multiply_onto" if onto else "multiply_panels"

    @intrinsic
    def product(typingctx, a, b, steps, c, c_row, ahead):
        def write(builder, args):
            a, b, steps, c, c_row, ahead = args
            row = ir.Constant(I64, WORDS * 4)
            fetch = llvm_function(builder, "llvm.prefetch.p0", ir.VoidType(), [I8.as_pointer(), *[I32] * 3])
            options = [ir.Constant(I32, i) for i in (0, 2, 1)]  # to read, into the second cache, data
            to_write = [ir.Constant(I32, i) for i in (1, 3, 1)]  # into the first cache
            bytes_apart = builder.mul(c_row, ir.Constant(I64, 4))

            def load(register: int, base: ir.Value, part: int) -> None:
                for half in range(2):
                    at = builder.gep(base, [ir.Constant(I64, (2 * part + half) * TILE_BYTES)])
                    _call(builder, "tileloadd64", _number(register + half), at, row)

            def multiply() -> None:
                for i in range(2):
                    for j in range(2):
                        _call(builder, "tdpbf16ps", _number(2 * i + j), _number(4 + i), _number(6 + j))

            def fetch_ahead(step: ir.Value, pair: int) -> None:
                first = builder.gep(ahead, [builder.mul(step, ir.Constant(I64, AHEAD_BYTES))])
                for line in range(pair * AHEAD_LINES, (pair + 1) * AHEAD_LINES):
                    builder.call(fetch, [builder.gep(first, [ir.Constant(I64, 64 * line)]), *options])

            def fetch_c(step: ir.Value, pair: int) -> None:
                first = builder.mul(step, ir.Constant(I64, C_ROWS * len(SMALL_PRODUCTS)))
                for i in range(C_ROWS):
                    number = builder.add(first, ir.Constant(I64, C_ROWS * pair + i))
                    inside = builder.icmp_signed("<", number, ir.Constant(I64, PANEL))
                    number = builder.select(inside, number, ir.Constant(I64, 0))
                    line = builder.gep(c, [builder.mul(bytes_apart, number)])
                    for half in range(2):
                        builder.call(fetch, [builder.gep(line, [ir.Constant(I64, 64 * half)]), *to_write])

            def over_k(pairs: tuple[tuple[int, int], ...], fetching: bool) -> None:
                with cgutils.for_range(builder, steps) as loop:
                    offset = builder.mul(loop.index, ir.Constant(I64, STEP_BYTES))
                    panels = builder.gep(a, [offset]), builder.gep(b, [offset])
                    loaded: tuple[int | None, int | None] = (None, None)
                    for number, pair in enumerate(pairs):
                        for which in range(2):
                            if pair[which] != loaded[which]:
                                load(4 + 2 * which, panels[which], pair[which])
                        loaded = pair
                        multiply()
                        if fetching:
                            fetch_ahead(loop.index, number)
                            fetch_c(loop.index, number)

            places = []
            for i in range(2):
                for j in range(2):
                    row_of_c = builder.gep(c, [builder.mul(bytes_apart, ir.Constant(I64, i * WORDS))])
                    places.append((_number(2 * i + j), builder.gep(row_of_c, [ir.Constant(I64, 4 * j * WORDS)])))
            for register, at in places:
                if onto:
                    _call(builder, "tileloadd64", register, at, bytes_apart)
                else:
                    _call(builder, "tilezero", register)
            over_k(SMALL_PRODUCTS, fetching=True)
            over_k(((0, 0),), fetching=False)
            for register, at in places:
                _call(builder, "tilestored64", register, at, bytes_apart)

        def generate(context, builder, sig, args):
            byte = I8.as_pointer()
            kind = ir.FunctionType(ir.VoidType(), [byte, byte, I64, byte, I64, byte])
            pointers = [x if i in (2, 4) else builder.inttoptr(x, byte) for i, x in enumerate(args)]
            builder.call(own_function(builder, name, kind, write), pointers)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.intp, types.int64, types.intp, types.int64), generate

    return product


multiply_panels, multiply_onto = make_multiply(onto=False), make_multiply(onto=True)

if config.DISABLE_JIT:

    def start_unit(): ...

    def release_unit(): ...

    def multiply_panels(a, b, steps, c, c_row, ahead):
        strided(Pointer(c, np.dtype(np.float32)), PANEL, PANEL, c_row, 1)[:] = 0
        multiply_onto(a, b, steps, c, c_row, ahead)

    def multiply_onto(a, b, steps, c, c_row, ahead):
        def parts(address: int, transposed: bool) -> np.ndarray:
            """(part, half, step, row, 2 · 16) numbers, rows of A or columns of B."""
            words = Pointer(address, np.dtype(np.uint32)).view(steps * STEP_BYTES // 4)
            words = words.reshape(steps, 3, 2, WORDS, WORDS)
            words = words.swapaxes(3, 4) if transposed else words
            pairs = np.stack([words << 16, words & 0xFFFF0000], axis=-1).astype(np.uint32).view(np.float32)
            return pairs.transpose(1, 2, 3, 0, 4, 5).reshape(3, PANEL, steps * 2 * WORDS)

        A, B = parts(a, False), parts(b, True)
        total = strided(Pointer(c, np.dtype(np.float32)), PANEL, PANEL, c_row, 1)
        for i, j in (*SMALL_PRODUCTS, (0, 0)):
            total += A[i] @ B[j].T
