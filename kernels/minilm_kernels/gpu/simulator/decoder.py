"""An instruction's operands: how a step reads its sources and writes its result.

A reader takes the machine and gives an array over the lanes (or one number, where all lanes have the same). A writer takes
machine, value and group, and leaves the registers of lanes outside the group as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from minilm_kernels.gpu.simulator.errors import UnknownInstruction
from minilm_kernels.gpu.simulator.parser import Instruction
from minilm_kernels.gpu.simulator.types import TYPES, UNSIGNED, PtxType

Array = Any
Step = Callable[[Any, Any], None]
Reader = Callable[[Any], Array]
Writer = Callable[[Any, Array, Any], None]

SPECIAL = {
    *(f"%{name}.{axis}" for name in ("tid", "ntid", "ctaid", "nctaid") for axis in "xyz"),
    *(f"%lanemask_{which}" for which in ("eq", "lt", "le", "gt", "ge")),
    "%laneid", "%warpid", "%nwarpid", "%smid", "%nsmid", "%clock", "%clock64", "WARP_SZ",
}  # fmt: skip


class Decoder:
    """What an opcode's function needs to make its step: operands as readers, the result as a writer."""

    def __init__(self, program: Any, instruction: Instruction):
        self.program, self.instruction = program, instruction
        self.operands = instruction.operands
        self.types = instruction.types()

    def unknown(self, why: str) -> UnknownInstruction:
        i = self.instruction
        name = ".".join((i.opcode, *i.modifiers))
        return UnknownInstruction(
            f"kernel {self.program.name}, PTX line {i.line}: the simulator does not execute {name}: {why} (`{i}`)"
        )

    def allow(self, *modifiers: str) -> set[str]:
        """The instruction's modifiers besides types; an error if one is not among these."""
        given = [m for m in self.instruction.modifiers if m not in TYPES]
        for m in given:
            if m not in modifiers:
                raise self.unknown(f".{m} is not known here")
        return set(given)

    # --- operands -----------------------------------------------------------------------------------------------------

    def register(self, name: str) -> int | None:
        """The number of a register, None if this is not a register's name."""
        return self.program.register_numbers.get(name)

    def names(self, operand: str) -> list[str]:
        """{a, b} → [a, b]; a → [a]."""
        return [n.strip() for n in operand.strip("{}").split(",")] if operand.startswith("{") else [operand]

    def read(self, operand: str, kind: PtxType) -> Reader:
        """A reader of a source operand as a type: register, special register, constant or address of a variable."""
        number = self.register(operand)
        if number is not None:
            return self.read_register(number, kind)
        if operand in ("WARP_SZ",) or operand.startswith("%"):
            if operand not in SPECIAL:
                raise self.unknown(f"{operand} is no register that the simulator knows")
            dtype = kind.dtype
            return lambda machine: machine.special[operand].astype(dtype)
        name, _, offset = operand.partition("+")
        if name in self.program.symbols:
            value = UNSIGNED[kind.bits].type(self.program.symbols[name][1] + int(offset or "0", 0))
            return lambda machine: value
        if name in self.program.module.variables:
            more = int(offset or "0", 0)
            return lambda machine: np.uint64(machine.variables[name] + more)
        value = constant(operand, kind)
        return lambda machine: value

    def read_register(self, number: int, kind: PtxType) -> Reader:
        dtype, declared = kind.dtype, self.program.register_types[number]
        if declared.bits == kind.bits:

            def read(machine: Any) -> Array:
                value = machine.registers[number]
                return value if value.dtype is dtype else value.view(dtype)

            return read
        if declared.bits > kind.bits:  # the lower part
            part = UNSIGNED[kind.bits]
            wide = UNSIGNED[declared.bits]
            return lambda machine: machine.registers[number].view(wide).astype(part).view(dtype)
        raise self.unknown(f"a .{kind.name} is read from a register of {declared.bits} bits")

    def write(self, operand: str) -> Writer:
        """A writer of a destination register; the value's dtype has the register's width."""
        if operand == "_":
            return lambda machine, value, group: None
        number = self.register(operand)
        if number is None:
            raise self.unknown(f"{operand} is no register")
        wide = self.program.register_types[number].dtype.itemsize

        def write(machine: Any, value: Array, group: Any) -> None:
            if value.dtype.itemsize != wide:
                value = resized(value, wide)
            if group.full:
                machine.registers[number] = value
                return
            old = machine.registers[number]
            if old.dtype is not value.dtype:
                old = old.view(value.dtype)
            machine.registers[number] = np.where(group.mask, value, old)

        return write

    def guard(self) -> Reader:
        """@p or @!p."""
        read = self.read(self.instruction.guard or "", TYPES["pred"])
        if self.instruction.negated:
            return lambda machine: ~read(machine)
        return read

    def compute(self, function: Callable[..., Array], *kinds: PtxType) -> Step:
        """A step that writes function(sources…) to the first operand; `kinds` are the sources' types."""
        write = self.write(self.operands[0])
        if len(self.operands) != len(kinds) + 1:
            raise self.unknown(f"it has {len(self.operands)} operands, not {len(kinds) + 1}")
        reads = [self.read(o, kind) for o, kind in zip(self.operands[1:], kinds)]
        if len(reads) == 1:
            (a,) = reads
            return lambda machine, group: write(machine, function(a(machine)), group)
        if len(reads) == 2:
            a, b = reads
            return lambda machine, group: write(machine, function(a(machine), b(machine)), group)
        if len(reads) == 3:
            a, b, c = reads
            return lambda machine, group: write(machine, function(a(machine), b(machine), c(machine)), group)
        return lambda machine, group: write(machine, function(*[r(machine) for r in reads]), group)

    def address(self, operand: str) -> tuple[Reader, str | None]:
        """A reader of [register + offset] or [variable + offset] as int64, and the variable's space if it is one."""
        m = re.match(r"\[\s*([%$\w@.]+)\s*(?:\+\s*(-?\w+))?\s*\]$", operand)
        if m is None:
            raise self.unknown(f"address {operand} is not understood")
        more = np.int64(int(m[2] or "0", 0))
        number = self.register(m[1])
        if number is None:
            space = self.program.symbols[m[1]][0] if m[1] in self.program.symbols else None
            if space is None and m[1] not in self.program.module.variables:
                base = np.int64(int(m[1], 0))
                return lambda machine: base + more, None
            read = self.read(m[1], TYPES["u64"])
            return lambda machine: read(machine).astype(np.int64) + more, space
        bits = self.program.register_types[number].bits
        read = self.read_register(number, TYPES["s64"] if bits == 64 else TYPES[f"u{bits}"])
        if bits == 64:
            return (lambda machine: read(machine) + more) if more else read, None
        return lambda machine: read(machine).astype(np.int64) + more, None

    def members(self) -> Callable[[Any, Any], Array]:
        """Which lanes must come together at this instruction: those of its membermask that have not ended."""
        i = self.instruction
        if i.opcode in ("mma", "ldmatrix", "stmatrix", "movmatrix"):
            return lambda machine, group: warps_of(group) & machine.real
        mask = self.read(self.operands[-1], TYPES["u32"])

        def members(machine: Any, group: Any) -> Array:
            wanted = np.broadcast_to(mask(machine), machine.count)
            if (wanted[group.lanes] == 0xFFFFFFFF).all():
                return warps_of(group) & machine.live
            rows = np.where(group.mask, wanted, np.uint32(0)).reshape(-1, 32)
            union = np.bitwise_or.reduce(
                rows, axis=1
            )  # all lanes of a group name the same set, if the program is right
            lane = np.arange(32, dtype=np.uint32)
            return ((union[:, None] >> lane) & 1).astype(bool).ravel() & machine.live

        return members


