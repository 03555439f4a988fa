"""What a launch did, counted: instructions by kind, arithmetic, bytes, sectors, bank conflicts.

    sectors     global memory comes in sectors of 32 bytes: a warp's request costs as many as its lanes touch.
                Fewest: bytes / 32.
    wavefronts  shared memory has 32 banks of 4 bytes: in one turn each bank gives one word. Lanes that want different words of
                one bank take turns (a conflict); lanes that want the same word share it. Accesses of 8 (16) bytes go by half
                (quarter) warps, so 2 (4) turns are their fewest.

These are facts about addresses, counted exactly. How long a turn takes, what a cache keeps, and whether a compiler later merges
or drops an instruction of the PTX is not known here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minilm_kernels.gpu.simulator.races import READ

Array = Any

SECTOR, BANKS, BANK_BYTES = 32, 32, 4
FLOPS = {
    "fma": 2,
    "mad": 2,
    "add": 1,
    "sub": 1,
    "mul": 1,
    "div": 1,
    "rcp": 1,
    "sqrt": 1,
    "rsqrt": 1,
    "ex2": 1,
    "lg2": 1,
    "max": 1,
    "min": 1,
}
KINDS = {
    "tensor cores": ("mma",),
    "global memory": ("ld.global", "st.global", "atom.global", "red.global", "ld.generic", "st.generic", "cp"),
    "shared memory": ("ld.shared", "st.shared", "atom.shared", "ldmatrix", "stmatrix"),
    "local memory": ("ld.local", "st.local"),
    "warp": ("shfl", "vote", "match", "redux", "activemask", "movmatrix"),
    "barriers": ("bar", "barrier", "membar", "fence"),
    "branches": ("bra", "brx", "ret", "exit"),
    "conversions": ("cvt", "cvta"),
    "moves": ("mov", "selp", "prmt", "ld.param", "slct"),
    "comparisons": ("setp", "set"),
}
KIND_OF = {name: kind for kind, names in KINDS.items() for name in names}


def kind_of(instruction: Any) -> str:
    """The row of the table that an instruction is counted in."""
    name = instruction.opcode
    if name in ("ld", "st", "atom", "red"):
        space = next(
            (m for m in instruction.modifiers if m in ("global", "shared", "local", "param", "const")), "generic"
        )
        name = f"{name}.{space}"
    if name in KIND_OF:
        return KIND_OF[name]
    kinds = instruction.types()
    return "float arithmetic" if kinds and kinds[-1].is_float else "integer arithmetic"


def flops_of(instruction: Any) -> int:
    """Floating-point operations of one lane; for mma, of one lane's share of the warp's."""
    if instruction.opcode == "mma":
        shape = next(m for m in instruction.modifiers if m.startswith("m16n8k"))
        return 2 * 16 * 8 * int(shape[6:]) // 32
    kinds = instruction.types()
    if not kinds or not kinds[-1].is_float:
        return 0
    return FLOPS.get(instruction.opcode, 0) * (2 if kinds[-1].name.endswith("x2") else 1)


@dataclass
class Space:
    """The traffic of one memory in one direction."""

    requests: int = 0  # of warps
    lanes: int = 0
    bytes: int = 0
    turns: int = 0  # sectors of global memory, wavefronts of shared memory
    fewest: int = 0  # the same if the lanes' addresses lay as well as they can


@dataclass
class Sample:
    """The addresses of one instruction in one warp, for a picture."""

    line: int
    text: str
    space: str
    kind: int
    nbytes: int
    lanes: Array
    addresses: Array
    buffer: str = ""
    source: str = ""  # file:line of the CUDA C++


@dataclass
class Counters:
    """The counts of one launch, or of several added up."""

    name: str = ""
    grid: tuple[int, ...] = ()
    block: tuple[int, ...] = ()
    shared_bytes: int = 0
    issued: Counter = field(default_factory=Counter)  # warp instructions by kind
    lane_instructions: int = 0  # of active lanes
    flops: int = 0
    traffic: dict[tuple[str, str], Space] = field(default_factory=dict)  # (space, "read" or "write")
    by_instruction: dict[int, Space] = field(default_factory=dict)  # sectors or wavefronts of each instruction
    samples: dict[int, Sample] = field(default_factory=dict)  # number of the instruction → the first warp's addresses
    _tables: dict[int, tuple[Counter, int, int]] = field(default_factory=dict, repr=False)

    @property
    def warp_instructions(self) -> int:
        return sum(self.issued.values())

    @property
    def global_bytes(self) -> int:
        """Bytes of global memory that lanes asked for."""
        return sum(s.bytes for (space, _), s in self.traffic.items() if space == "global")

    @property
    def sector_bytes(self) -> int:
        """Bytes of the sectors that those requests touch."""
        return SECTOR * sum(s.turns for (space, _), s in self.traffic.items() if space == "global")

    @property
    def intensity(self) -> float:
        """FLOP for each byte of global memory asked for."""
        return self.flops / self.global_bytes if self.global_bytes else float("inf") if self.flops else 0.0

    def block_table(self, program: Any, at: int) -> tuple[Counter, int, int]:
        if at not in self._tables:
            instructions = program.blocks[at].instructions
            self._tables[at] = (
                Counter(kind_of(i) for i in instructions), sum(flops_of(i) for i in instructions), len(instructions)
            )  # fmt: skip
        return self._tables[at]

    def executed(self, program: Any, at: int, group: Any) -> None:
        """A basic block was executed by a group of lanes (those whose guard is false count too)."""
        kinds, flops, length = self.block_table(program, at)
        warps, lanes = group.warps, len(group.lanes)
        for kind, n in kinds.items():
            self.issued[kind] += n * warps
        self.lane_instructions += length * lanes
        self.flops += flops * lanes

    def access(
        self, machine: Any, space: str, kind: int, address: Array, nbytes: int, lanes: Array, number: int
    ) -> None:
        """An instruction touched nbytes at each lane's address."""
        warp = lanes // 32
        if space == "global":
            turns, fewest, requests = global_sectors(address, nbytes, warp)
        elif space == "shared":
            turns, fewest, requests = shared_wavefronts(address, nbytes, warp, lanes % 32)
        else:
            requests = len(np.unique(warp))
            turns = fewest = requests
        way = "read" if kind == READ else "write"
        for record in (self.traffic.setdefault((space, way), Space()), self.by_instruction.setdefault(number, Space())):
            record.requests += requests
            record.lanes += len(lanes)
            record.bytes += nbytes * len(lanes)
            record.turns += turns
            record.fewest += fewest
        sample = self.samples.get(number)
        here = warp == warp[0]
        if sample is None or int(here.sum()) > len(sample.lanes):
            instruction = machine.program.kernel.instructions[number]
            buffer = machine.memory.describe(int(address[0])) if space == "global" else ""
            self.samples[number] = Sample(
                instruction.line,
                str(instruction),
                space,
                kind,
                nbytes,
                lanes[here] % 32,
                address[here].copy(),
                buffer,
                instruction.source,
            )


