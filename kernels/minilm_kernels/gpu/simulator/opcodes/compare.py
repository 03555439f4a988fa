"""Comparison and selection ("Comparison and Selection Instructions")."""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm_kernels.gpu.simulator.numbers import flush, from_bfloat16, halves
from minilm_kernels.gpu.simulator.opcodes.table import opcode
from minilm_kernels.gpu.simulator.types import TYPES, PtxType

Array = Any

COMPARE = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,  # of unsigned numbers
}  # fmt: skip
UNORDERED = {"equ": "eq", "neu": "ne", "ltu": "lt", "leu": "le", "gtu": "gt", "geu": "ge"}
COMBINE = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}


def comparison(name: str, kind: PtxType) -> Any:
    """(a, b) → bool. Of floats, a comparison with a NaN is false; with the letter u after its name, true."""
    if kind.name == "bf16":
        inner = comparison(name, TYPES["f32"])
        return lambda a, b: inner(from_bfloat16(a), from_bfloat16(b))
    if name in ("num", "nan"):
        return lambda a, b: (np.isnan(a) | np.isnan(b)) == (name == "nan")
    if kind.is_float and name in UNORDERED:
        operation = COMPARE[UNORDERED[name]]
        return lambda a, b: operation(a, b) | np.isnan(a) | np.isnan(b)
    if kind.is_float and name == "ne":
        return lambda a, b: (a != b) & ~np.isnan(a) & ~np.isnan(b)
    return COMPARE[name]


@opcode("setp", section="Comparison and Selection")
def setp(d: Any) -> Any:
    """p|q = a cmp b and its opposite, combined (.and, .or, .xor) with a third predicate c."""
    given = d.allow(*COMPARE, *UNORDERED, *COMBINE, "num", "nan", "ftz")
    name, kind = d.instruction.modifiers[0], d.types[-1]
    if kind.name in ("f16x2", "bf16x2"):
        return setp_pair(d, name, TYPES[kind.name[:-2]])
    compare = comparison(name, kind)
    reads = [d.read(o, kind) for o in d.operands[1:3]]
    combine = next((COMBINE[m] for m in given if m in COMBINE), None)
    if (combine is None) != (len(d.operands) == 3):
        raise d.unknown("the number of operands")
    third = None
    if combine is not None:
        text = d.operands[3]
        plain = d.read(text.removeprefix("!"), TYPES["pred"])
        third = (lambda machine: ~plain(machine)) if text.startswith("!") else plain
    writes = [d.write(o.strip()) for o in d.operands[0].split("|")]
    ftz = "ftz" in given

    def step(machine: Any, group: Any) -> None:
        a, b = (read(machine) for read in reads)
        result = compare(flush(a), flush(b)) if ftz else compare(a, b)
        values = [result, ~result] if len(writes) == 2 else [result]
        for write, value in zip(writes, values):
            if combine is not None and third is not None:
                value = combine(value, third(machine))
            write(machine, value, group)

    return step


def setp_pair(d: Any, name: str, half: PtxType) -> Any:
    """p|q = the comparisons of the lower and of the upper halves."""
    compare = comparison(name, half)
    reads = [d.read(o, TYPES["u32"]) for o in d.operands[1:3]]
    low, high = (d.write(o.strip()) for o in d.operands[0].split("|"))

    def step(machine: Any, group: Any) -> None:
        pairs = [[part.view(half.dtype) for part in halves(read(machine))] for read in reads]
        low(machine, compare(pairs[0][0], pairs[1][0]), group)
        high(machine, compare(pairs[0][1], pairs[1][1]), group)

    return step


@opcode("set", section="Comparison and Selection")
def set_value(d: Any) -> Any:
    """d = a cmp b as a number: all bits 1, or 1.0, where it holds, else 0."""
    d.allow(*COMPARE, *UNORDERED, "num", "nan", "ftz")
    result, kind = d.types
    compare = comparison(d.instruction.modifiers[0], kind)
    yes = np.float32(1) if result.is_float else result.dtype.type(-1 if result.is_signed else (1 << result.bits) - 1)
    return d.compute(lambda a, b: np.where(compare(a, b), yes, result.dtype.type(0)), kind, kind)


@opcode("selp", section="Comparison and Selection")
def selp(d: Any) -> Any:
    """d = a where the predicate c holds, else b."""
    d.allow()
    kind = d.types[-1]
    return d.compute(lambda a, b, c: np.where(c, a, b), kind, kind, TYPES["pred"])


@opcode("slct", section="Comparison and Selection")
def slct(d: Any) -> Any:
    """d = a where c ≥ 0, else b."""
    d.allow()
    kind, by = d.types
    return d.compute(lambda a, b, c: np.where(c >= 0, a, b), kind, kind, by)
