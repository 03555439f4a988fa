"""The plain product: cuBLAS, through the array module's own matmul."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from minilm_kernels.gpu.compile import Device, device_of

Array = Any


def matmul(a: Array, b: Array, *, out: Array | None = None, accumulate: bool = False) -> Array:
    """See minilm_kernels.reference.matmul."""
    device = device_of(a)
    if out is None:
        return _product(device, a, b)
    if accumulate:
        out += _product(device, a, b)
    elif out.flags.c_contiguous and out.dtype.name != "bfloat16":
        device.xp.matmul(a, b, out=out)
    else:
        out[...] = _product(device, a, b)
    return out


def _product(device: Device, a: Array, b: Array) -> Array:
    if a.dtype.name == "bfloat16" and not _multiplies(device, a.dtype):
        return device.xp.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
    return device.xp.matmul(a, b)


@functools.cache
def _multiplies(device: Device, dtype: Any) -> bool:
    """Whether this array module multiplies matrices of a type that it may have been taught later."""
    try:
        return bool(device.xp.matmul(*(device.xp.ones((1, 1), dtype) for _ in range(2))).dtype == dtype)
    except (TypeError, ValueError):
        return False
