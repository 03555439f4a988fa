"""Few places for many registers.

PTX gives every value a register of its own, thousands in a kernel. Most live only from one instruction to another of the same
basic block. Those share places here, so that the arrays in use at a time stay few and near (in the processor's cache).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from minilm_kernels.gpu.simulator.parser import Instruction
from minilm_kernels.gpu.simulator.types import PtxType

NO_RESULT = (
    "st",
    "red",
    "bar",
    "barrier",
    "stmatrix",
    "cp",
    "bra",
    "brx",
    "ret",
    "exit",
    "trap",
    "membar",
    "fence",
    "prefetch",
)
WORD = re.compile(r"[%\w$@.]+")


def places(
    instructions: list[Instruction], starts: list[int], kind_of: Callable[[str], PtxType | None]
) -> tuple[dict[str, int], list[PtxType]]:
    """A place for each register, and each place's type. starts: where basic blocks begin, in order, and the end.

    A register that is set before it is read in one basic block, and appears in no other, gives its place back after its
    last use.
    """
    homes: dict[str, set[int]] = {}  # register → its basic blocks
    first_set: dict[str, bool] = {}
    uses: list[list[str]] = []
    block = 0
    for at, i in enumerate(instructions):
        while at >= starts[block + 1]:
            block += 1
        names = [w for o in i.operands for w in WORD.findall(o) if kind_of(w)]
        results = (
            WORD.findall(i.operands[0]) if i.operands and i.opcode not in NO_RESULT and i.operands[0][0] != "[" else []
        )
        sources = [w for o in i.operands[1:] for w in WORD.findall(o)]
        if i.guard is not None:
            names.append(i.guard)
        for name in names:
            homes.setdefault(name, set()).add(block)
            first_set.setdefault(name, name in results and name not in sources and i.guard is None)
        uses.append(names)
    local = {name for name, blocks in homes.items() if len(blocks) == 1 and first_set[name]}
    last = {name: at for at, names in enumerate(uses) for name in names}
    return _scan(uses, local, last, kind_of)


def _scan(
    uses: list[list[str]], local: set[str], last: dict[str, int], kind_of: Callable[[str], PtxType | None]
) -> tuple[dict[str, int], list[PtxType]]:
    place: dict[str, int] = {}
    types: list[PtxType] = []
    free: dict[str, list[int]] = {}
    for at, names in enumerate(uses):
        for name in names:
            if name in place:
                continue
            kind = kind_of(name)
            assert kind is not None
            spare = free.get(kind.name) if name in local else None
            if spare:
                place[name] = spare.pop()
            else:
                place[name] = len(types)
                types.append(kind)
        for name in set(names):
            if name in local and last[name] == at:
                kind = types[place[name]]
                free.setdefault(kind.name, []).append(place[name])
    return place, types
