"""The kernels on a real GPU, for laws that are written with NumPy arrays: arrays travel there and back around each call.

What a kernel changes in place is copied back into the caller's array, so the laws of updates hold as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minilm_kernels


class OnDevice:
    """The public kernels, checks included, with CuPy arrays."""

    name, size = "cupy", "tiles"

    def __getattr__(self, kernel: str) -> Callable[..., Any]:
        function = getattr(minilm_kernels, kernel)

        def call(*args: Any, **kwargs: Any) -> Any:
            pairs: list[tuple[np.ndarray, Any]] = []
            with minilm_kernels.use_kernels("cupy"):
                result = function(
                    *(_there(a, pairs) for a in args), **{name: _there(a, pairs) for name, a in kwargs.items()}
                )
            for host, device in pairs:
                if host.flags.writeable:
                    host[...] = device.get()
            return _back(result, pairs)

        return call

    def __repr__(self) -> str:
        return self.name


def _there(a: Any, pairs: list[tuple[np.ndarray, Any]]) -> Any:
    """The value with its NumPy arrays as CuPy arrays of the same layout; `pairs` gets each with its copy."""
    import cupy

    if isinstance(a, np.generic):
        return cupy.asarray(a)
    if isinstance(a, np.ndarray):
        device = _laid_out(a)
        pairs.append((a, device))
        return device
    if isinstance(a, list | tuple) and type(a) in (list, tuple) and any(isinstance(x, np.ndarray) for x in a):
        return type(a)(_there(x, pairs) for x in a)
    return a


def _laid_out(a: np.ndarray) -> Any:
    """A CuPy array equal to `a`, with strides like its own where that is possible (transposed, stepped, reversed)."""
    import cupy

    if a.ndim == 0 or a.size == 0 or a.flags.c_contiguous:
        return cupy.array(a)
    if any(stride < 0 for stride in a.strides):
        flip = tuple(slice(None, None, -1 if stride < 0 else 1) for stride in a.strides)
        return cupy.array(np.ascontiguousarray(a[flip]))[flip]
    order = np.argsort([-stride for stride in a.strides], kind="stable")
    dense = cupy.array(np.ascontiguousarray(a.transpose(order)))
    wide = cupy.empty((*dense.shape[:-1], 2 * dense.shape[-1]), dense.dtype)
    wide[..., ::2] = dense
    stepped = wide[..., ::2] if a.strides[-1] > a.itemsize and order[-1] == a.ndim - 1 else dense
    return stepped.transpose(np.argsort(order))


def _back(result: Any, pairs: list[tuple[np.ndarray, Any]]) -> Any:
    """The result with CuPy arrays as NumPy arrays; one that was handed in comes back as the caller's own."""
    for host, device in pairs:
        if result is device:
            return host
    if type(result).__module__.partition(".")[0] == "cupy":
        return result.get()
    if type(result) is tuple:
        return tuple(_back(x, pairs) for x in result)
    return result
