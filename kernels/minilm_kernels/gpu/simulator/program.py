"""A kernel made ready to run: instructions become steps (Python functions), steps stand in basic blocks.

    Program
      blocks[at]      the basic block that begins at instruction `at`: a list of (step, instruction), then where to go
      step(machine, group)    executes one instruction for the lanes of a group

A step is made once by the opcode's function in `opcodes`; it has its operands' readers and its result's writer in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from minilm_kernels.gpu.simulator.decoder import Decoder, Step
from minilm_kernels.gpu.simulator.errors import SimulationError
from minilm_kernels.gpu.simulator.parser import Instruction, Kernel, PtxModule, Variable
from minilm_kernels.gpu.simulator.registers import places
from minilm_kernels.gpu.simulator.types import TYPES, PtxType

Array = Any

SYNC_WARP = ("shfl", "vote", "match", "redux", "mma", "ldmatrix", "stmatrix", "movmatrix", "elect")
ENDS = ("bra", "brx", "ret", "exit", "trap")


class BasicBlock:
    """Instructions without a jump between them."""

    def __init__(self) -> None:
        self.steps: list[tuple[Step, Instruction]] = []
        self.sync: str | None = None  # "block", "warp": its first instruction is executed together
        self.members: Callable[[Any, Any], Array] = lambda machine, group: group.mask
        self.leave: Step = lambda machine, group: None
        self.last: Any = None  # the last instruction
        self.instructions: list[Instruction] = []


class Program:
    """A kernel's steps and what a launch must know of it; `name`: what messages call it."""

    def __init__(self, module: PtxModule, kernel: Kernel, name: str | None = None):
        from minilm_kernels.gpu.simulator.opcodes import OPCODES

        self.kernel, self.name, self.module = kernel, name or kernel.name, module
        self.parameters = {p.name: p for p in kernel.parameters}
        self.starts = self.block_starts()
        self.register_numbers, self.register_types = places(kernel.instructions, self.starts, self.declared)
        self.has_warp_barrier = any(
            i.opcode in ("bar", "barrier") and "warp" in i.modifiers for i in kernel.instructions
        )
        self.shared_granule = self.smallest_shared_access()
        self.symbols: dict[str, tuple[str, int]] = {}  # shared and local variables: space, offset
        self.static_shared, self.local_bytes = self.lay_out()
        self.opcodes = OPCODES
        self.blocks = self.basic_blocks()
        self.register_zeros = [np.zeros((), kind.dtype)[()] for kind in self.register_types]

    def place_of(self, number: int) -> str:
        """Where an instruction stands: PTX line 12 (file:line), the latter if NVRTC told."""
        instruction = self.kernel.instructions[number]
        return f"PTX line {instruction.line}" + (f" ({instruction.source})" if instruction.source else "")

    def smallest_shared_access(self) -> int:
        """Bytes of the smallest access of shared memory, at most 4: the cells in which races are looked for."""
        smallest = 4
        for i in self.kernel.instructions:
            elsewhere = {"global", "param", "local", "const"} & set(i.modifiers)
            if i.opcode in ("ld", "st", "atom", "red") and not elsewhere and (kinds := i.types()):
                smallest = min(smallest, kinds[-1].bytes)
        return smallest

    def lay_out(self) -> tuple[int, int]:
        """Give shared and local variables their addresses; returns the bytes of each. Dynamic shared memory comes last."""
        used = "\n".join(" ".join(i.operands) for i in self.kernel.instructions)
        sizes = {"shared": 0, "local": 0}
        dynamic: list[Variable] = []
        for variable in (*self.module.variables.values(), *self.kernel.variables.values()):
            if variable.space not in sizes or not re.search(re.escape(variable.name) + r"(?![\w$])", used):
                continue
            if variable.extern:
                dynamic.append(variable)
                continue
            start = -(-sizes[variable.space] // variable.align) * variable.align
            self.symbols[variable.name] = (variable.space, start)
            sizes[variable.space] = start + variable.nbytes
        for variable in dynamic:
            sizes["shared"] = -(-sizes["shared"] // 16) * 16
            self.symbols[variable.name] = ("shared", sizes["shared"])
        return sizes["shared"], sizes["local"]

    # --- basic blocks -------------------------------------------------------------------------------------------------

    def declared(self, name: str) -> PtxType | None:
        """The type of a register: %f12 stands in a declaration %f<20>. None if the name is no register's."""
        declared = self.kernel.registers
        return declared.get(name) or declared.get(name.rstrip("0123456789"))

    def block_starts(self) -> list[int]:
        """Where basic blocks begin, and the end: at labels, after jumps, and around what threads execute together."""
        instructions = self.kernel.instructions
        starts = {0, len(instructions), *self.kernel.labels.values()}
        for at, i in enumerate(instructions):
            if i.opcode in ENDS or is_block_barrier(i):
                starts.add(at + 1)
            if i.opcode in SYNC_WARP or i.opcode in ("bar", "barrier"):
                starts.add(at)
        return sorted(starts)

    def basic_blocks(self) -> dict[int, BasicBlock]:
        instructions = self.kernel.instructions
        blocks = {start: self.basic_block(start, end) for start, end in zip(self.starts, self.starts[1:])}
        end_block = BasicBlock()  # falling off the end is a return
        end_block.leave = lambda machine, group: machine.exit(group.mask)
        blocks[len(instructions)] = end_block
        return blocks

    def basic_block(self, start: int, end: int) -> BasicBlock:
        block = BasicBlock()
        block.instructions = self.kernel.instructions[start:end]
        block.last = block.instructions[-1]
        first = block.instructions[0]
        if is_block_barrier(first):
            block.sync = "block"
        elif first.opcode in SYNC_WARP or first.opcode in ("bar", "barrier"):
            block.sync = "warp"
            block.members = Decoder(self, first).members()
        for i in block.instructions[:-1] if block.last.opcode in ENDS else block.instructions:
            block.steps.append((self.step(i), i))
        block.leave = self.ending(block.last, end)
        return block

    def step(self, i: Instruction) -> Step:
        """The function that executes an instruction, under its guard."""
        make = self.opcodes.get(i.opcode)
        decoder = Decoder(self, i)
        if make is None:
            raise decoder.unknown("the opcode is not known")
        try:
            step = make(decoder)
        except (KeyError, IndexError, ValueError, NotImplementedError) as error:
            raise decoder.unknown(str(error)) from error
        if i.guard is None:
            return step
        guard = decoder.guard()

        def guarded(machine: Any, group: Any) -> None:
            condition = guard(machine)
            if not condition.ndim:
                if condition:
                    step(machine, group)
            elif (some := group.where(condition)) is not None:
                step(machine, some)

        return guarded

    def ending(self, i: Instruction, after: int) -> Step:
        """Where lanes go from the end of a basic block ("Control Flow Instructions")."""
        if i.opcode not in ENDS:
            return lambda machine, group: machine.go(after, group.mask)
        decoder = Decoder(self, i)
        if i.opcode == "trap":
            raise_trap = _trap
        guard = decoder.guard() if i.guard is not None else None

        def taken(machine: Any, group: Any) -> Array:
            """The lanes whose guard holds; the others go on."""
            if guard is None:
                return group.mask
            condition = group.mask & guard(machine)
            machine.go(after, group.mask & ~condition)
            return condition

        if i.opcode == "bra":
            target = self.kernel.labels[i.operands[0]]
            return lambda machine, group: machine.go(target, taken(machine, group))
        if i.opcode == "brx":
            return self.jump_table(decoder, taken)
        if i.opcode == "trap":
            return lambda machine, group: raise_trap(machine, taken(machine, group))
        return lambda machine, group: machine.exit(taken(machine, group))

    def jump_table(self, decoder: Decoder, taken: Callable[[Any, Any], Array]) -> Step:
        """brx.idx: to the label whose number a register holds."""
        index, table = decoder.instruction.operands
        read = decoder.read(index, TYPES["u32"])
        targets = [self.kernel.labels[name] for name in self.kernel.tables[table]]

        def leave(machine: Any, group: Any) -> None:
            mask, place = taken(machine, group), read(machine)
            for number, target in enumerate(targets):
                machine.go(target, mask & (place == number))

        return leave


def is_block_barrier(i: Instruction) -> bool:
    """bar.sync, barrier.sync and barrier.cta.sync; not bar.warp.sync."""
    return i.opcode in ("bar", "barrier") and "warp" not in i.modifiers


def _trap(machine: Any, mask: Array) -> None:
    if mask.any():
        raise SimulationError("the kernel executed trap", int(np.flatnonzero(mask)[0]))
