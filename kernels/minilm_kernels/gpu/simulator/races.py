"""Races: two accesses of one address by different threads, at least one of them a write, and no barrier between.

Between two barriers of a block, accesses are only noted down. At the barrier the notes are looked through:

    quickly   who wrote each cell? Has another thread touched it? Nearly always no cell is left, and that is all.
    exactly   for the cells that are left: group the accesses by cell, and by cell, warp and the warp's own barrier

bar.warp.sync (__syncwarp) orders the accesses of one warp; a shuffle orders nothing, as the CUDA manual says. Two atomic
operations do not race with each other. The order in which the simulator happens to run threads plays no part.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = Any

READ, WRITE, ATOMIC = 0, 1, 2
DID = {READ: "reads", WRITE: "writes", ATOMIC: "changes atomically"}
NOBODY = -1


class Access(NamedTuple):
    """What one instruction did: each of `lanes` touched `cells` cells from cell row · step // per."""

    kind: int
    row: Array
    step: int
    per: int
    cells: int
    lanes: Array
    number: int  # of the instruction
    warp_epoch: Array | None


class Conflict(NamedTuple):
    """Two accesses that race: (lane, kind, number of the instruction) each."""

    cell: int
    first: tuple[int, int, int]
    second: tuple[int, int, int]


class AccessLog:
    """The accesses of one memory since the last barrier. A cell has `granule` bytes."""

    def __init__(self, cells: int, granule: int):
        self.granule = granule
        self.owner = np.full(cells, NOBODY, np.int32)  # who wrote a cell; NOBODY everywhere between two checks
        self.accesses: list[Access] = []

    def note_rows(self, kind: int, row: Array, nbytes: int, *who: Any) -> None:
        """Note that lanes touch rows of nbytes bytes.

        who: the lanes, the instruction's number, and how many barriers each lane's warp has passed (None: not counted).
        """
        count = nbytes // self.granule
        self.accesses.append(
            Access(kind, row, max(count, 1), 1 if count else self.granule // nbytes, max(count, 1), *who)
        )

    def note_cells(self, kind: int, cell: Array, count: int, *who: Any) -> None:
        """Note that lanes touch `count` cells from `cell` on."""
        self.accesses.append(Access(kind, cell, 1, 1, count, *who))

    def check(self) -> Conflict | None:
        """Look through the notes and forget them. Returns a race, if there is one."""
        accesses, self.accesses = self.accesses, []
        changes = [a for a in accesses if a.kind != READ]
        if not changes:
            return None
        shared = []
        for access in changes:
            cells, lanes = self.cells(access)
            before = self.owner[cells]
            self.owner[cells] = lanes
            clash = ((before != NOBODY) & (before != lanes)) | (self.owner[cells] != lanes)
            if clash.any():
                shared.append(cells[clash])
        for access in accesses:
            if access.kind == READ:
                cells, lanes = self.cells(access)
                before = self.owner[cells]
                clash = (before != NOBODY) & (before != lanes)
                if clash.any():
                    shared.append(cells[clash])
        for access in changes:
            self.owner[self.cells(access)[0]] = NOBODY
        return self.look_closely(accesses, np.unique(np.concatenate(shared))) if shared else None

    def cells(self, access: Access) -> tuple[Array, Array]:
        """The cells of an access, and the lane of each."""
        start = access.row if access.step == access.per == 1 else access.row * access.step // access.per
        if access.cells == 1:
            return start, access.lanes
        return (start[:, None] + np.arange(access.cells)).ravel(), np.repeat(access.lanes, access.cells)

    def look_closely(self, accesses: list[Access], suspects: Array) -> Conflict | None:
        """The exact rule, for the cells in `suspects` (sorted)."""
        columns: list[tuple[Array, ...]] = []
        for access in accesses:
            cells, lanes = self.cells(access)
            place = np.minimum(np.searchsorted(suspects, cells), len(suspects) - 1)
            here = suspects[place] == cells
            if here.any():
                epoch = np.zeros(len(access.lanes), int) if access.warp_epoch is None else access.warp_epoch
                epoch = np.repeat(epoch, len(cells) // len(epoch))
                full = np.ones(int(here.sum()), int)
                columns.append((cells[here], lanes[here], epoch[here], full * access.kind, full * access.number))
        cell, lane, epoch, kind, number = (np.concatenate(column).astype(np.int64) for column in zip(*columns))
        warp = lane // 32
        by_cell = np.unique(cell, return_inverse=True)[1].ravel()
        by_epoch = np.unique(np.stack([cell, warp, epoch]), axis=1, return_inverse=True)[1].ravel()
        racing = dangerous(by_cell, kind, warp) | dangerous(by_epoch, kind, lane)
        if not racing.any():
            return None
        # report a change and somebody else's access, of the first such cell
        at = int(np.flatnonzero(racing & (kind != READ))[0])
        others = (cell == cell[at]) & (lane != lane[at]) & ((warp != warp[at]) | (epoch == epoch[at]))
        others &= (kind != ATOMIC) | (kind[at] != ATOMIC)
        other = int(np.flatnonzero(others)[0]) if others.any() else at
        one, two = sorted(((int(lane[i]), int(kind[i]), int(number[i])) for i in (at, other)), key=lambda a: a[2])
        return Conflict(int(cell[at]), one, two)


def dangerous(group: Array, kind: Array, who: Array) -> Array:
    """Per access: does its group hold a write, or an atomic beside a read, and accesses by more than one `who`?"""
    count = int(group.max()) + 1
    has = [np.bincount(group[kind == k], minlength=count) > 0 for k in (READ, WRITE, ATOMIC)]
    first = np.full(count, np.iinfo(np.int64).max)
    last = np.full(count, -1)
    np.minimum.at(first, group, who)
    np.maximum.at(last, group, who)
    return ((has[WRITE] | (has[ATOMIC] & has[READ])) & (first != last))[group]
