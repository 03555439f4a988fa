"""Loads, stores and asynchronous copies ("Data Movement and Conversion Instructions")."""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm_kernels.gpu.simulator.memory import LOCAL_WINDOW, SHARED_WINDOW, rows_of
from minilm_kernels.gpu.simulator.opcodes.table import opcode
from minilm_kernels.gpu.simulator.races import READ, WRITE
from minilm_kernels.gpu.simulator.types import TYPES

Array = Any

SPACES = ("global", "shared", "local", "const", "param")
# how an access is ordered or cached; none of it changes what a correct program computes
HINTS = (
    "weak", "relaxed", "acquire", "release", "volatile", "cta", "cluster", "gpu", "sys",
    "nc", "ca", "cg", "cs", "lu", "cv", "wb", "wt",
    "L1_no_allocate", "L1_evict_last", "L1_evict_first", "L1_evict_normal", "L1_evict_unchanged",
    "L2_64B", "L2_128B", "L2_256B",
)  # fmt: skip
VECTORS = {"v2": 2, "v4": 4, "v8": 8}


def space_of(d: Any, given: set[str], named: str | None) -> str:
    """The space of an access; "generic" where neither the instruction nor a variable names one."""
    if "shared_cta" in given:
        return "shared"
    return next((s for s in SPACES if s in given), named or "generic")


def fetch(machine: Any, space: str, kind: int, address: Array, nbytes: int, lanes: Array, number: int) -> list[Any]:
    """Check an access; returns [(memory's bytes, phase, which of the lanes, index of the row)]."""
    if machine.counters is not None:
        machine.counters.access(machine, space, kind, address, nbytes, lanes, number)
    if space == "shared":
        slots = machine.slot if len(lanes) == machine.count else machine.slot[lanes]
        index = machine.shared.access(machine, kind, address, nbytes, slots, lanes, number)
        return [(machine.shared.data, 0, slice(None), index)]
    if space == "local":
        index = machine.local.access(machine, kind, address, nbytes, lanes, lanes, number)
        return [(machine.local.data, 0, slice(None), index)]
    found = machine.memory.access(machine, kind, address, nbytes, lanes, number)
    return [(region.data, phase, which, index) for region, which, index, phase in found]


def places(machine: Any, space: str, kind: int, address: Array, nbytes: int, lanes: Array, number: int) -> list[Any]:
    """fetch(), with generic addresses sent to the space that they belong to."""
    if space != "generic":
        return fetch(machine, space, kind, address, nbytes, lanes, number)
    window = np.where(address >= LOCAL_WINDOW, 2, np.where(address >= SHARED_WINDOW, 1, 0))
    result = []
    for number, name, start in ((0, "global", 0), (1, "shared", SHARED_WINDOW), (2, "local", LOCAL_WINDOW)):
        which = np.flatnonzero(window == number)
        if which.size:
            for data, phase, part, index in fetch(
                machine, name, kind, address[which] - start, nbytes, lanes[which], number
            ):
                result.append((data, phase, which[part], index))
    return result


def at_lanes(machine: Any, value: Array, lanes: Array) -> Array:
    """A register's value for some lanes."""
    if not value.ndim:
        return np.full(len(lanes), value)
    return value if len(lanes) == machine.count else value[lanes]


