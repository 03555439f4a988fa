"""The stand-in's module: functions of NumPy behind CuPy's signatures, one device, and kernels that g++ compiles."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
from gpu.emulated import EmulatedModule
from gpu.stand_in import signatures
from gpu.stand_in.arrays import ndarray, place, transfers, unwrap, wrap
from gpu.stand_in.signatures import RefusedError

REAL = signatures.real
ATOMIC = "efdiIQ"  # dtypes that the device can add to atomically
INTO = ("asarray", "array", "ascontiguousarray", "asfortranarray", "asanyarray")  # take NumPy arrays and lists


class Ufunc:
    """A ufunc with what CuPy's has: no where=, no initial=, an `at` for the dtypes of atomics."""

    def __init__(self, name: str):
        self.name, self.real, self.numpy = name, getattr(REAL, name), getattr(np, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        wrong = set(kwargs) - {"out", "dtype", "casting"}
        if wrong or not self.real.nin <= len(args) <= self.real.nargs:
            raise RefusedError(f"cupy.{self.name}: Wrong arguments {args[self.real.nin :]} {sorted(wrong)}")
        if not any(isinstance(x, ndarray) for x in args):
            raise RefusedError(
                f"cupy.{self.name} of {', '.join(type(x).__name__ for x in args)}: none is on the device"
            )
        result = self.numpy(*unwrap(args), **unwrap(kwargs))
        out = kwargs.get("out", args[self.real.nin] if len(args) > self.real.nin else None)
        return wrap(result) if out is None else out

    def at(self, a: Any, indices: Any, b: Any = None) -> None:
        if not hasattr(self.real, "at") or a.dtype.char not in ATOMIC:
            raise RefusedError(f"cupy.{self.name}.at does not take {a.dtype}")
        self.numpy.at(unwrap(a), unwrap(indices), unwrap(b))

    def __getattr__(self, name: str) -> Any:
        if not hasattr(self.real, name):
            raise AttributeError(f"cupy.{self.name} has no {name}")
        return lambda *args, **kwargs: wrap(getattr(self.numpy, name)(*unwrap(args), **unwrap(kwargs)))


def function(name: str) -> Any:
    """cupy.<name>: NumPy's, called only in a way that the real one allows."""
    signature, served = signatures.of_function(name), getattr(np, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        signatures.bind(name, signature, args, kwargs)
        if name == "where" and len(args) == 3 and not isinstance(args[0], ndarray):
            raise RefusedError(f"cupy.where: the condition is a {type(args[0]).__name__}, which is not on the device")
        result = served(*unwrap(args), **unwrap(kwargs))
        out = kwargs.get("out")
        return wrap(result) if out is None else out

    return call


def into(name: str) -> Any:
    """One of the functions that bring values to the device."""
    signature, served = signatures.of_function(name), getattr(np, name)

    def call(obj: Any, *args: Any, **kwargs: Any) -> Any:
        signatures.bind(name, signature, (obj, *args), kwargs)
        kwargs.pop("blocking", None)
        if isinstance(obj, ndarray):
            return ndarray(served(obj._a, *args, **kwargs))
        if isinstance(obj, list | tuple) and any(isinstance(x, ndarray) for x in obj):
            return ndarray(served([unwrap(x) for x in obj], *args, **kwargs))
        made = np.array(served(obj, *args, **kwargs), order="C")
        transfers.in_.append((made.nbytes, place()))
        return ndarray(made)

    return call


class RawModule:
    """cupy.RawModule with the constructor of the real one; the kernels run on the host."""

    def __init__(self, *args: Any, **kwargs: Any):
        signatures.bind("RawModule", signatures.from_text(REAL.RawModule.__doc__), args, kwargs)
        self.emulated = EmulatedModule(kwargs["code"], kwargs.get("options", ()), kwargs.get("name_expressions", ()))

    def get_function(self, name: str) -> RawKernel:
        return RawKernel(self.emulated.get_function(name))


class RawKernel:
    """What RawModule.get_function returns: takes arrays of the device, NumPy numbers and null pointers."""

    def __init__(self, emulated: Any):
        self.__dict__["emulated"] = emulated

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.emulated, name, value)

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0) -> None:
        for x in args:
            if not isinstance(x, ndarray | np.generic):
                raise RefusedError(f"a kernel's argument is a {type(x).__name__}: an array, or a number of a C type")
        self.emulated(grid, block, tuple(unwrap(x) for x in args), shared_mem=shared_mem)


class Device:
    """cupy.cuda.Device(0), of the Ampere generation."""

    def __init__(self, number: int = 0):
        self.id = number
        self.compute_capability = "80"
        self.attributes = {"MultiProcessorCount": 4}

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *exception: object) -> None: ...

    def synchronize(self) -> None: ...


def _cuda() -> Any:
    runtime = types.SimpleNamespace(
        CUDARuntimeError=REAL.cuda.runtime.CUDARuntimeError,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda number: {"name": b"stand-in", "totalGlobalMem": 8 << 30},
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 12090,
    )
    return types.SimpleNamespace(runtime=runtime, Device=Device, is_available=lambda: True)


class Module(types.ModuleType):
    """What `import cupy` gives while the stand-in is installed."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "random":
            raise RefusedError("cupy.random: random numbers are drawn on the host, from the generator that was given")
        if not hasattr(REAL, name):
            raise AttributeError(f"module 'cupy' has no attribute {name!r}")
        if name in INTO:
            made = into(name)
        elif signatures.is_ufunc(name):
            made = Ufunc(name)
        elif callable(getattr(REAL, name)) and not isinstance(getattr(REAL, name), type):
            made = function(name)
        else:
            made = getattr(REAL, name)  # a dtype, inf, nan, ...
        setattr(self, name, made)
        return made


cupy = Module("cupy", __doc__)
cupy.__spec__ = REAL.__spec__
cupy.__version__ = REAL.__version__  # type: ignore[attr-defined]
cupy.ndarray, cupy.RawModule, cupy.cuda = ndarray, RawModule, _cuda()  # type: ignore[attr-defined]
cupy.asnumpy = lambda a: a.get()  # type: ignore[attr-defined]
cupy.is_available = lambda: True  # type: ignore[attr-defined]
