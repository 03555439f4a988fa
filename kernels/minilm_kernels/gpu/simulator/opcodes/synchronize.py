"""Barriers and fences ("Parallel Synchronization and Communication Instructions").

That threads wait is the machine's part; here is what happens then.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm_kernels.gpu.simulator.opcodes.table import opcode
from minilm_kernels.gpu.simulator.types import TYPES


@opcode("bar", "barrier", section="Parallel Synchronization and Communication")
def bar(d: Any) -> Any:
    """bar.sync: a block's threads wait for each other; .red also combines a predicate. bar.warp.sync: those of a warp."""
    given = d.allow("sync", "aligned", "cta", "warp", "red", "popc", "and", "or")
    if "warp" in given:
        return warp_barrier
    if "red" in given:
        return reduction(d, given)
    if "sync" not in given or d.operands != ("0",):
        raise d.unknown("only barrier 0 for all threads of the block is known")
    return lambda machine, group: None


def warp_barrier(machine: Any, group: Any) -> None:
    """What a warp did before is ordered before what it does next; a barrier for a part of the warp is not counted."""
    if machine.warp_epoch is not None:
        whole = (group.mask == machine.live).reshape(-1, 32).all(axis=1) & group.mask.reshape(-1, 32).any(axis=1)
        machine.warp_epoch = machine.warp_epoch + np.repeat(whole, 32)


def reduction(d: Any, given: set[str]) -> Any:
    """bar.red: how many threads' predicates hold, or whether all or any do."""
    if d.operands[1] != "0" or len(d.operands) != 3:
        raise d.unknown("only barrier 0 for all threads of the block is known")
    write = d.write(d.operands[0])
    text = d.operands[2]
    read = d.read(text.removeprefix("!"), TYPES["pred"])

    def step(machine: Any, group: Any) -> None:
        condition = read(machine) ^ text.startswith("!")
        count = (group.mask & condition).reshape(-1, machine.padded).sum(axis=1)
        total = group.mask.reshape(-1, machine.padded).sum(axis=1)
        result = count.astype(np.uint32) if "popc" in given else count == total if "and" in given else count > 0
        write(machine, np.repeat(result, machine.padded), group)

    return step


@opcode("membar", "fence", section="Parallel Synchronization and Communication")
def fence(d: Any) -> Any:
    """Order this thread's accesses: nothing to do where each happens at once. (It orders no races away: see Checks.)"""
    return lambda machine, group: None


@opcode("nanosleep", section="Miscellaneous")
def nanosleep(d: Any) -> Any:
    """Wait a little: nothing to do."""
    return lambda machine, group: None
