"""Integer arithmetic ("Integer Arithmetic Instructions"). All of it wraps around modulo 2ⁿ.

add, sub, mul, mad, fma, neg, abs, min, max, div, rem and sqrt are also opcodes of floats: floats.py hands integers to here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm_kernels.gpu.simulator.opcodes.table import opcode
from minilm_kernels.gpu.simulator.types import TYPES, UNSIGNED, PtxType

Array = Any


def twice_as_wide(kind: PtxType) -> PtxType:
    """u16 → u32, s32 → s64."""
    return TYPES[f"{kind.name[0]}{kind.bits * 2}"]


def high_product(a: Array, b: Array) -> Array:
    """The upper half of the product of 64-bit numbers, from four products of 32-bit halves."""
    signed = a.dtype.kind == "i"
    x, y = np.asarray(a).view(np.uint64), np.asarray(b).view(np.uint64)
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    x0, x1, y0, y1 = x & low, x >> half, y & low, y >> half
    middle = (x0 * y0 >> half) + (x1 * y0 & low) + (x0 * y1 & low)
    high = x1 * y1 + (x1 * y0 >> half) + (x0 * y1 >> half) + (middle >> half)
    if signed:  # a negative number counts as 2⁶⁴ too much
        zero = np.uint64(0)
        high = high - np.where(np.asarray(a) < 0, y, zero) - np.where(np.asarray(b) < 0, x, zero)
    return high.view(a.dtype)


def product(kind: PtxType, part: str) -> Any:
    """(a, b) → the wide product, or its lower or upper half."""
    if part == "wide":
        wide = twice_as_wide(kind).dtype
        return lambda a, b: np.multiply(a, b, dtype=wide)
    if part == "hi" and kind.bits == 64:
        return high_product
    if part == "hi":
        wide = twice_as_wide(kind).dtype
        shift = wide.type(kind.bits)
        return lambda a, b: (np.multiply(a, b, dtype=wide) >> shift).astype(kind.dtype)
    return np.multiply


def quotient(a: Array, b: Array) -> Array:
    """a / b towards zero. By zero: all bits 1, as the hardware gives it."""
    zero = b == 0
    b = np.where(zero, b.dtype.type(1), b)
    if a.dtype.kind == "u":
        return np.where(zero, ~a.dtype.type(0), a // b)
    q, r = np.divmod(a, b)
    q = q + ((r != 0) & ((a < 0) != (b < 0))).astype(a.dtype)  # NumPy rounds down
    return np.where(zero, a.dtype.type(-1), q)


def remainder(a: Array, b: Array) -> Array:
    """a − b · (a / b): it has the sign of a. By zero: a."""
    zero = b == 0
    return np.where(zero, a, np.fmod(a, np.where(zero, b.dtype.type(1), b)))


def integer(d: Any, name: str, kind: PtxType) -> Any:
    """The integer forms of add, sub, mul, mad, neg, abs, min, max, div, rem."""
    if name in ("add", "sub"):
        given = d.allow("sat")
        sum_or_difference = {"add": np.add, "sub": np.subtract}[name]
        if "sat" in given:  # s32 only: to the nearest number of the type
            ends = np.iinfo(np.int32)
            return d.compute(
                lambda a, b: np.clip(sum_or_difference(a, b, dtype=np.int64), ends.min, ends.max).astype(np.int32),
                kind,
                kind,
            )
        return d.compute(sum_or_difference, kind, kind)
    if name in ("mul", "mad"):
        given = d.allow("wide", "lo", "hi")
        part = (given or {"lo"}).pop()
        times = product(kind, part)
        if name == "mul":
            return d.compute(times, kind, kind)
        summand = twice_as_wide(kind) if part == "wide" else kind
        return d.compute(lambda a, b, c: times(a, b) + c, kind, kind, summand)
    d.allow()
    if name in ("neg", "abs"):
        return d.compute(np.negative if name == "neg" else np.abs, kind)
    operation = {"min": np.minimum, "max": np.maximum, "div": quotient, "rem": remainder}[name]
    return d.compute(operation, kind, kind)


@opcode("rem", section="Integer Arithmetic")
def rem(d: Any) -> Any:
    """d = a mod b, with the sign of a."""
    return integer(d, "rem", d.types[-1])


@opcode("mul24", "mad24", section="Integer Arithmetic")
def mul24(d: Any) -> Any:
    """The product of the lower 24 bits (.lo), plus c."""
    d.allow("lo")
    kind = d.types[-1]
    low = (lambda a: a << 8 >> 8) if kind.is_signed else (lambda a: a & np.uint32(0xFFFFFF))
    if d.instruction.opcode == "mul24":
        return d.compute(lambda a, b: low(a) * low(b), kind, kind)
    return d.compute(lambda a, b, c: low(a) * low(b) + c, kind, kind, kind)


@opcode("sad", section="Integer Arithmetic")
def sad(d: Any) -> Any:
    """d = |a − b| + c."""
    d.allow()
    kind = d.types[-1]
    return d.compute(lambda a, b, c: np.maximum(a, b) - np.minimum(a, b) + c, kind, kind, kind)


@opcode("popc", section="Integer Arithmetic")
def popc(d: Any) -> Any:
    """d = how many bits of a are 1."""
    d.allow()
    return d.compute(lambda a: np.bitwise_count(a).astype(np.uint32), d.types[-1])


def leading_zeros(a: Array) -> Array:
    """The zeros above the highest 1 bit, as uint32; the width for 0."""
    bits = a.dtype.itemsize * 8
    filled = np.asarray(a)
    shift = 1
    while shift < bits:
        filled = filled | filled >> a.dtype.type(shift)
        shift *= 2
    return (bits - np.bitwise_count(filled)).astype(np.uint32)


@opcode("clz", section="Integer Arithmetic")
def clz(d: Any) -> Any:
    """d = how many zeros stand above the highest 1 bit."""
    d.allow()
    return d.compute(leading_zeros, d.types[-1])


@opcode("bfind", section="Integer Arithmetic")
def bfind(d: Any) -> Any:
    """d = the place of the highest bit that differs from the sign; 0xffffffff if none. .shiftamt: counted from the top."""
    given = d.allow("shiftamt")
    kind = d.types[-1]
    wide = UNSIGNED[kind.bits]

    def find(a: Array) -> Array:
        bits = np.where(a < 0, ~a, a).view(wide) if kind.is_signed else a
        zeros = leading_zeros(bits)
        place = zeros if "shiftamt" in given else np.uint32(kind.bits - 1) - zeros
        return np.where(bits == 0, np.uint32(0xFFFFFFFF), place)

    return d.compute(find, kind)


@opcode("brev", section="Integer Arithmetic")
def brev(d: Any) -> Any:
    """d = the bits of a in reverse order."""
    d.allow()
    kind = d.types[-1]

    def reverse(a: Array) -> Array:
        shift = kind.bits // 2
        mask = (1 << kind.bits) - 1
        while shift:
            mask ^= mask << shift & (1 << kind.bits) - 1
            m, s = a.dtype.type(mask), a.dtype.type(shift)
            a = ((a >> s) & m) | ((a & m) << s)
            shift //= 2
        return a

    return d.compute(reverse, kind)


@opcode("bfe", section="Integer Arithmetic")
def bfe(d: Any) -> Any:
    """d = the c bits of a from bit b on; .s types fill up with the field's highest bit."""
    d.allow()
    kind = d.types[-1]
    width, dtype = kind.bits, kind.dtype

    def extract(a: Array, b: Array, c: Array) -> Array:
        start, length = b & np.uint32(0xFF), c & np.uint32(0xFF)
        if kind.is_signed:
            # the field moved to the top, then down again with its sign
            end = np.minimum(start + length, np.uint32(width))
            up = np.where(end == 0, np.uint32(0), np.uint32(width) - end)
            kept = np.where(start >= width, np.uint32(1), end - np.minimum(start, end))
            source = np.where(
                start >= width, a >> dtype.type(width - 1) << dtype.type(width - 1), a << up.astype(dtype)
            )
            value = source >> (np.uint32(width) - np.maximum(kept, np.uint32(1))).astype(dtype)
            return np.where(length == 0, dtype.type(0), value).astype(dtype)
        moved = np.where(start >= width, dtype.type(0), a >> np.minimum(start, np.uint32(width - 1)).astype(dtype))
        mask = np.where(
            length >= width,
            ~dtype.type(0),
            (dtype.type(1) << np.minimum(length, np.uint32(width - 1)).astype(dtype)) - dtype.type(1),
        )
        return moved & mask

    return d.compute(extract, kind, TYPES["u32"], TYPES["u32"])


