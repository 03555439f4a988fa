"""Blocks of threads as they run: registers, and which thread is where.

One register is one array with an element per lane; a lane is a thread of one of the blocks that run together. (Blocks are
independent, so several run side by side as further lanes: the same code, fewer NumPy calls.) A value that is the same for
all lanes may be a single number. Arrays in registers are never changed in place.

Divergence. Threads that stand at the same instruction are a group, one boolean per lane. The group at the lowest address
runs to the end of its basic block; where a branch splits it, two groups go on. Code is laid out so that what comes later in
a path has the higher address, so groups that wait at a higher address are joined there: reconvergence. A barrier, and a
shuffle or matrix instruction whose threads are not all there yet, makes a group wait; if in the end everybody waits and no
block and no warp is complete, the kernel would hang on a GPU, and that is an error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm_kernels.gpu.simulator.errors import Divergence, Endless, Race, SimulationError
from minilm_kernels.gpu.simulator.memory import GlobalMemory, Scratch
from minilm_kernels.gpu.simulator.races import DID

Array = Any
Three = tuple[int, int, int]

WARP = 32


class Group:
    """Lanes that execute an instruction together."""

    __slots__ = ("_lanes", "full", "machine", "mask")

    def __init__(self, machine: Machine, mask: Array):
        self.machine, self.mask = machine, mask
        self.full = int(np.count_nonzero(mask)) == machine.live_count  # nobody else will read what others hold
        self._lanes: Array | None = None

    @property
    def lanes(self) -> Array:
        """The numbers of the active lanes."""
        if self._lanes is None:
            self._lanes = np.flatnonzero(self.mask)
        return self._lanes

    @property
    def warps(self) -> int:
        """How many warps have an active lane."""
        return int(self.mask.reshape(-1, WARP).any(axis=1).sum())

    def where(self, condition: Array) -> Group | None:
        """The lanes for which a condition holds; None if there are none."""
        mask = self.mask & condition
        return Group(self.machine, mask) if mask.any() else None


class Machine:
    """The state of some blocks of a launch."""

    def __init__(
        self, program: Any, blocks: list[Three], grid: Three, block: Three, parameters: dict[str, bytes], memory: GlobalMemory,
        variables: dict[str, int],
        dynamic_shared: int, counters: Any, limit: int,
    ):  # fmt: skip
        self.program, self.blocks, self.grid, self.block = program, blocks, grid, block
        self.parameters, self.memory, self.counters, self.limit = parameters, memory, counters, limit
        self.variables = variables  # addresses of the module's variables
        threads = block[0] * block[1] * block[2]
        self.threads, self.padded = threads, -(-threads // WARP) * WARP
        self.count = len(blocks) * self.padded
        thread = np.arange(self.padded, dtype=np.uint32)
        self.thread = np.tile(thread, len(blocks))
        self.slot = np.repeat(np.arange(len(blocks)), self.padded)  # which of the blocks
        x, y, z = np.array(blocks).T
        numbers = x + grid[0] * (y + grid[1] * z)
        self.block_number = np.repeat(numbers.astype(np.int32), self.padded)
        self.all_lanes = np.arange(self.count)
        self.special = self.special_registers(thread)
        self.registers: list[Array] = list(program.register_zeros)

        checks = memory.checks
        self.shared = Scratch(
            "shared", len(blocks), program.static_shared + dynamic_shared, checks, program.shared_granule
        )
        self.local = Scratch("local", self.count, program.local_bytes, checks)
        self.warp_epoch = np.zeros(self.count, np.int32) if program.has_warp_barrier and checks.races else None
        self.copies: list[Any] = []  # cp.async that have not been waited for

        self.real = self.thread < threads  # the rest only fill up warps
        self.live = self.real.copy()
        self.live_count = int(self.live.sum())
        self.ready: dict[int, Array] = {}
        self.waiting: dict[int, Array] = {}

    def special_registers(self, thread: Array) -> dict[str, Array]:
        """%tid, %ntid, %ctaid, %nctaid, %laneid, %warpid, … (PTX ISA manual 10)."""
        bx, by, _ = self.block
        tid = {"x": thread % bx, "y": thread // bx % by, "z": thread // (bx * by)}
        special: dict[str, Array] = {f"%tid.{axis}": np.tile(value, len(self.blocks)) for axis, value in tid.items()}
        for i, axis in enumerate("xyz"):
            special[f"%ntid.{axis}"] = np.uint32(self.block[i])
            special[f"%nctaid.{axis}"] = np.uint32(self.grid[i])
            places = np.array([b[i] for b in self.blocks], np.uint32)
            special[f"%ctaid.{axis}"] = places[0] if (places == places[0]).all() else np.repeat(places, self.padded)
        lane = self.thread % np.uint32(WARP)
        one = np.uint64(1)
        below = ((one << lane.astype(np.uint64)) - one).astype(np.uint32)
        bit = np.uint32(1) << lane
        special |= {
            "%laneid": lane,
            "%warpid": self.thread // np.uint32(WARP),
            "%nwarpid": np.uint32(self.padded // WARP),
            "WARP_SZ": np.uint32(WARP),
            "%lanemask_eq": bit, "%lanemask_lt": below, "%lanemask_le": below | bit,
            "%lanemask_gt": ~(below | bit), "%lanemask_ge": ~below,
            "%smid": np.uint32(0), "%nsmid": np.uint32(1), "%clock": np.uint32(0), "%clock64": np.uint64(0),
        }  # fmt: skip
        return special

    # --- running ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run all threads to their end."""
        self.ready[0] = self.live.copy()
        steps = 0
        while self.ready or self.waiting:
            if not self.ready:
                self.release()
                continue
            at = min(self.ready)
            group = Group(self, self.ready.pop(at))
            steps += 1
            if steps > self.limit:
                raise Endless(f"more than {self.limit} basic blocks; a loop without an end?", int(group.lanes[0]))
            if self.program.blocks[at].sync is None:
                self.execute(at, group)
            elif (some := self.synchronize(at, group)) is not None:
                self.execute(at, some)
        self.check_races()

    def execute(self, at: int, group: Group) -> None:
        """Run a basic block for a group of lanes."""
        basic = self.program.blocks[at]
        current = basic.last
        try:
            for step, instruction in basic.steps:
                current = instruction
                step(self, group)
            current = basic.last
            basic.leave(self, group)
        except SimulationError as error:
            raise self.located(error, current) from None
        if self.counters is not None:
            self.counters.executed(self.program, at, group)

    def go(self, at: int, mask: Array) -> None:
        """Let lanes continue at an instruction, together with those that wait there."""
        if mask.any():
            self.ready[at] = self.ready[at] | mask if at in self.ready else mask

    def exit(self, mask: Array) -> None:
        """Lanes end."""
        self.live = self.live & ~mask
        self.live_count = int(self.live.sum())

    # --- waiting for each other ---------------------------------------------------------------------------------------

    def synchronize(self, at: int, group: Group) -> Group | None:
        """A group comes to an instruction that threads execute together. Returns those that may."""
        basic = self.program.blocks[at]
        if at in self.waiting:
            group = Group(self, group.mask | self.waiting.pop(at))
        if basic.sync == "block":
            if group.full and self.live_count == len(self.blocks) * self.threads:
                self.check_races()
                return group
            self.waiting[at] = group.mask
            return None
        missing = (basic.members(self, group) & ~group.mask).reshape(-1, WARP).any(axis=1)
        if not missing.any():
            return group
        late = group.mask & np.repeat(missing, WARP)
        if (late != group.mask).any():
            self.waiting[at] = late
            return Group(self, group.mask & ~late)
        self.waiting[at] = group.mask
        return None

    def release(self) -> None:
        """Nobody can go on: barriers that all threads of a block have reached open."""
        self.check_races()
        ready: list[tuple[int, Array]] = []
        for at, mask in self.waiting.items():
            basic = self.program.blocks[at]
            if basic.sync == "block":
                complete = mask.reshape(-1, self.padded).sum(axis=1) == self.threads
                ready.append((at, mask & np.repeat(complete, self.padded)))
            else:  # those it waited for may have ended
                missing = (basic.members(self, Group(self, mask)) & ~mask).reshape(-1, WARP).any(axis=1)
                ready.append((at, mask & ~np.repeat(missing, WARP)))
        if not any(mask.any() for _, mask in ready):
            raise self.stuck()
        for at, mask in ready:
            self.waiting[at] = self.waiting[at] & ~mask
            if not self.waiting[at].any():
                del self.waiting[at]
        for at, mask in ready:
            if mask.any():
                self.execute(at, Group(self, mask))

    def stuck(self) -> SimulationError:
        """Why nobody can go on."""
        at = min(self.waiting)
        basic, mask = self.program.blocks[at], self.waiting[at]
        lane = int(np.flatnonzero(mask)[0])
        if basic.sync == "block":
            missing = np.flatnonzero(self.real & ~mask & (self.slot == self.slot[lane]))
            what = "a barrier"
        else:
            missing = np.flatnonzero(basic.members(self, Group(self, mask)) & ~mask & (self.slot == self.slot[lane]))
            what = "threads of its warp"
        first = int(missing[0])
        where = next(
            (f"waits at {self.program.place_of(p)}" for p, m in self.waiting.items() if m[first]),
            "has ended",
        )
        error = Divergence(
            f"waits for {what}, but {len(missing)} of them never come: thread {self.thread_name(first)} {where}", lane
        )
        return self.located(error, basic.last)

    def check_races(self) -> None:
        """A barrier: look through what was noted since the last one."""
        logs = [("shared memory", self.shared.log)]
        logs += [(region.name, region.log) for region in self.memory.regions.values()]
        for name, log in logs:
            if log is None or not log.accesses or (conflict := log.check()) is None:
                continue
            lane, kind, number = conflict.first
            other, other_kind, other_number = conflict.second
            cell = conflict.cell
            if name == "shared memory":
                cell %= self.shared.padded // log.granule
            message = (
                f"{DID[kind]} byte {cell * log.granule} of {name}, which thread {self.thread_name(other)} "
                f"{DID[other_kind]} at {self.program.place_of(other_number)}, with no barrier between"
            )
            raise self.located(Race(message, lane), self.program.kernel.instructions[number])

    # --- words --------------------------------------------------------------------------------------------------------

    def thread_name(self, lane: int) -> str:
        """The thread's place in its block: one number, or (x, y, z)."""
        t, (bx, by, bz) = int(self.thread[lane]), self.block
        return str(t) if by == bz == 1 else str((t % bx, t // bx % by, t // (bx * by)))

    def block_name(self, number: int) -> str:
        """The block's place in the grid."""
        gx, gy, gz = self.grid
        return str(number) if gy == gz == 1 else str((number % gx, number // gx % gy, number // (gx * gy)))

    def located(self, error: SimulationError, instruction: Any) -> SimulationError:
        """The same error, with kernel, block, thread and line."""
        where = f"kernel {self.program.name}"
        if error.lane is not None:
            block = self.block_name(int(self.block_number[error.lane]))
            where += f", block {block}, thread {self.thread_name(error.lane)}"
        if instruction is not None:
            where += f", {self.program.place_of(instruction.number)}: `{instruction}`"
        return type(error)(f"{where}: {error.message}", error.lane)
