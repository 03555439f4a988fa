"""The stand-in's ndarray: a NumPy array that cannot be reached from outside."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import numpy as np
from gpu.stand_in import signatures
from gpu.stand_in.signatures import RefusedError

ROOT = Path(__file__).resolve().parents[3]
ENGINE = (f"{ROOT}/minilm/", f"{ROOT}/kernels/")
BETWEEN = (f"{Path(__file__).parent}/", str(Path(np.__file__).parent))
PROPERTIES = {"dtype", "itemsize", "nbytes", "ndim", "shape", "size", "strides"}
READS = {"get", "item", "tobytes", "tolist"}  # methods that bring values to the host


class Transfers:
    """Copies between host and device since clear(): (bytes, the engine's line that asked) each.

    in_: host to device. out: device to host, each of which waits for the device.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.in_: list[tuple[int, str]] = []
        self.out: list[tuple[int, str]] = []


transfers = Transfers()


def asking() -> FrameType | None:
    """The innermost frame that is neither the stand-in's nor NumPy's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(BETWEEN):
        frame = frame.f_back
    return frame


def strict() -> bool:
    """Whether the engine asks, for which the refusals hold; a test may look at values."""
    frame = asking()
    return frame is not None and frame.f_code.co_filename.startswith(ENGINE)


def place() -> str:
    frame = asking()
    return "?" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


class ndarray:  # noqa: N801  CuPy's name
    __slots__ = ("__weakref__", "_a")
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, a: np.ndarray):
        self._a = a

    # --- refusals -------------------------------------------------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if strict():
            raise RefusedError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")
        return self._a.astype(dtype or self._a.dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        numbers = any(isinstance(x, np.generic) for x in inputs)  # a NumPy number on the left of an operator
        if numbers and method == "__call__" and not kwargs and not any(isinstance(x, np.ndarray) for x in inputs):
            return wrap(ufunc(*(unwrap(x) for x in inputs)))
        if strict():
            raise RefusedError(f"Unsupported type <class 'numpy.ndarray'>: np.{ufunc.__name__} with a CuPy array")
        return getattr(ufunc, method)(*(host(x) for x in inputs), **{k: host(v) for k, v in kwargs.items()})

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if strict():
            raise RefusedError(f"np.{function.__name__} of a CuPy array; take the function from the array's module")
        return function(*host(args), **host(kwargs))

    def __getattr__(self, name: str) -> Any:
        if name in PROPERTIES:
            return getattr(self._a, name)
        if name in ("T", "mT"):
            return ndarray(getattr(self._a, name))
        if name == "data":
            if strict():
                raise RefusedError("cupy.ndarray.data is a pointer to the device's memory")
            return self
        if name.startswith("__"):
            raise AttributeError(name)
        signature = signatures.of_method(name)
        method = self._a.copy if name == "get" else getattr(self._a, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            signatures.bind(f"ndarray.{name}", signature, (self, *args), kwargs)
            if name in READS:
                transfers.out.append((self._a.nbytes, place()))
                return method() if name == "get" else method(*args, **kwargs)
            if name == "astype":
                kwargs = {k: v for k, v in kwargs.items() if v is not None}
            result = method(*unwrap(args), **unwrap(kwargs))
            out = kwargs.get("out")
            return out if out is not None else wrap(result)

        return call

    @property
    def flags(self) -> Any:
        flags = self._a.flags
        return SimpleNamespace(
            c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=flags.owndata, forc=flags.forc
        )

    @property
    def device(self) -> Any:
        return SimpleNamespace(id=0)

    def get(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return self.__getattr__("get")(*args, **kwargs)

    # --- one number -----------------------------------------------------------------------------------------------------

    def _read(self) -> Any:
        transfers.out.append((self._a.nbytes, place()))
        return self._a.item()

    def __bool__(self) -> bool:
        return bool(self._read())

    def __float__(self) -> float:
        return float(self._read())

    def __int__(self) -> int:
        return int(self._read())

    def __len__(self) -> int:
        return len(self._a)

    def __iter__(self) -> Iterator[Any]:
        if not self._a.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self._a)))

    def __repr__(self) -> str:
        return f"cupy.{self._a!r}"

    def __format__(self, spec: str) -> str:
        if strict() and spec:
            raise RefusedError("unsupported format string passed to cupy.ndarray.__format__")
        return format(self._a, spec)

    # --- parts ----------------------------------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> Any:
        index = checked(index)
        try:
            found = self._a[index]
            if isinstance(found, np.generic):  # CuPy gives a view with no axes
                found = self._a[(*(index if isinstance(index, tuple) else (index,)), ...)]
        except IndexError as error:
            raise refused_index(index, error) from None
        return ndarray(np.asarray(found))

    def __setitem__(self, index: Any, value: Any) -> None:
        try:
            self._a[checked(index)] = unwrap(value)
        except IndexError as error:
            raise refused_index(index, error) from None


def refused_index(index: Any, error: IndexError) -> Exception:
    """An integer that is out of bounds is an error in CuPy too; arrays of them wrap there, and nobody hears of it."""
    arrays = any(isinstance(part, np.ndarray) for part in (index if isinstance(index, tuple) else (index,)))
    return RefusedError(f"{error}; CuPy would wrap this index silently") if arrays else error


def checked(index: Any) -> Any:
    """An index that CuPy takes, with its arrays unwrapped."""
    if isinstance(index, tuple):
        return tuple(checked(part) for part in index)
    if isinstance(index, ndarray):
        if index._a.dtype == bool:  # the device must be asked how many there are
            transfers.out.append((8, place()))
        return index._a
    if isinstance(index, slice):
        for part in (index.start, index.stop, index.step):
            if isinstance(part, ndarray):
                raise RefusedError("a CuPy array cannot be interpreted as an integer")
        return index
    if isinstance(index, list | np.ndarray) and strict():
        raise RefusedError(f"a {type(index).__name__} as an index copies it to the device: move it there once")
    return index


def unwrap(x: Any) -> Any:
    """The NumPy arrays behind arguments. Raises RefusedError for a NumPy array among them, unless a test asks."""
    if isinstance(x, ndarray):
        return x._a
    if isinstance(x, np.ndarray):
        if strict():
            raise RefusedError("Unsupported type <class 'numpy.ndarray'>")
        return x
    if type(x) in (tuple, list):
        return type(x)(unwrap(part) for part in x)
    return {k: unwrap(v) for k, v in x.items()} if type(x) is dict else x


def host(x: Any) -> Any:
    """The same for NumPy's functions, called by a test."""
    if isinstance(x, ndarray):
        return x._a
    if isinstance(x, tuple | list):
        return type(x)(host(part) for part in x)
    return {k: host(v) for k, v in x.items()} if isinstance(x, dict) else x


def wrap(x: Any) -> Any:
    """Results as the stand-in's arrays; numbers too: CuPy reduces to arrays without axes."""
    if isinstance(x, np.ndarray | np.generic):
        return ndarray(np.asarray(x))
    if type(x) in (tuple, list):
        return type(x)(wrap(part) for part in x)
    return x


BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift")


def _operators() -> None:
    def binary(f: Any) -> Any:
        def forward(self: ndarray, other: Any) -> Any:
            if isinstance(other, np.ndarray) and not strict():
                return f(self._a, other)
            if not isinstance(other, ndarray | np.ndarray | np.generic | bool | int | float | complex):
                return NotImplemented
            return wrap(f(self._a, unwrap(other)))

        def reflected(self: ndarray, other: Any) -> Any:
            if not isinstance(other, ndarray | np.ndarray | np.generic | bool | int | float | complex):
                return NotImplemented
            return wrap(f(unwrap(other), self._a))

        return forward, reflected

    def inplace(f: Any) -> Any:
        def change(self: ndarray, other: Any) -> ndarray:
            if isinstance(other, ndarray) and other._a.ndim > self._a.ndim:
                raise ValueError(f"output of shape {self.shape} cannot take {other.shape}")
            f(self._a, unwrap(other))
            return self

        return change

    for name in BINARY:
        f = getattr(operator, {"and": "and_", "or": "or_"}.get(name, name))
        forward, reflected = binary(f)
        setattr(ndarray, f"__{name}__", forward)
        setattr(ndarray, f"__r{name}__", reflected)
        if name != "matmul":  # CuPy has no @=
            setattr(ndarray, f"__i{name}__", inplace(getattr(operator, f"i{name}")))
    for f in (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne):
        setattr(ndarray, f"__{f.__name__}__", binary(f)[0])
    for f in (operator.neg, operator.pos, operator.abs, operator.invert):
        setattr(ndarray, f"__{f.__name__}__", lambda self, f=f: wrap(f(self._a)))


_operators()
ndarray.__module__ = "cupy"
