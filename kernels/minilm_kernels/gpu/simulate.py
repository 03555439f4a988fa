"""The simulator behind the interface of cupy.RawModule: the launch code of the kernels runs on it unchanged.

    from minilm_kernels.gpu import simulate
    module = simulate.Module(code=SOURCE, options=("-std=c++17",), name_expressions=("scale<float>",))   # needs NVRTC
    module = simulate.Module(ptx=TEXT)                                                                  # needs nothing
    kernel = module.get_function("scale<float>")
    kernel((blocks,), (threads,), (x, y, np.int32(n), np.float32(2)), shared_mem=0)

Arguments: NumPy arrays stand for device memory and are changed in place; numbers are NumPy scalars of exactly the C type;
np.uintp(0) is the null pointer. bfloat16 arrays are uint16 arrays of bits, or ml_dtypes.bfloat16.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from minilm_kernels.gpu import nvrtc
from minilm_kernels.gpu.simulator import Checks, Counters, LaunchError, Program, launch, parse, uninitialized, unwritten

__all__ = ["Checks", "Counters", "Kernel", "Module", "counting", "empty", "namespace", "uninitialized", "unwritten"]

ARCHITECTURE = "compute_80"
ASKED_ABOVE = 48 * 1024  # more dynamic shared memory than this must be asked for, as on a device

_counting: ContextVar[list[Counters] | None] = ContextVar("counting", default=None)


@contextlib.contextmanager
def counting() -> Iterator[list[Counters]]:
    """Inside `with`, every launch is counted; the list gets the Counters of each, in order."""
    launches: list[Counters] = []
    token = _counting.set(launches)
    try:
        yield launches
    finally:
        _counting.reset(token)


class Module:
    """Like cupy.RawModule, from CUDA C++ (`code`) or from PTX text.

    lowered: with `ptx`, the kernels' names in the text by expression. arch: "compute_75", "compute_80", …
    """

    def __init__(
        self, code: str | None = None, options: Sequence[str] = (), name_expressions: Sequence[str] = (), *,
        ptx: str | None = None, lowered: dict[str, str] | None = None, arch: str = ARCHITECTURE, checks: Checks | None = None,
        **ignored: Any,
    ):  # fmt: skip
        if (code is None) == (ptx is None):
            raise LaunchError("a Module is made of code=… or of ptx=…, one of them")
        del ignored  # cupy.RawModule's others: backend, jitify, …
        if ptx is None:
            assert code is not None
            ptx, lowered = compiled(code, tuple(name_expressions), arch, tuple(options))
        self.code, self.checks = code or "", checks
        self.lowered = dict(lowered or {})
        self.parsed = parsed(ptx)

    def get_function(self, name: str) -> Kernel:
        """The kernel of an expression, or of a name as it stands in the PTX."""
        mangled = self.lowered.get(name, name)
        if mangled not in self.parsed.kernels:
            raise LaunchError(f"no kernel {name!r}; there are: {', '.join([*self.lowered, *self.parsed.kernels])}")
        return Kernel(program_of(self.parsed, mangled, name), self.checks, parameter_names(self.code, name), name)


class Kernel:
    """Like the function that RawModule.get_function returns. `counters`: those of the last launch that was counted."""

    def __init__(self, program: Program, checks: Checks | None, names: Sequence[str], name: str):
        self.program, self.checks, self.names, self.name = program, checks, names, name
        self.max_dynamic_shared_size_bytes = ASKED_ABOVE
        self.counters: Counters | None = None

    def __call__(self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], *, shared_mem: int = 0) -> None:
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise LaunchError(
                f"{self.name} asks for {shared_mem} bytes of dynamic shared memory; above {ASKED_ABOVE} set "
                f"max_dynamic_shared_size_bytes first"
            )
        launches = _counting.get()
        counters = None if launches is None else Counters()
        launch(self.program, grid, block, args, shared_mem, names=self.names, checks=self.checks, counters=counters)
        if launches is not None and counters is not None:
            counters.name = self.name
            self.counters = counters
            launches.append(counters)


@functools.lru_cache(maxsize=256)
def parsed(ptx: str) -> Any:
    """Parsed once, however many modules are made of it."""
    return parse(ptx)


_programs: dict[tuple[int, str, str], tuple[Any, Program]] = {}


def program_of(module: Any, name: str, expression: str) -> Program:
    """A kernel's Program, made once; messages call it by its expression in C++."""
    key = (id(module), name, expression)
    if key not in _programs or _programs[key][0] is not module:
        _programs[key] = (module, Program(module, module.kernels[name], expression))
    return _programs[key][1]


@functools.lru_cache(maxsize=256)
def compiled(
    code: str, expressions: tuple[str, ...], arch: str, options: tuple[str, ...]
) -> tuple[str, dict[str, str]]:
    """NVRTC's PTX of a source, and the kernels' names in it by expression."""
    compiler = nvrtc.find()
    if compiler is None:
        raise ImportError(
            "the simulator compiles CUDA C++ with NVRTC, which is not here; install it: pip install nvidia-cuda-nvrtc-cu12"
        )
    made = compiler.compile(code, expressions, arch, (*options, "-lineinfo"))
    return made.code.rstrip(b"\0").decode(), made.names


def parameter_names(code: str, expression: str) -> list[str]:
    """The names of a kernel's parameters, read off its source as far as they stand there plainly (a macro ends the list)."""
    name = re.escape(expression.partition("<")[0].rpartition("::")[2].strip())
    m = re.search(rf"\b{name}\s*\(([^)]*)\)\s*\{{", code)
    names: list[str] = []
    for parameter in m[1].split(",") if m else ():
        word = re.fullmatch(r"[\w\s:<>*&]*[\s*&](\w+)", parameter.strip())
        if word is None:
            break
        names.append(word[1])
    return names


# --- device memory ----------------------------------------------------------------------------------------------------


def empty(shape: int | tuple[int, ...], dtype: Any = np.float32, **options: Any) -> np.ndarray:
    """numpy.empty, whose memory counts as never written: a kernel that reads it first is reported."""
    return uninitialized(np.empty(shape, dtype, **options))


class _Namespace:
    """NumPy, with an `empty` that remembers what has been written: the `xp` of a simulated device."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def empty(shape: int | tuple[int, ...], dtype: Any = np.float64, **options: Any) -> np.ndarray:
        return empty(shape, dtype, **options)

    @staticmethod
    def empty_like(array: np.ndarray, dtype: Any = None, **options: Any) -> np.ndarray:
        return uninitialized(np.empty_like(array, dtype, order="C", **options))


namespace = _Namespace()
