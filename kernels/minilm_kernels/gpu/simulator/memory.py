"""The memories: global buffers, a block's shared memory, a thread's local memory. (PTX ISA manual 5.1.)

Global addresses are numbers of 64 bits: page · 2³⁶ + offset, a page for each buffer, so that an address says which buffer it
belongs to and a pointer that runs over its end meets nothing. Shared and local addresses start at 0 for each block and each
thread; in the generic space they begin at SHARED_WINDOW and LOCAL_WINDOW.

Each access is checked: alignment, bounds, that what is read has been written, and races.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minilm_kernels.gpu.simulator.errors import Misaligned, OutOfBounds, Race, Uninitialized
from minilm_kernels.gpu.simulator.races import DID, NOBODY, READ, WRITE, AccessLog

Array = Any

PAGE = 36  # log2 of the bytes of a page
SHARED_WINDOW, LOCAL_WINDOW = 1 << 60, 1 << 61
POISON = 0xFF  # what memory holds that nothing has written: a NaN in every float format
MANY = -2  # more than one block


@dataclass
class Checks:
    """What a simulation checks; bounds, alignment and divergence always are.

    uninitialized: reads of memory that nothing wrote. races: within a block, on shared and global memory.
    block_races: between blocks, on global memory (turn it off for kernels whose blocks wait for each other's flags).
    """

    uninitialized: bool = True
    races: bool = True
    block_races: bool = True


def rows_of(memory: Array, phase: int, nbytes: int) -> Array:
    """memory[phase:] as rows of nbytes bytes, each of one, two or more words."""
    word = min(nbytes, 8)
    count = max(0, len(memory) - phase) // nbytes
    return memory[phase : phase + count * nbytes].view(f"u{word}").reshape(count, nbytes // word)


def ones(nbytes: int) -> int:
    """A word whose bytes are all 1."""
    return int.from_bytes(b"\1" * min(nbytes, 8), "little")


def first_unflagged(flags: Array, phase: int, index: Array, nbytes: int) -> tuple[int] | None:
    """The first access (in a tuple) of which not all bytes are flagged 1; None if there is none."""
    rows = rows_of(flags, phase, nbytes)
    good = (rows[:, 0] if rows.shape[1] == 1 else rows)[index] == ones(nbytes)
    return None if good.all() else _first(~good.reshape(len(index), -1).all(axis=1))


# --- global memory ----------------------------------------------------------------------------------------------------


@dataclass
class Region:
    """A buffer: its name for messages, its address, its bytes."""

    name: str
    start: int
    data: Array  # uint8
    granule: int = 1  # bytes of an element
    written: Array | None = None  # per byte, 1 where something has written it; None: everywhere
    inside: Array | None = None  # per byte, 1 where an element of the argument lies; None: everywhere
    writable: bool = True
    log: AccessLog | None = None
    writer: Array | None = field(default=None, repr=False)  # per element: the block that wrote it
    reader: Array | None = field(default=None, repr=False)

    @property
    def end(self) -> int:
        return self.start + len(self.data)


class GlobalMemory:
    """All buffers of a launch."""

    def __init__(self, checks: Checks):
        self.checks = checks
        self.regions: dict[int, Region] = {}

    def add(self, name: str, data: Array, phase: int = 0, granule: int = 1, **facts: Any) -> Region:
        """A new buffer. phase: its address modulo 4096, so that it is aligned as on a device."""
        page = len(self.regions) + 1
        region = Region(name, (page << PAGE) + phase % 4096, data, granule, **facts)
        self.regions[page] = region
        return region

    def access(self, machine: Any, kind: int, address: Array, nbytes: int, lanes: Array, number: int) -> list[Any]:
        """Check an access of lanes; returns [(region, which of the lanes, index of the row)], rows as in rows_of."""
        if bad := _first(address & (nbytes - 1)):
            lane = bad[0]
            raise Misaligned(
                f"{nbytes} bytes at {self.describe(int(address[lane]))}, which is no multiple of {nbytes}",
                int(lanes[lane]),
            )
        page = int(address[0]) >> PAGE
        region = self.regions.get(page)
        whole = slice(None)
        if region is not None and not ((address < region.start) | (address > region.end - nbytes)).any():
            found = [(region, whole)]
        else:
            found = self.several(address, nbytes, lanes)
        result = []
        for region, which in found:
            offset = address[which] - region.start
            phase = -region.start % nbytes
            index = (offset - phase) // nbytes
            self.check(machine, region, kind, offset, index, phase, nbytes, lanes[which], number)
            result.append((region, which, index, phase))
        return result

    def several(self, address: Array, nbytes: int, lanes: Array) -> list[Any]:
        """As above where lanes go to different buffers, or astray."""
        found = []
        pages = address >> PAGE
        for page in np.unique(pages):
            region, which = self.regions.get(int(page)), np.flatnonzero(pages == page)
            here = address[which]
            wrong = (
                np.ones(len(which), bool) if region is None else (here < region.start) | (here > region.end - nbytes)
            )
            if bad := _first(wrong):
                raise OutOfBounds(f"{nbytes} bytes at {self.describe(int(here[bad[0]]))}", int(lanes[which[bad[0]]]))
            found.append((region, which))
        return found

    def check(
        self, machine: Any, region: Region, kind: int, offset: Array, index: Array, phase: int, nbytes: int,
        lanes: Array, number: int,
    ) -> None:  # fmt: skip
        """That bytes belong to the argument and have been written, and that no other block has a hand in them."""
        if region.inside is not None and (bad := first_unflagged(region.inside, phase, index, nbytes)):
            raise OutOfBounds(
                f"{nbytes} bytes at {self.describe(region.start + int(offset[bad[0]]))}, between the view's elements",
                int(lanes[bad[0]]),
            )
        if kind != READ and not region.writable:
            raise OutOfBounds(
                f"a write to {self.describe(region.start + int(offset[0]))}, which is read-only", int(lanes[0])
            )
        if region.written is not None:
            if kind == WRITE:
                rows_of(region.written, phase, nbytes)[index] = ones(nbytes)
            elif self.checks.uninitialized and (bad := first_unflagged(region.written, phase, index, nbytes)):
                raise Uninitialized(
                    f"{nbytes} bytes at {self.describe(region.start + int(offset[bad[0]]))} have never been written",
                    int(lanes[bad[0]]),
                )
        if self.checks.block_races:
            self.check_blocks(machine, region, kind, offset, nbytes, lanes)
        if self.checks.races:
            if region.log is None:
                region.log = AccessLog(len(region.data) // region.granule + 2, region.granule)
            epoch = None if machine.warp_epoch is None else machine.warp_epoch[lanes]
            region.log.note_cells(
                kind, offset // region.granule, max(1, nbytes // region.granule), lanes, number, epoch
            )

    def check_blocks(self, machine: Any, region: Region, kind: int, offset: Array, nbytes: int, lanes: Array) -> None:
        """An element that one block writes is no other block's to read or write."""
        if region.writer is None:
            region.writer = np.full(len(region.data) // region.granule + 2, NOBODY, np.int32)
            region.reader = np.full(len(region.writer), NOBODY, np.int32)
        writer, reader = region.writer, region.reader
        assert reader is not None
        block = machine.block_number[lanes]
        cells = offset // region.granule
        if (count := nbytes // region.granule) > 1:
            cells, block = (cells[:, None] + np.arange(count)).ravel(), np.repeat(block, count)
        wrote, read = writer[cells], reader[cells]
        if kind == READ:
            bad = (wrote != NOBODY) & (wrote != block)
            reader[cells] = np.where((read != NOBODY) & (read != block), MANY, block)
            mixed = (reader[cells] != block) & (reader[cells] != MANY)
            if mixed.any():
                reader[cells[mixed]] = MANY
            other = wrote
        else:
            atomic = kind != WRITE
            # atomics of several blocks are no race: an element they share is marked MANY, and only plain accesses clash
            known = (wrote != NOBODY) & (wrote != block) & ~((wrote == MANY) & atomic)
            clash = (read != NOBODY) & (read != block)
            writer[cells] = MANY if atomic else block
            bad = known | clash | ((writer[cells] != block) & (not atomic))
            other = np.where(known, wrote, np.where(clash, read, writer[cells]))
        if found := _first(bad):
            at = found[0]
            who = "another block" if other[at] == MANY else f"block {machine.block_name(int(other[at]))}"
            verb = "reads" if kind != READ and not known[at] and clash[at] else "writes"
            raise Race(
                f"{DID[kind]} {self.describe(region.start + int(cells[at]) * region.granule)}, which {who} {verb} in the "
                f"same launch: blocks run in any order",
                int(lanes[at * len(lanes) // len(cells)]),
            )

    def describe(self, address: int) -> str:
        """An address in words."""
        near = 1 << 30
        pages = (address >> PAGE, (address >> PAGE) + 1)  # just below the start of a buffer is the page before
        found = [r for r in map(self.regions.get, pages) if r and r.start - near < address < r.end + near]
        if not found:
            kind = "a null pointer, or near one" if 0 <= address < near else "in no buffer at all"
            return f"address {address:#x} ({kind})"
        region = found[0]
        return f"byte {address - region.start} of {region.name} ({len(region.data)} bytes)"


# --- shared and local memory ------------------------------------------------------------------------------------------


class Scratch:
    """Shared memory (a slot for each block) or local memory (a slot for each thread): `size` bytes a slot."""

    def __init__(self, space: str, slots: int, size: int, checks: Checks, granule: int = 4):
        self.space, self.size, self.checks = space, size, checks
        self.padded = -(-size // 16) * 16
        self.starts = np.arange(slots, dtype=np.int64) * self.padded
        self.data = np.full(slots * self.padded, POISON, np.uint8)
        self.written = np.zeros(slots * self.padded, np.uint8)
        self.granule = granule
        self.log = AccessLog(slots * self.padded // granule, granule) if space == "shared" and checks.races else None

    def access(
        self, machine: Any, kind: int, address: Array, nbytes: int, slots: Array, lanes: Array, number: int
    ) -> Array:
        """Check an access of lanes; returns the index of each lane's row (see rows_of)."""
        if bad := _first(address & (nbytes - 1)):
            raise Misaligned(
                f"{nbytes} bytes at {self.space} address {int(address[bad[0]])}, which is no multiple of {nbytes}",
                int(lanes[bad[0]]),
            )
        # a negative address is a large one without its sign
        beyond = address.view(np.uint64) > max(0, self.size - nbytes)
        if bad := (0,) if self.size < nbytes else _first(beyond):
            raise OutOfBounds(
                f"{nbytes} bytes at {self.space} address {int(address[bad[0]])} of {self.size}", int(lanes[bad[0]])
            )
        index = (self.starts[slots] + address) >> (nbytes.bit_length() - 1)
        if kind == WRITE:
            rows_of(self.written, 0, nbytes)[index] = ones(nbytes)
        elif self.checks.uninitialized and (bad := first_unflagged(self.written, 0, index, nbytes)):
            raise Uninitialized(
                f"{nbytes} bytes at {self.space} address {int(address[bad[0]])} have never been written",
                int(lanes[bad[0]]),
            )
        if self.log is not None:
            epoch = None if machine.warp_epoch is None else machine.warp_epoch[lanes]
            self.log.note_rows(kind, index, nbytes, lanes, number, epoch)
        return index


def _first(bad: Array) -> tuple[int] | None:
    """The first place where `bad` holds, in a tuple; None if it holds nowhere."""
    return (int(bad.argmax()),) if bad.any() else None
