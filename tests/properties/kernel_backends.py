"""The backends whose kernels are tested, and the reason why one is skipped.

A Backend is the public kernels of a package, all served by one backend: `Backend("numba").attention(query, key, value)`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import minilm_kernels
from minilm_kernels import dispatch

NAMES = ("reference", "numba", "cupy")
# True while Numba kernels are being written: one that is not there yet is skipped, by name. Afterwards False: a failure.
UNFINISHED_ALLOWED = False


class Threads:
    """The Numba backend's number of threads, to be changed for a while."""

    def __init__(self, package: ModuleType):
        self.cpu = importlib.import_module(f"{package.__name__}.cpu")
        self.before = self.cpu.get_num_threads()
        self.counts = sorted({1, 2, self.before})

    def set(self, count: int) -> None:
        self.cpu.set_num_threads(count)

    def restore(self) -> None:
        self.cpu.set_num_threads(self.before)


class Backend:
    """The kernels of `package` (the real one, or one with a bug in it), served by the backend `name`."""

    def __init__(self, name: str, package: ModuleType = minilm_kernels, size: str = "tiles"):
        self.name = name
        self.package = package
        self.size = size  # of the shapes that are affordable (kernel_cases.Shapes)

    def __getattr__(self, kernel: str) -> Callable[..., Any]:
        function = getattr(self.package, kernel)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.package.use_kernels(self.name):
                return function(*args, **kwargs)

        return call

    @property
    def threads(self) -> Threads | None:
        return Threads(self.package) if self.name == "numba" else None

    def __repr__(self) -> str:
        return self.name

    def has(self, kernel: str) -> bool:
        """Whether the backend has this kernel and its backward."""
        backward = f"{kernel}_backward"
        names = [kernel, backward] if backward in minilm_kernels.KERNELS else [kernel]
        return not set(names) & set(missing(self.name))


@functools.cache
def why_not(name: str) -> str | None:
    """Why a backend cannot be tested here, or None."""
    try:
        dispatch.backend(name)
    except ImportError as error:
        return str(error)
    if name == "cupy":
        import cupy

        if not cupy.cuda.is_available():
            return "CuPy finds no GPU"
    return None


@functools.cache
def missing(name: str) -> tuple[str, ...]:
    """The kernels that a backend lacks."""
    module = dispatch.backend(name)
    lacking = []
    for kernel in minilm_kernels.KERNELS:
        try:
            getattr(module, kernel)
        except (AttributeError, ModuleNotFoundError):
            lacking.append(kernel)
    return tuple(lacking)


def backend_or_skip(name: str, kernel: str | None = None) -> Backend:
    """The backend called `name`; skips the test where it, or the kernel asked for, is not there."""
    reason = why_not(name)
    if reason:
        pytest.skip(reason)
    backend = Backend(name)
    if kernel is not None and UNFINISHED_ALLOWED and not backend.has(kernel):
        pytest.skip(f"the {name} kernels have no {kernel} yet")
    return backend


def has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None
