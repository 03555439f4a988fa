"""A launch: arguments become buffers and parameters, the grid's blocks run, some at a time."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from minilm_kernels.gpu.simulator.counters import Counters
from minilm_kernels.gpu.simulator.errors import LaunchError
from minilm_kernels.gpu.simulator.machine import Machine, Three
from minilm_kernels.gpu.simulator.memory import POISON, Checks, GlobalMemory, Region
from minilm_kernels.gpu.simulator.parser import Parameter
from minilm_kernels.gpu.simulator.program import Program

Array = Any

LANES = 8192  # lanes that run side by side: fewer, and NumPy calls cost more than arithmetic; more, and they leave the cache
LIMIT = 5_000_000  # basic blocks that one batch of blocks may execute
MOST_THREADS = 1024


# --- memory that nothing has written ----------------------------------------------------------------------------------

_written: dict[int, tuple[weakref.ref, Array]] = {}  # by id of the array that owns the memory: a flag for each byte


def root_of(array: np.ndarray) -> np.ndarray:
    """The array that owns the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def uninitialized(array: np.ndarray) -> np.ndarray:
    """Declare an array's memory, all that its owner has, never written: as device memory is after numpy.empty's namesake."""
    root = root_of(array)
    if not root.flags.c_contiguous:
        raise LaunchError("only a contiguous array can be declared uninitialized")
    bytes_of(root)[...] = POISON
    key = id(root)
    _written[key] = (weakref.ref(root, lambda _: _written.pop(key, None)), np.zeros(root.nbytes, np.uint8))
    return array


def unwritten(array: np.ndarray) -> int:
    """How many bytes of an array declared uninitialized no kernel has written yet."""
    root = root_of(array)
    entry = _written.get(id(root))
    if entry is None:
        return 0
    start = array.ctypes.data - root.ctypes.data
    mine = np.lib.stride_tricks.as_strided(
        entry[1][start:], (*array.shape, array.itemsize), (*array.strides, 1), writeable=False
    )
    return int(mine.size - mine.sum())


def bytes_of(array: np.ndarray) -> np.ndarray:
    """The span of memory that a view with strides ≥ 0 covers, as uint8."""
    if array.size == 0:
        return np.empty(0, np.uint8)
    if array.flags.c_contiguous:
        return array.reshape(-1).view(np.uint8)
    if any(s < 0 for s in array.strides):
        raise LaunchError("an argument has a negative stride: its pointer would not be its lowest address")
    low, high = np.lib.array_utils.byte_bounds(array)
    first = array[(slice(0, 1),) * array.ndim].reshape(-1).view(np.uint8)
    return np.lib.stride_tricks.as_strided(first, (high - low,), (1,))


def elements_inside(arrays: Sequence[np.ndarray], low: int, nbytes: int) -> np.ndarray:
    """A flag for each byte of a span: whether an element of one of the arrays lies there."""
    inside = np.zeros(nbytes, np.uint8)
    for array in arrays:
        start = array.ctypes.data - low
        np.lib.stride_tricks.as_strided(inside[start:], (*array.shape, array.itemsize), (*array.strides, 1))[...] = 1
    return inside


# --- arguments --------------------------------------------------------------------------------------------------------


def bind(program: Program, args: Sequence[Any], names: Sequence[str], memory: GlobalMemory) -> dict[str, bytes]:
    """The kernel's parameters as bytes; arrays become buffers of `memory`."""
    parameters = program.kernel.parameters
    if len(args) != len(parameters):
        raise LaunchError(f"kernel {program.name} takes {len(parameters)} arguments; {len(args)} were given")
    values: dict[str, bytes] = {}
    arrays: list[tuple[int, Parameter, np.ndarray]] = []
    for i, (argument, parameter) in enumerate(zip(args, parameters)):
        if (
            isinstance(argument, np.ndarray)
            and argument.ndim + argument.nbytes > 0
            and not _is_struct(argument, parameter)
        ):
            if parameter.nbytes != 8:
                raise LaunchError(
                    f"argument {i} of {program.name} is an array where a value of {parameter.nbytes} bytes goes"
                )
            arrays.append((i, parameter, argument))
        else:
            values[parameter.name] = scalar_bytes(program.name, i, argument, parameter)
    regions = add_buffers(arrays, names, memory)
    for i, parameter, array in arrays:
        region, low = regions[i]
        values[parameter.name] = np.uint64(region.start + array.ctypes.data - low).tobytes()
    return values


def _is_struct(argument: np.ndarray, parameter: Parameter) -> bool:
    return argument.ndim == 0 and parameter.count > 1


def scalar_bytes(kernel: str, i: int, argument: Any, parameter: Parameter) -> bytes:
    """A number's bytes. CuPy turns Python's numbers into 8 bytes, whatever the kernel wants, so those are refused."""
    if not isinstance(argument, (np.generic, np.ndarray)):
        raise LaunchError(
            f"argument {i} of {kernel} is {shortened(argument)}, of type {type(argument).__name__}; pass a NumPy scalar "
            f"of the parameter's type, or an array (np.uintp(0) for a null pointer)"
        )
    if argument.nbytes != parameter.nbytes:
        raise LaunchError(
            f"argument {i} of {kernel} is {argument!r} of {argument.nbytes} bytes; the parameter has {parameter.nbytes}"
        )
    declared = parameter.kind
    if parameter.count == 1 and declared.is_float and argument.dtype.kind != "f" and declared.bits > 16:
        raise LaunchError(f"argument {i} of {kernel} is {argument!r}; the parameter is a .{declared.name}")
    if parameter.count == 1 and declared.name[0] in "us" and argument.dtype.kind == "f" and declared.bits > 16:
        raise LaunchError(f"argument {i} of {kernel} is {argument!r}; the parameter is an integer")
    return argument.tobytes()


