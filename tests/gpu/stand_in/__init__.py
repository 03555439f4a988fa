"""A stand-in for CuPy: NumPy computes, CuPy's refusals hold, and every call is bound to the signatures of the real CuPy.

    with stand_in.installed() as cupy:      # `import cupy` gives the stand-in, also in minilm
        model.to("cuda")

What it refuses, as CuPy does: to become a NumPy array by itself (only .get() and .item() cross over), to be mixed with NumPy
arrays, and what CuPy does not have, functions, methods and arguments. What it refuses though CuPy allows it, since the engine
must not count on it: NumPy's functions on its arrays, NumPy arrays and lists as an index, an index that is out of bounds (CuPy
wraps it silently). Every copy between host and device is counted in `transfers`.

The refusals hold for the engine's own files. A test may compare an array with NumPy's functions.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

WHY = "CuPy is not installed, whose signatures are checked: pip install cupy-cuda12x"
pytest.importorskip("cupy", reason=WHY, exc_type=ImportError)  # skips a test file that imports this

from gpu.stand_in.arrays import transfers  # noqa: E402

__all__ = ["installed", "transfers"]


@contextlib.contextmanager
def installed() -> Iterator[ModuleType]:
    """Inside `with`, `import cupy` gives the stand-in, which has one device."""
    from gpu.stand_in.module import REAL, cupy

    from minilm_kernels import dispatch
    from minilm_kernels.gpu import compile as compiling
    from minilm_kernels.gpu import modules

    caches = (dispatch.backend, compiling._cupy_device)
    for cache in caches:
        cache.cache_clear()
    sys.modules["cupy"] = cupy
    on_device, modules.GpuModule = modules.GpuModule, cupy.RawModule
    transfers.clear()
    try:
        yield cupy
    finally:
        sys.modules["cupy"] = REAL
        modules.GpuModule = on_device
        for cache in caches:
            cache.cache_clear()
