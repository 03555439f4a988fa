"""`@kernel`: a Numba function with a cache on disk that is never stale.

Numba's own cache looks at the one file a function stands in, and keeps an old binary when a function that it calls was
edited elsewhere. Here the stamp of every cached binary is a hash of all sources of minilm_kernels and of the versions
of Numba and llvmlite: whatever is edited, everything that may depend on it is compiled anew. Binaries lie in the user's
cache folder (or MINILM_CACHE_DIR), so that an installed package in a read-only place has a cache as well.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba import config, njit
from numba.core import caching, event

from minilm_kernels.caches import cache_folder
from minilm_kernels.cpu.target import TARGET

PACKAGE = Path(__file__).resolve().parents[1]
KERNELS: list[Any] = []  # every function decorated with @kernel, for `minilm kernels`
NAMES: dict[tuple[str, str], Any] = {}  # the code object of each compiled function, by module and qualified name


@functools.cache
def stamp() -> str:
    """Changes with every source file of the package and with the compiler."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {TARGET}".encode())
    for folder in ("cpu", "ladder"):
        for file in sorted((PACKAGE / folder).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


class _Folder(caching._CacheLocator):
    """Tells Numba's cache where the binaries of a function are, and what their stamp is."""

    def __init__(self, function: Callable):
        # one folder per place of the package: two checkouts do not overwrite each other's binaries
        self._folder = cache_folder() / hashlib.sha256(str(PACKAGE).encode()).hexdigest()[:12]

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return stamp()

    def get_disambiguator(self) -> str:
        return ""

    @classmethod
    def from_function(cls, py_func: Callable, py_file: str) -> _Folder | None:
        locator = cls(py_func)
        try:
            locator.ensure_cache_path()
        except OSError:  # nowhere to write: compile each time
            return None
        return locator


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes = [_Folder]  # noqa: RUF012  Numba's own attribute


class _Cache(caching.FunctionCache):
    _impl_class = _Implementation


def named(function: Callable, *made_of: Any) -> Callable:
    """The function under a name that no other one has; `made_of` tells apart what one factory makes.

    A symbol of a binary is the function's name, its arguments' types and a number that each process counts from 1. Two
    processes that compile one sibling each give both the same symbol, and where both binaries are then read from the cache
    the linker takes the first it has met for the other as well: GELU's tanh form would be its erf form.
    """
    if made_of:
        function.__qualname__ += "_" + "_".join(getattr(value, "__name__", str(value)) for value in made_of)
    name = function.__module__, function.__qualname__
    if NAMES.get(name) is function.__code__:
        raise RuntimeError(f"two functions are called {'.'.join(name)}; use @variant(what tells them apart)")
    NAMES[name] = function.__code__
    return function


def kernel(function: Callable) -> Any:
    """Compile a function that Python calls: cached on disk, and other Python threads run while it does."""
    compiled = njit(nogil=True, error_model="numpy")(named(function))
    KERNELS.append(compiled)
    if not config.DISABLE_JIT:
        with contextlib.suppress(RuntimeError):  # no folder that can be written to
            compiled._cache = _Cache(function)
    return compiled


class _Announcer(event.Listener):
    def __init__(self, say: Callable[[str], None]):
        self.say = say

    def on_start(self, started: Any) -> None:
        if any(started.data["dispatcher"] is compiled for compiled in KERNELS):
            self.say(started.data["dispatcher"].__name__)

    def on_end(self, ended: Any) -> None:
        pass


@contextlib.contextmanager
def announced(say: Callable[[str], None]) -> Iterator[None]:
    """Within this block say(name) is called whenever a kernel is compiled, not when it is read from the cache."""
    with event.install_listener("numba:compile", _Announcer(say)):
        yield


def part(function: Callable) -> Any:
    """Compile a function that only kernels call; it is stored inside of them."""
    return njit(error_model="numpy")(named(function))


def variant(*made_of: Any) -> Callable[[Callable], Any]:
    """`@variant(a, b)`: a part that a factory makes from a and b, which become part of its name."""
    return lambda function: njit(error_model="numpy")(named(function, *made_of))


def inlined(function: Callable) -> Any:
    """Like `part`, for small functions of vectors: copied into every place that calls them, so that vectors stay in registers.

    A call would pass them through memory, one after the other: four times as slow for GELU.
    """
    return njit(error_model="numpy", forceinline=True)(named(function))
