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


def backend_or_skip(name: str) -> Backend:
    """The backend called `name`; skips the test where it cannot run."""
    reason = why_not(name)
    if reason:
        pytest.skip(reason)
    return Backend(name)


def has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None
