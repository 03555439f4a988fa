"""Floating-point arithmetic ("Floating Point Instructions", "Half Precision …"), and opcodes shared with integers.

Sums, products, quotients and roots are rounded once (.rn to nearest even, .rz, .rm, .rp). The .approx functions are computed in
float64 and rounded: hardware differs from that by a few units in the last place, within the bounds that the manual states.
.ftz turns subnormal operands and results into zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minilm_kernels.gpu.simulator.numbers import (
    flush,
    fma32,
    fma64,
    from_bfloat16,
    halves,
    join,
    round_to,
    saturate,
    to_bfloat16,
)
from minilm_kernels.gpu.simulator.opcodes.integers import integer
from minilm_kernels.gpu.simulator.opcodes.table import opcode
from minilm_kernels.gpu.simulator.types import TYPES, PtxType

Array = Any
ROUNDINGS = ("rn", "rz", "rm", "rp")
APPROXIMATE = ("approx", "full")


def finished(d: Any, function: Callable[..., Array], kind: PtxType, sources: int, *others: str) -> Any:
    """A step for a function on this type's values; .ftz and .sat are added around it."""
    given = d.allow("ftz", "sat", *others)
    if "ftz" in given and kind.dtype.kind == "f":
        inner = function
        function = lambda *args: flush(inner(*[flush(a) for a in args]))  # noqa: E731
    if "sat" in given:
        before = function
        function = lambda *args: saturate(before(*args))  # noqa: E731
    return d.compute(function, *[kind] * sources)


def each_half(function: Callable[..., Array]) -> Callable[..., Array]:
    """A function of 16-bit values → the same on both halves of packed 32-bit values."""

    def both(*words: Array) -> Array:
        pairs = [halves(w) for w in words]
        return join(*[function(*part) for part in zip(*pairs)])

    return both


def on_values(
    kind: PtxType, function: Callable[..., Array], mode: str = "rn", wide: bool = False
) -> Callable[..., Array]:
    """`function` of real numbers → of this type's values, rounded once.

    A 16-bit result of one +, −, ×, / or root of 16-bit numbers may be computed in float32 and rounded a second time: 24
    bits are more than twice 11 (Figueroa 1995). wide: float64, for what has no such theorem.
    """
    if kind.name in ("f16x2", "bf16x2"):
        half = TYPES[kind.name[:-2]]
        inner = on_values(half, function, mode, wide)
        if half.name == "f16":
            return each_half(lambda *args: inner(*[a.view(np.float16) for a in args]))
        return each_half(inner)
    if kind.name == "bf16":
        if wide or mode != "rn":
            return lambda *args: round_to(function(*[from_bfloat16(a).astype(np.float64) for a in args]), kind, mode)
        return lambda *args: to_bfloat16(function(*[from_bfloat16(a) for a in args]))
    if kind.name == "f16":
        if wide or mode != "rn":
            return lambda *args: round_to(function(*[a.astype(np.float64) for a in args]), kind, mode)
        return lambda *args: function(*[a.astype(np.float32) for a in args]).astype(np.float16)
    if kind.name == "f32" and (wide or mode != "rn"):
        return lambda *args: round_to(function(*[a.astype(np.float64) for a in args]), kind, mode)
    return function


def rounding(given: tuple[str, ...]) -> str:
    return next((m for m in given if m in ROUNDINGS), "rn")


# --- shared with integers ---------------------------------------------------------------------------------------------


@opcode("add", "sub", section="Integer Arithmetic, Floating Point, Half Precision Floating Point")
def add(d: Any) -> Any:
    """d = a + b, d = a − b."""
    kind, name = d.types[-1], d.instruction.opcode
    if not kind.is_float:
        return integer(d, name, kind)
    operation = np.add if name == "add" else np.subtract
    return finished(d, on_values(kind, operation, rounding(d.instruction.modifiers)), kind, 2, *ROUNDINGS)


@opcode("mul", section="Integer Arithmetic, Floating Point, Half Precision Floating Point")
def mul(d: Any) -> Any:
    """d = a b. Integers: .lo and .hi halves, or .wide, the product in twice the width."""
    kind = d.types[-1]
    if not kind.is_float:
        return integer(d, "mul", kind)
    return finished(d, on_values(kind, np.multiply, rounding(d.instruction.modifiers)), kind, 2, *ROUNDINGS)


@opcode("fma", "mad", section="Integer Arithmetic, Floating Point, Half Precision Floating Point")
def fma(d: Any) -> Any:
    """d = a b + c, rounded once. (Of integers: mad, in the chosen half.)"""
    kind = d.types[-1]
    if not kind.is_float:
        return integer(d, "mad", kind)
    mode = rounding(d.instruction.modifiers)
    if kind.name == "f32" and mode == "rn":
        function: Callable[..., Array] = fma32
    elif kind.name == "f64":
        function = fma64
    else:  # the product of two numbers of at most 24 bits is exact in float64
        function = on_values(kind, lambda a, b, c: a * b + c, mode, wide=True)
    if "relu" in d.instruction.modifiers:
        function = relu(kind, function)
    return finished(d, function, kind, 3, "relu", *ROUNDINGS)


def relu(kind: PtxType, function: Callable[..., Array]) -> Callable[..., Array]:
    """.relu: negative results become 0, NaN the canonical NaN."""
    clamp = on_values(kind, lambda x: np.where(np.isnan(x), x, np.maximum(x, 0).astype(x.dtype)))
    return lambda *args: clamp(function(*args))


