"""The signatures of the real CuPy's functions and methods, and a call bound to one of them."""

from __future__ import annotations

import functools
import inspect
import re
import warnings
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of a machine without CUDA
    import cupy as real

ANY = inspect.signature(lambda *args, **kwargs: None)


class RefusedError(TypeError):
    """What the real CuPy would not do."""


@functools.cache
def of_function(name: str) -> inspect.Signature:
    """Of cupy.<name>, dots allowed. Raises AttributeError if the real CuPy has none."""
    found: Any = real
    for part in name.split("."):
        if not hasattr(found, part):
            raise AttributeError(f"module 'cupy' has no attribute {name!r}")
        found = getattr(found, part)
    try:
        return inspect.signature(found)
    except (TypeError, ValueError):
        return from_text(found.__doc__ or "")


@functools.cache
def of_method(name: str) -> inspect.Signature:
    """Of cupy.ndarray.<name>, with `self`. Raises AttributeError if there is none."""
    if not hasattr(real.ndarray, name):
        raise AttributeError(f"cupy.ndarray has no attribute {name!r}")
    method = getattr(real.ndarray, name)
    try:
        return inspect.signature(method)
    except (TypeError, ValueError):
        return from_text(method.__doc__ or "")


def from_text(doc: str) -> inspect.Signature:
    """The signature that Cython writes into the first line of a docstring: `name(self, int axis=-1, kind=None) -> type`."""
    found = re.match(r"[\w.]+\((.*?)\)(?: ->.*)?$", doc.partition("\n")[0])
    if not found:
        return ANY
    parameters = []
    for part in filter(None, found[1].replace("\\", "").split(", ")):
        name, equals, default = part.partition("=")
        parameters.append(name.split()[-1] + equals + default)  # without the C type
    return inspect.signature(eval(f"lambda {', '.join(parameters)}: None"))


def bind(what: str, signature: inspect.Signature, args: tuple, kwargs: dict[str, Any]) -> None:
    """Raise RefusedError unless the real CuPy takes these arguments."""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise RefusedError(f"cupy.{what}{signature}: {error}") from None


def is_ufunc(name: str) -> bool:
    return type(getattr(real, name, None)) is type(real.exp)
