"""Conversions between types ("Data Movement and Conversion Instructions: cvt")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minilm_kernels.gpu.simulator.numbers import flush, from_bfloat16, join, round_to, saturate
from minilm_kernels.gpu.simulator.opcodes.table import opcode
from minilm_kernels.gpu.simulator.types import TYPES, PtxType

Array = Any

TO_INTEGER = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
TO_FLOAT = ("rn", "rz", "rm", "rp")


@opcode("cvt", section="Data Movement and Conversion")
def cvt(d: Any) -> Any:
    """d = a in another type: to integers by .rni, .rzi, .rmi or .rpi, to floats by .rn, .rz, .rm or .rp; .sat: clamped."""
    given = d.allow(*TO_INTEGER, *TO_FLOAT, "ftz", "sat", "relu", "satfinite")
    if "satfinite" in given:
        raise d.unknown(".satfinite is not known here")
    target, source = d.types
    mode = next((m for m in given if m in TO_FLOAT), "rn")
    if target.name in ("f16x2", "bf16x2"):
        one = TYPES[target.name[:-2]]
        convert = finished(to_float(one, source, mode), one, given)
        return d.compute(lambda a, b: join(convert(b), convert(a)), source, source)  # the first goes to the upper half
    if target.is_float and source.is_float:
        return d.compute(finished(float_to_float(target, source, mode, given), target, given), source)
    if target.is_float:
        return d.compute(finished(to_float(target, source, mode), target, given), source)
    if source.is_float:
        rounding = next((TO_INTEGER[m] for m in given if m in TO_INTEGER), np.trunc)
        return d.compute(float_to_integer(target, source, rounding, "ftz" in given), source)
    return d.compute(integer_to_integer(target, source, "sat" in given), source)


def finished(convert: Callable[[Array], Array], kind: PtxType, given: set[str]) -> Callable[[Array], Array]:
    """.ftz, .relu and .sat of a result."""

    def whole(a: Array) -> Array:
        result = convert(a)
        if "ftz" in given and result.dtype == np.float32:
            result = flush(result)
        if "relu" in given:
            if kind.name == "bf16":
                result = np.where((result & np.uint16(0x8000)).astype(bool), np.uint16(0), result)
            else:
                result = np.where(result < 0, result.dtype.type(0), result)
        return saturate(result) if "sat" in given else result

    return whole if given & {"ftz", "relu", "sat"} else convert


def real_values(a: Array, kind: PtxType) -> Array:
    """A float type's values as float64; exact."""
    return (from_bfloat16(a) if kind.name == "bf16" else a).astype(np.float64)


def to_float(target: PtxType, source: PtxType, mode: str) -> Callable[[Array], Array]:
    """To a float, rounded once."""
    if source.is_float:
        if mode == "rn" and target.name != "bf16" and source.name != "bf16":
            return lambda a: a.astype(target.dtype)
        return lambda a: round_to(real_values(a, source), target, mode)
    if mode == "rn" and target.name != "bf16":  # NumPy's own conversion rounds once, also from 64 bits
        return lambda a: a.astype(target.dtype)
    return lambda a: round_to(a.astype(np.float64), target, mode)


def float_to_float(target: PtxType, source: PtxType, mode: str, given: set[str]) -> Callable[[Array], Array]:
    """To another float type; or, with .rni, .rzi, … , to a whole number of the same type."""
    whole = next((TO_INTEGER[m] for m in given if m in TO_INTEGER), None)
    if whole is None and target.name == source.name:
        return lambda a: a
    convert = to_float(target, source, mode) if target.name != source.name else None

    def change(a: Array) -> Array:
        if "ftz" in given and a.dtype == np.float32:
            a = flush(a)
        if whole is not None:
            a = whole(a)
        return a if convert is None else convert(a)

    return change


def float_to_integer(target: PtxType, source: PtxType, rounding: Any, ftz: bool) -> Callable[[Array], Array]:
    """To an integer: beyond the type's range its nearest end; NaN becomes 0."""
    ends = np.iinfo(target.dtype)
    low, high = float(ends.min), float(ends.max)  # high may round up to 2ⁿ; the comparison ≥ covers it

    def convert(a: Array) -> Array:
        x = rounding(real_values(flush(a) if ftz and a.dtype == np.float32 else a, source))
        inside = (x > low) & (x < high)
        result = np.where(inside, x, 0).astype(target.dtype)
        return np.where(x >= high, target.dtype.type(ends.max), np.where(x <= low, target.dtype.type(ends.min), result))

    return convert


def integer_to_integer(target: PtxType, source: PtxType, clamp: bool) -> Callable[[Array], Array]:
    """Widened by the source's sign, or cut; .sat clamps to the target's range."""
    if not clamp:
        return lambda a: a.astype(target.dtype)
    low, high = np.iinfo(target.dtype).min, np.iinfo(target.dtype).max
    ends = np.iinfo(source.dtype)
    low, high = max(low, ends.min), min(high, ends.max)
    return lambda a: np.clip(a, source.dtype.type(low), source.dtype.type(high)).astype(target.dtype)