@opcode("bfi", section="Integer Arithmetic")
def bfi(d: Any) -> Any:
    """f = b with its d bits from bit c on replaced by the lower bits of a."""
    d.allow()
    kind = d.types[-1]
    width, dtype = kind.bits, kind.dtype

    def insert(a: Array, b: Array, c: Array, n: Array) -> Array:
        start, length = c & np.uint32(0xFF), n & np.uint32(0xFF)
        ones = np.where(
            length >= width,
            ~dtype.type(0),
            (dtype.type(1) << np.minimum(length, np.uint32(width - 1)).astype(dtype)) - dtype.type(1),
        )
        shift = np.minimum(start, np.uint32(width - 1)).astype(dtype)
        mask = np.where(start >= width, dtype.type(0), ones << shift)
        return (b & ~mask) | ((a << shift) & mask)

    return d.compute(insert, kind, kind, TYPES["u32"], TYPES["u32"])


@opcode("dp4a", section="Integer Arithmetic")
def dp4a(d: Any) -> Any:
    """d = c + the dot product of four bytes of a with four of b."""
    d.allow()
    first, second = d.types
    result = TYPES["s32"] if first.is_signed or second.is_signed else TYPES["u32"]

    def parts(x: Array, kind: PtxType) -> Array:
        return np.stack([(x >> np.uint32(8 * i)).astype("i1" if kind.is_signed else "u1") for i in range(4)])

    def dot(a: Array, b: Array, c: Array) -> Array:
        return (np.multiply(parts(a, first), parts(b, second), dtype=np.int64).sum(axis=0) + c).astype(result.dtype)

    return d.compute(dot, TYPES["u32"], TYPES["u32"], result)