def load(machine: Any, space: str, address: Array, nbytes: int, lanes: Array, number: int) -> Array:
    """What lies at each lane's address: an array (lanes, words) of unsigned words of at most 8 bytes."""
    found = places(machine, space, READ, address, nbytes, lanes, number)
    if len(found) == 1:
        data, phase, _, index = found[0]
        return rows_of(data, phase, nbytes)[index]
    word = min(nbytes, 8)
    result = np.empty((len(lanes), nbytes // word), f"u{word}")
    for data, phase, which, index in found:
        result[which] = rows_of(data, phase, nbytes)[index]
    return result


def store(machine: Any, space: str, address: Array, rows: Array, lanes: Array, number: int) -> None:
    """Write a row for each lane; rows: (lanes, bytes) of uint8."""
    nbytes = rows.shape[1]
    words = rows.view(f"u{min(nbytes, 8)}")
    for data, phase, which, index in places(machine, space, WRITE, address, nbytes, lanes, number):
        rows_of(data, phase, nbytes)[index] = words[which]


def spread(machine: Any, value: Array, group: Any) -> Array:
    """Values of the active lanes as an array over all lanes."""
    if len(value) == machine.count:
        return value
    result = np.zeros(machine.count, value.dtype)
    result[group.lanes] = value
    return result


@opcode("ld", "ldu", section="Data Movement and Conversion")
def ld(d: Any) -> Any:
    """d = what lies at an address: one value, or two or four that lie side by side."""
    given = d.allow(*SPACES, "shared_cta", "param_entry", *HINTS, *VECTORS)
    kind = d.types[-1]
    writes = [d.write(name) for name in d.names(d.operands[0])]
    if "param" in given:
        return load_parameter(d, kind, writes)
    address, named = d.address(d.operands[1])
    space = space_of(d, given, named)
    nbytes, number = kind.bytes * len(writes), d.instruction.number

    def step(machine: Any, group: Any) -> None:
        lanes = group.lanes
        rows = load(machine, space, at_lanes(machine, address(machine), lanes), nbytes, lanes, number)
        if len(writes) == 1:
            writes[0](machine, spread(machine, rows[:, 0].view(kind.dtype), group), group)
            return
        columns = np.ascontiguousarray(np.ascontiguousarray(rows).view(kind.dtype).T)
        for write, column in zip(writes, columns):
            write(machine, spread(machine, column, group), group)

    return step


def load_parameter(d: Any, kind: Any, writes: list[Any]) -> Any:
    """ld.param: an argument of the launch, the same for all threads."""
    name, _, offset = d.operands[1].strip("[] ").partition("+")
    name, start = name.strip(), int(offset or "0", 0)
    if name not in d.program.parameters:
        raise d.unknown(f"{name} is no parameter of the kernel")

    def step(machine: Any, group: Any) -> None:
        values = np.frombuffer(machine.parameters[name], kind.dtype, len(writes), start)
        for write, value in zip(writes, values):
            write(machine, value, group)

    return step


@opcode("st", section="Data Movement and Conversion")
def st(d: Any) -> Any:
    """Write one value, or two or four side by side, to an address."""
    given = d.allow(*SPACES[:3], "shared_cta", *HINTS, *VECTORS)
    kind = d.types[-1]
    address, named = d.address(d.operands[0])
    space, number = space_of(d, given, named), d.instruction.number
    reads = [d.read(name, kind) for name in d.names(d.operands[1])]

    def step(machine: Any, group: Any) -> None:
        lanes = group.lanes
        values = [at_lanes(machine, read(machine), lanes) for read in reads]
        rows = np.stack(values, axis=1).view(np.uint8).reshape(len(lanes), -1)
        store(machine, space, at_lanes(machine, address(machine), lanes), rows, lanes, number)

    return step


@opcode("prefetch", "prefetchu", "discard", "applypriority", section="Data Movement and Conversion")
def prefetch(d: Any) -> Any:
    """A hint to the caches: nothing to do."""
    return lambda machine, group: None


# --- asynchronous copies ----------------------------------------------------------------------------------------------


@opcode("cp", section="Data Movement and Conversion")
def cp(d: Any) -> Any:
    """cp.async: copy 4, 8 or 16 bytes from global to shared memory, some time before cp.async.wait_… returns.

    Here the copy happens as late as it may, at the wait: a kernel that reads too early meets what was there before.
    """
    hints = ("L2_64B", "L2_128B", "L2_256B")
    given = d.allow(
        "async", "ca", "cg", "shared", "shared_cta", "global", "commit_group", "wait_group", "wait_all", *hints
    )
    if "async" not in given:
        raise d.unknown("only cp.async is known")
    if "commit_group" in given:
        return commit
    if given & {"wait_group", "wait_all"}:
        still = 0 if "wait_all" in given else int(d.operands[0])
        return lambda machine, group: wait(machine, group, still, "wait_all" in given)
    return start_copy(d)


class Copy:
    """A cp.async on its way: where from, where to, for which lanes; `group` counts the commits since."""

    def __init__(self, to: Array, source: Array, size: Array, nbytes: int, lanes: Array, number: int):
        self.to, self.source, self.size, self.nbytes, self.lanes, self.number = to, source, size, nbytes, lanes, number
        self.commits = np.full(len(lanes), -1)  # −1: not committed; else the number of groups committed after its own


def start_copy(d: Any) -> Any:
    to, _ = d.address(d.operands[0])
    source, _ = d.address(d.operands[1])
    nbytes, number = int(d.operands[2], 0), d.instruction.number
    # a fourth operand: how many bytes are read; the rest becomes zero
    size = d.read(d.operands[3], TYPES["u32"]) if len(d.operands) > 3 else None

    def step(machine: Any, group: Any) -> None:
        lanes = group.lanes
        wanted = np.full(len(lanes), nbytes) if size is None else at_lanes(machine, size(machine), lanes).astype(int)
        target, origin = (at_lanes(machine, f(machine), lanes) for f in (to, source))
        machine.copies.append(Copy(target, origin, wanted, nbytes, lanes, number))

    return step


def commit(machine: Any, group: Any) -> None:
    """cp.async.commit_group: the copies started so far become a group."""
    for copy in machine.copies:
        mine = group.mask[copy.lanes]
        copy.commits = np.where(mine, copy.commits + 1, copy.commits)


def wait(machine: Any, group: Any, still: int, uncommitted: bool) -> None:
    """Finish all groups but the last `still`."""
    rest = []
    for copy in machine.copies:
        due = group.mask[copy.lanes] & ((copy.commits >= still) | uncommitted)
        if due.any():
            finish(machine, copy, due)
        if not due.all():
            keep = ~due
            left = Copy(copy.to[keep], copy.source[keep], copy.size[keep], copy.nbytes, copy.lanes[keep], copy.number)
            left.commits = copy.commits[keep]
            rest.append(left)
    machine.copies = rest


def finish(machine: Any, copy: Copy, due: Array) -> None:
    """Do a copy, for the lanes that are due."""
    nbytes, lanes = copy.nbytes, copy.lanes[due]
    rows = np.zeros((len(lanes), nbytes), np.uint8)
    size = copy.size[due]
    for n in np.unique(size):
        which = np.flatnonzero(size == n)
        if n == nbytes:
            words = load(machine, "global", copy.source[due][which], nbytes, lanes[which], copy.number)
            rows[which] = np.ascontiguousarray(words).view(np.uint8).reshape(len(which), nbytes)
        else:  # byte by byte: only these may be touched
            for byte in range(int(n)):
                rows[which, byte] = load(
                    machine, "global", copy.source[due][which] + byte, 1, lanes[which], copy.number
                )[:, 0]
    store(machine, "shared", copy.to[due], rows, lanes, copy.number)
