"""Moves between registers, and addresses ("Data Movement and Conversion Instructions")."""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm_kernels.gpu.simulator.memory import LOCAL_WINDOW, SHARED_WINDOW
from minilm_kernels.gpu.simulator.opcodes.table import opcode
from minilm_kernels.gpu.simulator.types import TYPES, UNSIGNED

Array = Any


@opcode("mov", section="Data Movement and Conversion")
def mov(d: Any) -> Any:
    """d = a; with {lists}, words are put together from parts, lowest first, or taken apart."""
    d.allow()
    kind = d.types[-1]
    to, source = d.operands
    if source.startswith("{"):
        return pack(d, d.names(source), kind)
    if to.startswith("{"):
        return unpack(d, d.names(to), kind)
    return d.compute(lambda a: a, kind)


def pack(d: Any, parts: list[str], kind: Any) -> Any:
    part = TYPES[f"u{kind.bits // len(parts)}"]
    reads = [d.read(p, part) for p in parts]
    write, wide = d.write(d.operands[0]), UNSIGNED[kind.bits]

    def step(machine: Any, group: Any) -> None:
        value = wide.type(0)
        for i, read in enumerate(reads):
            value = value | read(machine).astype(wide) << wide.type(i * part.bits)
        write(machine, value, group)

    return step


def unpack(d: Any, parts: list[str], kind: Any) -> Any:
    bits = kind.bits // len(parts)
    read = d.read(d.operands[1], TYPES[f"u{kind.bits}"])
    writes = [d.write(p) for p in parts]
    wide, narrow = UNSIGNED[kind.bits], UNSIGNED[bits]

    def step(machine: Any, group: Any) -> None:
        value = read(machine)
        for i, write in enumerate(writes):
            write(machine, (value >> wide.type(i * bits)).astype(narrow), group)

    return step


@opcode("cvta", section="Data Movement and Conversion")
def cvta(d: Any) -> Any:
    """d = an address of a space as a generic address, or (.to) back."""
    given = d.allow("to", "global", "shared", "shared_cta", "local", "const", "param")
    kind = TYPES[f"u{d.types[-1].bits}"]
    window = SHARED_WINDOW if given & {"shared", "shared_cta"} else LOCAL_WINDOW if "local" in given else 0
    by = kind.dtype.type(window)
    if not window:
        return d.compute(lambda a: a, kind)
    return d.compute((lambda a: a - by) if "to" in given else (lambda a: a + by), kind)


@opcode("isspacep", section="Data Movement and Conversion")
def isspacep(d: Any) -> Any:
    """p = whether a generic address lies in a space."""
    given = d.allow("global", "shared", "shared_cta", "local", "const")

    def test(a: Array) -> Array:
        if given & {"shared", "shared_cta"}:
            return (a >= np.uint64(SHARED_WINDOW)) & (a < np.uint64(LOCAL_WINDOW))
        if "local" in given:
            return a >= np.uint64(LOCAL_WINDOW)
        return a < np.uint64(SHARED_WINDOW)

    return d.compute(test, TYPES["u64"])
