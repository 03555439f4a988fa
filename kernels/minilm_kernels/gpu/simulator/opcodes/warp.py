"""Threads of a warp exchange values: shuffles and votes ("… : shfl.sync", "… : vote.sync", "… : match.sync").

The machine lets a group through only when all lanes of the membermask are there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm_kernels.gpu.simulator.errors import Divergence
from minilm_kernels.gpu.simulator.opcodes.table import opcode
from minilm_kernels.gpu.simulator.types import TYPES

Array = Any
U32, PRED = TYPES["u32"], TYPES["pred"]


@opcode("shfl", section="Data Movement and Conversion")
def shfl(d: Any) -> Any:
    """d|p = a of another lane: lane − b (.up), + b (.down), ^ b (.bfly), or b itself (.idx), within segments of a warp.

    c holds the segments: bits 8–12 a mask of the lane bits that stay fixed, bits 0–4 the last lane that may be read. Outside,
    d = the thread's own a, and p is false.
    """
    given = d.allow("sync", "up", "down", "bfly", "idx")
    if "sync" not in given:
        raise d.unknown("shuffles without .sync are gone since sm_70")
    mode = next(m for m in ("up", "down", "bfly", "idx") if m in given)
    to, *flag = d.operands[0].split("|")
    write = d.write(to)
    write_flag = d.write(flag[0]) if flag else None
    a, b, c = (d.read(o, U32) for o in d.operands[1:4])

    def step(machine: Any, group: Any) -> None:
        lane = machine.special["%laneid"].astype(np.int64)
        by = (b(machine) & np.uint32(31)).astype(np.int64)
        clamp = c(machine)
        segment = (clamp >> np.uint32(8) & np.uint32(31)).astype(np.int64)
        limit = (lane & segment) | ((clamp & np.uint32(31)).astype(np.int64) & ~segment)
        low = lane & segment
        if mode == "up":
            source = lane - by
            valid = source >= limit
        elif mode == "down":
            source = lane + by
            valid = source <= limit
        elif mode == "bfly":
            source = lane ^ by
            valid = source <= limit
        else:
            source = low | (by & ~segment)
            valid = source <= limit
        source = np.where(valid, source, lane)
        place = machine.all_lanes - lane + source
        absent = group.mask & ~group.mask[place]
        if absent.any():
            at = int(absent.argmax())
            raise Divergence(
                f"reads a value of thread {machine.thread_name(int(place[at]))}, which does not take part in the shuffle",
                at,
            )
        value = a(machine)
        write(machine, value[place] if value.ndim else value, group)
        if write_flag is not None:
            write_flag(machine, np.broadcast_to(valid, machine.count), group)

    return step


def per_warp(machine: Any, group: Any, value: Array) -> Array:
    """A value, zero in lanes that do not take part, as (warps, 32)."""
    return np.where(group.mask, value, np.zeros((), value.dtype)).reshape(-1, 32)


def ballot(machine: Any, group: Any, condition: Array) -> Array:
    """A bit for each lane of a warp where a condition holds, as one number for each lane."""
    bits = per_warp(machine, group, np.asarray(condition)).astype(np.uint32)
    return np.repeat((bits << np.arange(32, dtype=np.uint32)).sum(axis=1, dtype=np.uint32), 32)


@opcode("vote", section="Parallel Synchronization and Communication")
def vote(d: Any) -> Any:
    """d = whether a predicate holds in all lanes (.all), in any (.any), in all or none (.uni), or a bit for each (.ballot)."""
    given = d.allow("sync", "all", "any", "uni", "ballot")
    write = d.write(d.operands[0])
    text = d.operands[1]
    read = d.read(text.removeprefix("!"), PRED)

    def step(machine: Any, group: Any) -> None:
        yes = ballot(machine, group, read(machine) ^ text.startswith("!"))
        here = ballot(machine, group, np.bool_(True))
        if "ballot" in given:
            result = yes
        elif "any" in given:
            result = yes != 0
        else:
            result = (yes == here) | (("uni" in given) & (yes == 0))
        write(machine, result, group)

    return step


@opcode("activemask", section="Parallel Synchronization and Communication")
def activemask(d: Any) -> Any:
    """d = a bit for each lane of the warp that executes this instruction together with this thread."""
    write = d.write(d.operands[0])
    return lambda machine, group: write(machine, ballot(machine, group, np.bool_(True)), group)


@opcode("match", section="Parallel Synchronization and Communication")
def match(d: Any) -> Any:
    """d = the lanes whose value equals this lane's (.any), or all of them if they agree (.all), with p whether they do."""
    given = d.allow("sync", "any", "all")
    kind = d.types[-1]
    to, *flag = d.operands[0].split("|")
    write, write_flag = d.write(to), d.write(flag[0]) if flag else None
    read = d.read(d.operands[1], kind)

    def step(machine: Any, group: Any) -> None:
        value = np.broadcast_to(read(machine), machine.count).reshape(-1, 32)
        here = group.mask.reshape(-1, 32)
        same = (value[:, :, None] == value[:, None, :]) & here[:, None, :]
        bits = (same.astype(np.uint32) << np.arange(32, dtype=np.uint32)).sum(axis=2, dtype=np.uint32).ravel()
        if "all" in given:
            agree = bits == ballot(machine, group, np.bool_(True))
            bits = np.where(agree, bits, np.uint32(0))
            if write_flag is not None:
                write_flag(machine, agree, group)
        write(machine, bits, group)

    return step


@opcode("redux", section="Parallel Synchronization and Communication")
def redux(d: Any) -> Any:
    """d = the sum, minimum, maximum, and, or, xor of all lanes' integers."""
    operations = {
        "add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    }  # fmt: skip
    given = d.allow("sync", *operations)
    name = next(m for m in operations if m in given)
    kind = d.types[-1]
    if kind.is_float:
        raise d.unknown("only integers are known")
    ends = np.iinfo(kind.dtype)
    neutral = {"add": 0, "or": 0, "xor": 0, "and": -1, "min": ends.max, "max": ends.min}[name]
    start = kind.dtype.type(neutral if neutral >= ends.min else ends.max)
    read, write = d.read(d.operands[1], kind), d.write(d.operands[0])

    def step(machine: Any, group: Any) -> None:
        value = np.where(group.mask, read(machine), start).reshape(-1, 32)
        write(machine, np.repeat(operations[name].reduce(value, axis=1).astype(kind.dtype), 32), group)

    return step