def distinct(group: Array, value: Array) -> tuple[Array, Array]:
    """The different (group, value) pairs, sorted by group."""
    order = np.lexsort((value, group))
    group, value = group[order], value[order]
    first = np.ones(len(group), bool)
    first[1:] = (group[1:] != group[:-1]) | (value[1:] != value[:-1])
    return group[first], value[first]


def global_sectors(address: Array, nbytes: int, warp: Array) -> tuple[int, int, int]:
    """Sectors that the warps' requests touch, the fewest that could hold their different bytes, and the requests."""
    step = min(nbytes, SECTOR)
    parts = -(-nbytes // SECTOR)
    start = (address[:, None] + step * np.arange(parts)).ravel()
    warps, _ = distinct(np.repeat(warp, parts), start // SECTOR)
    own, _ = distinct(warp, address)
    _, per_warp = np.unique(own, return_counts=True)
    return len(warps), int((-(-per_warp * nbytes // SECTOR)).sum()), len(per_warp)


def shared_wavefronts(address: Array, nbytes: int, warp: Array, lane: Array) -> tuple[int, int, int]:
    """Turns that the warps' requests take, the fewest possible, and the requests."""
    words = max(1, nbytes // BANK_BYTES)
    phase = warp * 8 + lane // (32 // words)  # a quarter warp for 16 bytes, a half for 8
    word = (address[:, None] // BANK_BYTES + np.arange(words)).ravel()
    phases, word = distinct(np.repeat(phase, words), word)
    keys, per_bank = np.unique(phases * BANKS + word % BANKS, return_counts=True)
    owner = keys // BANKS
    first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    turns = int(np.maximum.reduceat(per_bank, first).sum())
    return turns, len(first), len(np.unique(warp))
