"""Atomic operations ("Parallel Synchronization and Communication Instructions: atom, red").

Lanes take their turns in order of their numbers; a GPU promises no order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minilm_kernels.gpu.simulator.memory import rows_of
from minilm_kernels.gpu.simulator.opcodes.floats import on_values
from minilm_kernels.gpu.simulator.opcodes.memory import HINTS, VECTORS, at_lanes, places, space_of, spread
from minilm_kernels.gpu.simulator.opcodes.table import opcode
from minilm_kernels.gpu.simulator.races import ATOMIC

Array = Any


def increase(old: Array, limit: Array) -> Array:
    """atom.inc: count up to a limit, then from 0 again."""
    return np.where(old >= limit, old.dtype.type(0), old + old.dtype.type(1))


def decrease(old: Array, limit: Array) -> Array:
    """atom.dec: count down to 0, then from the limit again."""
    return np.where((old == 0) | (old > limit), limit, old - old.dtype.type(1))


OPERATIONS: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "exch": lambda old, new: new, "inc": increase, "dec": decrease,
}  # fmt: skip


@opcode("atom", "red", section="Parallel Synchronization and Communication")
def atom(d: Any) -> Any:
    """d = what lies at an address, which becomes op(that, b); .cas: c if it equals b. red gives nothing back."""
    given = d.allow("global", "shared", "shared_cta", "cas", "noftz", "acq_rel", *OPERATIONS, *HINTS)
    if given & set(VECTORS):
        raise d.unknown("vectors are not known here")
    kind = d.types[-1]
    returns = d.instruction.opcode == "atom"
    to, *rest = d.operands if returns else ("_", *d.operands)
    address, named = d.address(rest[0])
    space, number = space_of(d, given, named), d.instruction.number
    sources = [d.read(o, kind) for o in rest[1:]]
    write = d.write(to)
    operation = None if "cas" in given else on_values(kind, OPERATIONS[next(m for m in OPERATIONS if m in given)])

    def step(machine: Any, group: Any) -> None:
        lanes = group.lanes
        values = [at_lanes(machine, read(machine), lanes) for read in sources]
        before = np.empty(len(lanes), kind.dtype)
        where = at_lanes(machine, address(machine), lanes)
        for data, phase, which, index in places(machine, space, ATOMIC, where, kind.bytes, lanes, number):
            memory = rows_of(data, phase, kind.bytes)[:, 0].view(kind.dtype)
            turn(memory, index, [v[which] for v in values], before, np.arange(len(lanes))[which])
        write(machine, spread(machine, before, group), group)

    def turn(memory: Array, index: Array, values: list[Array], before: Array, which: Array) -> None:
        """All lanes that go to different places at once; those that share a place one after another."""
        left = np.arange(len(index))
        while left.size:
            now = left[np.unique(index[left], return_index=True)[1]]
            old = memory[index[now]]
            before[which[now]] = old
            if operation is None:
                memory[index[now]] = np.where(old == values[0][now], values[1][now], old)
            else:
                memory[index[now]] = operation(old, values[0][now])
            left = np.setdiff1d(left, now, assume_unique=True)

    return step
