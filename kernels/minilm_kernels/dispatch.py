"""Which backend serves a call: the one that use_kernels() names, else MINILM_KERNELS, else whatever suits the arrays.

    from minilm_kernels import attention, use_kernels
    with use_kernels("reference"):
        output, residuals = attention(query, key, value)

Left alone, NumPy arrays go to the Numba kernels, or to the reference where Numba is missing (said once), and
CuPy arrays go to the CuPy kernels. Every public kernel checks its arguments (checks.py) and hands them on.
A backward function goes to the backend that made its residuals.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import ModuleType
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

import numpy as np

from minilm_kernels import checks, reference
from minilm_kernels.namespace import array_namespace

P = ParamSpec("P")
R = TypeVar("R")

PACKAGE = __name__.rpartition(".")[0]
BACKENDS = ("reference", "numba", "cupy")
HOMES = {"numba": "numpy", "cupy": "cupy"}  # whose arrays they take; the reference takes both
MODULES = {"numba": f"{PACKAGE}.cpu", "cupy": f"{PACKAGE}.gpu"}
MISSING = {
    "numba": "the numba kernels need Numba, which cannot be imported; install it: pip install numba",
    "cupy": 'the cupy kernels need CuPy and an NVIDIA GPU; install CuPy: pip install "minilm[cuda12]" or "minilm[cuda13]"',
}

_chosen: ContextVar[str | None] = ContextVar("minilm_kernels", default=None)  # each thread starts with None
_serving: dict[str | None, ModuleType] = {"reference": reference}  # for NumPy arrays, by choice; None: automatic


class Saved(NamedTuple):
    """The residuals of a backend, with what the backward call needs to find it and to check the cotangent."""

    kernel: str
    backend: ModuleType
    shape: tuple[int, ...]
    dtype: Any
    residuals: Any

    @property
    def shared(self) -> tuple[Any, ...]:
        """What an array of the caller's may be in: those that only the backend has cannot be changed by anybody."""
        return (self.residuals,)


# --- the choice -------------------------------------------------------------------------------------------------------


def use_kernels(name: str) -> contextlib.AbstractContextManager[None]:
    """Let the backend `name`, "reference", "numba" or "cupy", serve all kernels inside `with`, in this thread.

    Contexts nest and the innermost counts; also usable as a decorator. A backward pass goes to the backend of its
    forward pass, wherever it is called.

    Raises ValueError for an unknown name and ImportError for a backend that cannot run here.
    """
    backend(_known(name, "use_kernels"))
    return _use(name)


@contextlib.contextmanager
def _use(name: str) -> Iterator[None]:
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def active(array: Any = None) -> str:
    """The name of the backend that would serve a call now, on `array` or else on NumPy arrays. Imports nothing."""
    name = _chosen.get() or _from_environment()
    if name is not None:
        return name
    if array is not None and array_namespace(array) is not np:
        return "cupy" if _found("cupy") else "reference"
    if None in _serving:
        return "reference" if _serving[None] is reference else "numba"
    return "numba" if _found("numba") else "reference"


def _known(name: str, where: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"{where}: unknown kernels {name!r}; the choices are 'reference', 'numba' and 'cupy'")
    return name


@functools.cache
def _from_environment() -> str | None:
    """What MINILM_KERNELS names, read at the first call of a kernel; None if it is unset or empty."""
    name = os.environ.get("MINILM_KERNELS")
    return _known(name, "MINILM_KERNELS") if name else None


def _found(name: str) -> bool:
    """Whether a backend's library and kernels are there, as far as one can tell without importing them."""
    try:
        return all(importlib.util.find_spec(module) is not None for module in (name, MODULES[name]))
    except (ImportError, ValueError):
        return False


@functools.cache
def backend(name: str) -> ModuleType:
    """The module of a backend, imported at the first call. Raises ImportError if it cannot run here."""
    if name == "reference":
        return reference
    if not _found(name):
        raise ImportError(MISSING[name])
    try:
        importlib.import_module(name)
        module = importlib.import_module(MODULES[name])
    except ImportError as error:
        raise ImportError(f"{MISSING[name]} ({error})") from error
    if name == "cupy":
        reason = importlib.import_module(f"{MODULES[name]}.compile").no_device()
        if reason:
            raise ImportError(f"the cupy kernels cannot run here: {reason}")
    return module


def serving(array: Any) -> ModuleType:
    """The module that serves a call whose first array is `array`."""
    if isinstance(array, np.ndarray):
        module = _serving.get(_chosen.get())
        if module is not None:
            return module
    return _decide(array)


