"""Where an array lives decides which library computes on it."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np


def array_namespace(array: Any) -> ModuleType:
    """Return the module whose functions work on `array`: `cupy` for an array on a GPU, else `numpy`.

    CuPy is looked up by the array's own type, so it is never imported by a program that has no CuPy array.
    """
    if isinstance(array, np.ndarray):
        return np
    if type(array).__module__.partition(".")[0] == "cupy":
        import cupy

        return cupy
    return np
