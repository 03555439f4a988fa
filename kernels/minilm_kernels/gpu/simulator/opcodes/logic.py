"""Logic and shifts ("Logic and Shift Instructions")."""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm_kernels.gpu.simulator.opcodes.table import opcode
from minilm_kernels.gpu.simulator.types import TYPES

Array = Any


@opcode("and", "or", "xor", section="Logic and Shift")
def binary(d: Any) -> Any:
    """d = a & b, a | b, a ^ b."""
    d.allow()
    operation = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}[d.instruction.opcode]
    return d.compute(operation, d.types[-1], d.types[-1])


@opcode("not", section="Logic and Shift")
def invert(d: Any) -> Any:
    """d = ~a."""
    d.allow()
    return d.compute(np.invert, d.types[-1])


@opcode("cnot", section="Logic and Shift")
def cnot(d: Any) -> Any:
    """d = 1 if a is 0, else 0."""
    d.allow()
    return d.compute(lambda a: (a == 0).astype(a.dtype), d.types[-1])


@opcode("lop3", section="Logic and Shift")
def lop3(d: Any) -> Any:
    """d = any function of three bits: bit 4a + 2b + c of a table of eight."""
    d.allow()
    table = int(d.operands[4], 0)
    u32 = TYPES["u32"]
    write = d.write(d.operands[0])
    a, b, c = (d.read(o, u32) for o in d.operands[1:4])

    def step(machine: Any, group: Any) -> None:
        x, y, z = a(machine), b(machine), c(machine)
        result = np.uint32(0)
        for place in range(8):
            if table >> place & 1:
                term = x if place & 4 else ~x
                term = term & (y if place & 2 else ~y)
                result = result | term & (z if place & 1 else ~z)
        write(machine, result, group)

    return step


@opcode("shf", section="Logic and Shift")
def shf(d: Any) -> Any:
    """Shift the 64 bits {b, a}: .l gives the upper word, shifted left, .r the lower, shifted right; .clamp or .wrap at 32."""
    given = d.allow("l", "r", "clamp", "wrap")
    u32 = TYPES["u32"]

    def shift(a: Array, b: Array, c: Array) -> Array:
        n = (c & np.uint32(31) if "wrap" in given else np.minimum(c, np.uint32(32))).astype(np.uint64)
        both = a.astype(np.uint64) | b.astype(np.uint64) << np.uint64(32)
        return ((both << n) >> np.uint64(32) if "l" in given else both >> n).astype(np.uint32)

    return d.compute(shift, u32, u32, u32)


@opcode("shl", section="Logic and Shift")
def shl(d: Any) -> Any:
    """d = a << b; 0 from the type's width on."""
    d.allow()
    kind = d.types[-1]

    def shift(a: Array, b: Array) -> Array:
        return np.where(b >= kind.bits, a.dtype.type(0), a << np.minimum(b, np.uint32(kind.bits - 1)).astype(a.dtype))

    return fixed_shift(d, shift, np.left_shift)


@opcode("shr", section="Logic and Shift")
def shr(d: Any) -> Any:
    """d = a >> b, filled with the sign for .s types, else with zeros; from the type's width on, only those."""
    d.allow()
    kind = d.types[-1]

    def shift(a: Array, b: Array) -> Array:
        moved = a >> np.minimum(b, np.uint32(kind.bits - 1)).astype(a.dtype)
        return moved if kind.is_signed else np.where(b >= kind.bits, a.dtype.type(0), moved)

    return fixed_shift(d, shift, np.right_shift)


def fixed_shift(d: Any, general: Any, plain: Any) -> Any:
    """Most shifts are by a constant below the width: one operation instead of four."""
    kind, amount = d.types[-1], d.operands[2]
    if d.register(amount) is None and int(amount, 0) < kind.bits:
        by = kind.dtype.type(int(amount, 0))
        read, write = d.read(d.operands[1], kind), d.write(d.operands[0])
        return lambda machine, group: write(machine, plain(read(machine), by), group)
    return d.compute(general, kind, TYPES["u32"])