def shortened(value: Any, most: int = 40) -> str:
    text = repr(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def add_buffers(
    arrays: list[tuple[int, Parameter, np.ndarray]], names: Sequence[str], memory: GlobalMemory
) -> dict[int, tuple[Region, int]]:
    """One region for each stretch of memory that arguments cover; arguments that overlap share one.

    Returns, by argument, its region and the address in this process of the region's first byte.
    """
    regions: dict[int, tuple[Region, int]] = {}
    spans = []
    for i, _, array in arrays:
        low, high = np.lib.array_utils.byte_bounds(array) if array.size else (array.ctypes.data,) * 2
        bytes_of(array)  # refuses negative strides
        spans.append((low, high, i, array))
    spans.sort(key=lambda span: span[:3])
    groups: list[list[Any]] = []
    end = 0
    for span in spans:
        if groups and span[0] < end and span[3].size:
            groups[-1].append(span)
        else:
            groups.append([span])
        end = max(end, span[1])
    for group in groups:
        low, high = group[0][0], max(span[1] for span in group)
        first = group[0][3]
        data = bytes_of(first)
        if len(group) > 1 and len(data) < high - low:  # they overlap: memory of one owner
            data = np.lib.stride_tricks.as_strided(data, (high - low,), (1,))
        label = " and ".join(buffer_name(span[2], names, span[3]) for span in sorted(group, key=lambda span: span[2]))
        root = root_of(first)
        phase = (low - root.ctypes.data) % 4096
        dense = all(span[3].flags.c_contiguous for span in group)
        arrays_here = [span[3] for span in group]
        region = memory.add(
            label, data, phase, min(a.itemsize for a in arrays_here),
            inside=None if dense else elements_inside(arrays_here, low, high - low),
            written=written_flags(root, low, high),
            writable=all(a.flags.writeable for a in arrays_here),
        )  # fmt: skip
        for span in group:
            regions[span[2]] = (region, low)
    return regions


def written_flags(root: np.ndarray, low: int, high: int) -> Array | None:
    """The flags of memory that was declared uninitialized; None for other memory."""
    entry = _written.get(id(root))
    if entry is None:
        return None
    start = low - root.ctypes.data
    return entry[1][start : start + high - low]


def buffer_name(i: int, names: Sequence[str], array: np.ndarray) -> str:
    name = f" `{names[i]}`" if i < len(names) and names[i] else ""
    return f"argument {i}{name} {array.dtype}{list(array.shape)}"


# --- running ----------------------------------------------------------------------------------------------------------


def three(size: Sequence[int], what: str) -> Three:
    """A grid or block as three numbers ≥ 1."""
    if not isinstance(size, Sequence):
        raise LaunchError(f"{what} is {size!r}; give one to three numbers in a tuple, as CuPy wants it: ({size!r},)")
    if not 1 <= len(size) <= 3 or any(int(n) < 1 for n in size):
        raise LaunchError(f"{what} {tuple(size)} is not one to three numbers above 0")
    x, y, z = (*(int(n) for n in size), 1, 1)[:3]
    return x, y, z


def launch(
    program: Program, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], shared_mem: int = 0, *,
    names: Sequence[str] = (), checks: Checks | None = None, counters: Counters | None = None, lanes: int = LANES,
    limit: int = LIMIT,
) -> None:  # fmt: skip
    """Run a kernel over a grid. Raises LaunchError before it starts, SimulationError while it runs."""
    grid3, block3 = three(grid, "grid"), three(block, "block")
    threads = block3[0] * block3[1] * block3[2]
    most = min(MOST_THREADS, program.kernel.max_threads or MOST_THREADS)
    if threads > most:
        raise LaunchError(f"{threads} threads in a block of {program.name}; it takes at most {most}")
    if max(grid3[1:]) > 65535 or grid3[0] >= 2**31:
        raise LaunchError(f"grid {grid3} is larger than a GPU takes (2³¹ − 1, 65535, 65535)")
    memory = GlobalMemory(checks or Checks())
    parameters = bind(program, args, names, memory)
    variables = {}
    for variable in program.module.variables.values():
        if variable.space in ("global", "const"):
            values = np.frombuffer(variable.values or bytes(variable.nbytes), np.uint8).copy()
            region = memory.add(f"variable {variable.name}", values, writable=variable.space == "global")
            variables[variable.name] = region.start
    if counters is not None:
        counters.name, counters.grid, counters.block = program.name, grid3, block3
        counters.shared_bytes = program.static_shared + shared_mem
    at_once = max(1, lanes // (-(-threads // 32) * 32))
    places = ((x, y, z) for z in range(grid3[2]) for y in range(grid3[1]) for x in range(grid3[0]))
    with np.errstate(all="ignore"):
        while batch := list(itertools.islice(places, at_once)):
            Machine(program, batch, grid3, block3, parameters, memory, variables, shared_mem, counters, limit).run()
