"""What can be wrong with a kernel, one class per kind; every message says where: kernel, block, thread, PTX line."""

from __future__ import annotations


class SimulationError(RuntimeError):
    """A kernel did what a GPU would not forgive. `lane` is the first lane at fault, where one is known."""

    def __init__(self, message: str, lane: int | None = None):
        super().__init__(message)
        self.message, self.lane = message, lane


class UnknownInstruction(SimulationError):  # noqa: N818
    """An instruction, or a form of one, that the simulator does not execute."""


class OutOfBounds(SimulationError):  # noqa: N818
    """An access outside every buffer, or outside the block's shared memory."""


class Misaligned(SimulationError):  # noqa: N818
    """An address that is no multiple of the access's size."""


class Uninitialized(SimulationError):  # noqa: N818
    """A read of bytes that nothing has written."""


class Race(SimulationError):  # noqa: N818
    """Two accesses of one address, at least one a write, with nothing that orders them."""


class Divergence(SimulationError):  # noqa: N818
    """A barrier, shuffle or matrix instruction that not all of its threads can reach."""


class Endless(SimulationError):  # noqa: N818
    """The launch passed its limit of instructions."""


class LaunchError(ValueError):
    """A launch that CuPy or the driver would refuse, or that would hand garbage to the kernel."""
