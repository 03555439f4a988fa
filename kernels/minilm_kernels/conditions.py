"""Conditions that several checks ask for. Each raises one sentence that says what was wrong and what was expected."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from minilm_kernels.namespace import array_namespace

Array = Any
Shape = tuple[int, ...]

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
HALVES = ("float16", "bfloat16")  # a GPU has kernels for them


def floats(
    kernel: str, names: Sequence[str], arrays: Sequence[Any], optional: Sequence[Any] = (), alternative: str = ""
) -> None:
    """Raise TypeError unless `arrays`, and those of `optional` that are given, have one dtype, float32 or float64.

    On a GPU also float16 or bfloat16. names: of all of them, for the message.
    """
    first = arrays[0]
    kind, dtype = type(first), getattr(first, "dtype", None)
    if dtype is not None and dtype in FLOATS:  # (None == np.dtype(float64) is True)
        for array in arrays:
            if type(array) is not kind or array.dtype != dtype:
                break
        else:
            for array in optional:
                if array is not None and (type(array) is not kind or array.dtype != dtype):
                    break
            else:
                return
    # something is unusual: say what, or find that it is a subclass of arrays
    given = [*arrays, *optional]
    for i, (name, array) in enumerate(zip(names, given)):
        if array is None and i >= len(arrays):
            continue
        if getattr(array, "dtype", None) is None or isinstance(array, np.generic):
            raise TypeError(f"{kernel}: {name} is a {type(array).__name__}; give an array of float32 or float64")
        if array.dtype not in FLOATS and not (array.dtype.name in HALVES and array_namespace(array) is not np):
            raise TypeError(
                f"{kernel}: {name} is {array.dtype}; give {alternative}float32 or float64 (cast with astype)"
            )
        if array.dtype != dtype:
            raise TypeError(
                f"{kernel}: {name} is {array.dtype} but {names[0]} is {dtype}; cast one of them, a call has one dtype"
            )
        _same_home(kernel, name, array, names[0], first)


def is_bool(array: Any) -> bool:
    """Whether something has the dtype bool."""
    dtype = getattr(array, "dtype", None)
    return dtype is not None and dtype.kind == "b"


def booleans(kernel: str, name: str, mask: Array, like: Array) -> None:
    """Raise TypeError unless `mask` is an array of booleans where `like` lives."""
    if not is_bool(mask) or isinstance(mask, np.generic):
        kind = getattr(mask, "dtype", type(mask).__name__)
        raise TypeError(f"{kernel}: {name} is {kind}; give an array of booleans, True where a key may be seen")
    if type(mask) is not type(like):
        _same_home(kernel, name, mask, "query", like)


def integers(kernel: str, name: str, array: Array, like: Array) -> None:
    """Raise TypeError unless `array` holds integers and lives where `like` does."""
    dtype = getattr(array, "dtype", None)
    if dtype is None or dtype.kind not in "iu" or isinstance(array, np.generic):
        raise TypeError(f"{kernel}: {name} must be an array of integers, not {dtype or type(array).__name__}")
    if type(array) is not type(like):
        _same_home(kernel, name, array, "the other array", like)


_sent_checked: ContextVar[bool] = ContextVar("values were checked before they were sent to the device", default=False)


@contextlib.contextmanager
def sent_checked() -> Iterator[None]:
    """Inside `with`, ids and targets on a device are right: the host has looked at them before it sent them."""
    token = _sent_checked.set(True)
    try:
        yield
    finally:
        _sent_checked.reset(token)


def values_count(array: Array) -> bool:
    """Whether a check looks at the values of ids or targets: on the host always; on a device, where it has to wait for all
    that was asked of it before, unless they were checked before they were sent."""
    return isinstance(array, np.ndarray) or not _sent_checked.get()


def _same_home(kernel: str, name: str, array: Array, other: str, first: Array) -> None:
    here, there = array_namespace(array).__name__, array_namespace(first).__name__
    if here != there:
        raise TypeError(f"{kernel}: {name} is a {here} array but {other} is a {there} array; move one of them")


def features(
    kernel: str, x: Array, names: Sequence[str], parameters: Sequence[Array | None], at_least: int = 1
) -> None:
    """Raise ValueError unless x is (..., n) with n ≥ at_least, and each parameter (n,)."""
    if x.ndim == 0 or x.shape[-1] < at_least:
        raise ValueError(f"{kernel} works on the features in the last axis; x of shape {x.shape} has none")
    for name, parameter in zip(names, parameters):
        if parameter is not None and parameter.shape != x.shape[-1:]:
            raise ValueError(
                f"{kernel}: the {name} has shape {parameter.shape}; x {x.shape} has {x.shape[-1]} features"
            )


def randomness(kernel: str, dropout: float, seed: int | None) -> None:
    """Raise ValueError unless dropout is a probability, with a seed of 64 bits if it is not 0."""
    if not 0 <= dropout <= 1:
        raise ValueError(f"{kernel}: dropout {dropout} is no probability; it lies between 0 and 1")
    if seed is None:
        raise ValueError(f"{kernel}: dropout {dropout} needs a seed; give a whole number, another one for every call")
    try:
        inside = 0 <= operator.index(seed) < 1 << 64
    except TypeError:
        inside = False
    if not inside:
        raise ValueError(f"{kernel}: the seed {seed!r} is no whole number from 0 to 2**64 - 1")


def writable(kernel: str, name: str, array: Array) -> None:
    """Raise ValueError if an array that is to be changed in place is read-only."""
    if isinstance(array, np.ndarray) and not array.flags.writeable:
        raise ValueError(f"{kernel} writes into {name}, which is read-only; give a copy")


def apart(kernel: str, out: Array, names: Sequence[str], arrays: Sequence[Array]) -> None:
    """Raise ValueError if `out` shares memory with an input."""
    for name, array in zip(names, arrays):
        if isinstance(out, np.ndarray) and np.may_share_memory(out, array) and np.shares_memory(out, array):
            raise ValueError(f"{kernel}: out shares memory with {name}; give an array of its own")


def not_negative(kernel: str, name: str, number: float) -> None:
    if not number >= 0:
        raise ValueError(f"{kernel}: {name} is {number}; it must not be negative")


def broadcasts(shape: Shape, full: Shape) -> bool:
    """Whether an array of `shape` broadcasts to `full` without making it larger."""
    return len(shape) <= len(full) and all(n in (1, m) for n, m in zip(shape[::-1], full[::-1]))