def warps_of(group: Any) -> Array:
    """All lanes of the warps that have a lane in the group."""
    return np.repeat(group.mask.reshape(-1, 32).any(axis=1), 32)


def resized(value: Array, itemsize: int) -> Array:
    """A value made as wide as its register: integers by their sign, floats as their bits."""
    if value.dtype.kind == "f":
        value = value.view(f"u{value.dtype.itemsize}")
    kind = "i" if value.dtype.kind == "i" else "u"
    return value.astype(f"{kind}{itemsize}")


def constant(text: str, kind: PtxType) -> Array:
    """A constant of the text as a value: 12, 0x1F, -3, 0f3F800000, 0d3FF0000000000000, 1.5 (PTX ISA manual 4.5)."""
    head = text[:2].lower()
    if head in ("0f", "0d"):
        bits = int(text[2:], 16)
        value = np.uint32(bits).view(np.float32) if head == "0f" else np.uint64(bits).view(np.float64)
        return value.astype(kind.dtype) if kind.dtype.kind == "f" else value.view(kind.dtype)
    if re.fullmatch(r"-?\d+\.\d*(?:[eE][-+]?\d+)?", text):
        return kind.dtype.type(float(text))
    number = int(text.rstrip("U"), 0) if not re.fullmatch(r"0[0-7]+", text) else int(text, 8)
    if kind.name == "pred":
        return np.bool_(number)
    return UNSIGNED[kind.bits].type(number & ((1 << kind.bits) - 1)).view(kind.dtype)