def sign_mask(kind: PtxType) -> Array:
    """The bit, or bits, of the sign."""
    return np.uint32(0x80008000) if kind.name.endswith("x2") else np.dtype(f"u{kind.bytes}").type(1 << kind.bits - 1)


@opcode("neg", "abs", section="Integer Arithmetic, Floating Point, Half Precision Floating Point")
def neg(d: Any) -> Any:
    """d = −a, d = |a|: of floats, the sign bit alone changes."""
    kind, name = d.types[-1], d.instruction.opcode
    if not kind.is_float:
        return integer(d, name, kind)
    sign = sign_mask(kind)

    def change(a: Array) -> Array:
        bits = a.view(sign.dtype)
        return (bits ^ sign if name == "neg" else bits & ~sign).view(kind.dtype)

    return finished(d, change, kind, 1)


@opcode("copysign", section="Floating Point")
def copysign(d: Any) -> Any:
    """d = |b| with the sign of a."""
    d.allow()
    kind = d.types[-1]
    return d.compute(lambda a, b: np.copysign(b, a), kind, kind)


def extreme(name: str, nan: bool) -> Callable[..., Array]:
    """min or max of floats: −0 < +0; a NaN is passed over, or (.NaN) passed on."""
    take = {("min", False): np.fmin, ("max", False): np.fmax, ("min", True): np.minimum, ("max", True): np.maximum}
    pick = take[name, nan]

    def choose(a: Array, b: Array) -> Array:
        result = pick(a, b)
        zeros = (a == 0) & (b == 0)
        if zeros.any():
            negative = np.signbit(a) | np.signbit(b) if name == "min" else np.signbit(a) & np.signbit(b)
            zero = np.where(negative, a.dtype.type(-0.0), a.dtype.type(0))
            result = np.where(zeros, zero, result)
        return result

    return choose


@opcode("min", "max", section="Integer Arithmetic, Floating Point, Half Precision Floating Point")
def minimum(d: Any) -> Any:
    """d = the smaller, or larger, of a and b; of floats, a number rather than a NaN, unless .NaN asks for it."""
    kind, name = d.types[-1], d.instruction.opcode
    if not kind.is_float:
        return integer(d, name, kind)
    choose = extreme(name, "NaN" in d.instruction.modifiers)
    if len(d.operands) == 4:  # three sources
        two = choose
        choose = lambda a, b, c: two(two(a, b), c)  # noqa: E731
    return finished(d, on_values(kind, choose), kind, len(d.operands) - 1, "NaN")


@opcode("div", section="Integer Arithmetic, Floating Point, Half Precision Floating Point")
def div(d: Any) -> Any:
    """d = a / b: integers towards zero; floats rounded, or .approx, .full."""
    kind = d.types[-1]
    if not kind.is_float:
        return integer(d, "div", kind)
    return finished(d, on_values(kind, np.divide, rounding(d.instruction.modifiers)), kind, 2, *ROUNDINGS, *APPROXIMATE)


# --- functions of one number ------------------------------------------------------------------------------------------


def of_one(d: Any, function: Callable[[Array], Array], *others: str, wide: bool = True) -> Any:
    kind = d.types[-1]
    mode = rounding(d.instruction.modifiers)
    return finished(d, on_values(kind, function, mode, wide), kind, 1, "approx", *ROUNDINGS, *others)


@opcode("rcp", section="Floating Point")
def rcp(d: Any) -> Any:
    """d = 1 / a. (rcp.approx.ftz.f64 keeps about 20 bits on hardware; here it is the rounded quotient.)"""
    return of_one(d, lambda a: np.divide(1, a, dtype=a.dtype), wide=False)


@opcode("sqrt", section="Floating Point")
def sqrt(d: Any) -> Any:
    """d = √a."""
    return of_one(d, np.sqrt, wide=False)


@opcode("rsqrt", section="Floating Point")
def rsqrt(d: Any) -> Any:
    """d ≈ 1 / √a."""
    return of_one(d, lambda a: np.copysign(1 / np.sqrt(a), a))


@opcode("sin", section="Floating Point")
def sin(d: Any) -> Any:
    """d ≈ sin a."""
    return of_one(d, np.sin)


@opcode("cos", section="Floating Point")
def cos(d: Any) -> Any:
    """d ≈ cos a."""
    return of_one(d, np.cos)


@opcode("lg2", section="Floating Point")
def lg2(d: Any) -> Any:
    """d ≈ log₂ a."""
    return of_one(d, np.log2)


@opcode("ex2", section="Floating Point")
def ex2(d: Any) -> Any:
    """d ≈ 2ᵃ."""
    return of_one(d, np.exp2)


@opcode("tanh", section="Floating Point")
def tanh(d: Any) -> Any:
    """d ≈ tanh a; hardware is off by up to 2⁻¹¹, relatively."""
    return of_one(d, np.tanh)


@opcode("testp", section="Floating Point")
def testp(d: Any) -> Any:
    """p = whether a is finite, infinite, a number, not a number, normal or subnormal."""
    tests = {
        "finite": np.isfinite, "infinite": np.isinf, "number": lambda a: ~np.isnan(a), "notanumber": np.isnan,
        "normal": lambda a: np.isfinite(a) & (np.abs(a) >= np.finfo(a.dtype).tiny),
        "subnormal": lambda a: (a != 0) & (np.abs(a) < np.finfo(a.dtype).tiny),
    }  # fmt: skip
    given = d.allow(*tests)
    return d.compute(tests[given.pop()], d.types[-1])