def _decide(array: Any) -> ModuleType:
    """serving() for the first call of its kind, and for arrays that are not NumPy's."""
    chosen = _chosen.get()
    name = chosen or _from_environment()
    home = array_namespace(array).__name__
    if name in HOMES and HOMES[name] != home:
        raise TypeError(f"the {name} kernels cannot work on a {home} array; move it, or choose other kernels")
    if home != "numpy":
        return backend("cupy" if name is None and _found("cupy") else name or "reference")
    module = backend(name) if name else _automatic()
    _serving[chosen] = module
    return module


def _automatic() -> ModuleType:
    try:
        return backend("numba")
    except ImportError as error:
        warnings.warn(f"the plain NumPy kernels serve, which is slow: {error}", UserWarning, stacklevel=5)
        return reference


# --- the public kernels -----------------------------------------------------------------------------------------------


def forward(specification: Callable[P, R]) -> Callable[P, R]:
    """The public form of a kernel that returns (result, residuals)."""
    name = specification.__name__
    check = getattr(checks, name)

    @functools.wraps(specification)
    def kernel(*args: P.args, **kwargs: P.kwargs) -> Any:
        check(*args, **kwargs)
        module = serving(args[0] if args else next(iter(kwargs.values())))
        result, residuals = getattr(module, name)(*args, **kwargs)
        return result, None if residuals is None else Saved(name, module, result.shape, result.dtype, residuals)

    return kernel


def backward(specification: Callable[P, R]) -> Callable[P, R]:
    """The public form of a kernel that takes a cotangent and the residuals."""
    name = specification.__name__
    forward_name = name.removesuffix("_backward")
    grad_name = specification.__code__.co_varnames[0]
    check_options = getattr(checks, name, None)

    @functools.wraps(specification)
    def kernel(*args: Any, **options: Any) -> Any:
        grad = args[0] if args else options.pop(grad_name)
        residuals = args[1] if len(args) > 1 else options.pop("residuals")
        if type(residuals) is not Saved or residuals.kernel != forward_name:
            raise TypeError(f"{name} wants the residuals that {forward_name} returned, with a gradient asked for")
        _, module, shape, dtype, kept = residuals
        if isinstance(grad, np.generic):  # arithmetic makes a NumPy number of a 0-dim array
            grad = np.asarray(grad)
        checks.cotangent(name, grad_name, grad, shape, dtype)
        if options and check_options is not None:
            check_options(grad, kept, **options)
        return getattr(module, name)(grad, kept, **options)

    return cast(Callable[P, R], kernel)


def plain(specification: Callable[P, R]) -> Callable[P, R]:
    """The public form of a kernel without residuals."""
    name = specification.__name__
    check = getattr(checks, name)

    @functools.wraps(specification)
    def kernel(*args: P.args, **kwargs: P.kwargs) -> Any:
        check(*args, **kwargs)
        first = args[0] if args else next(iter(kwargs.values()))
        if isinstance(first, list | tuple):
            if not first:  # no array says where to compute, and there is nothing to compute
                return getattr(reference, name)(*args, **kwargs)
            first = first[0]
        return getattr(serving(first), name)(*args, **kwargs)

    return kernel


attention = forward(reference.attention)
attention_backward = backward(reference.attention_backward)
attention_decode = plain(reference.attention_decode)
linear = forward(reference.linear)
linear_backward = backward(reference.linear_backward)
feed_forward = forward(reference.feed_forward)
feed_forward_backward = backward(reference.feed_forward_backward)
matmul = plain(reference.matmul)
layer_norm = forward(reference.layer_norm)
layer_norm_backward = backward(reference.layer_norm_backward)
rms_norm = forward(reference.rms_norm)
rms_norm_backward = backward(reference.rms_norm_backward)
gelu = forward(reference.gelu)
gelu_backward = backward(reference.gelu_backward)
silu_mul = forward(reference.silu_mul)
silu_mul_backward = backward(reference.silu_mul_backward)
softmax_cross_entropy = forward(reference.softmax_cross_entropy)
softmax_cross_entropy_backward = backward(reference.softmax_cross_entropy_backward)
rotary = plain(reference.rotary)
rotary_backward = plain(reference.rotary_backward)
bias_residual_dropout = forward(reference.bias_residual_dropout)
bias_residual_dropout_backward = backward(reference.bias_residual_dropout_backward)
embedding_backward = plain(reference.embedding_backward)
adamw_step = plain(reference.adamw_step)
clip_by_norm = plain(reference.clip_by_norm)
KERNELS = tuple(reference.__all__)
