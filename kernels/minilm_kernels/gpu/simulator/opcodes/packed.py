"""Moves of bytes within words ("Data Movement and Conversion Instructions")."""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm_kernels.gpu.simulator.opcodes.table import opcode
from minilm_kernels.gpu.simulator.types import TYPES

Array = Any


@opcode("prmt", section="Data Movement and Conversion")
def prmt(d: Any) -> Any:
    """Four bytes picked from the eight of {b, a}: a hexadecimal digit of c for each; its bit 3 spreads the byte's sign."""
    d.allow()  # the modes .f4e, .b4e, … are not known
    u32 = TYPES["u32"]

    def permute(a: Array, b: Array, c: Array) -> Array:
        source = a.astype(np.uint64) | b.astype(np.uint64) << np.uint64(32)
        result: Array = np.uint32(0)
        for i in range(4):
            digit = (c >> np.uint32(4 * i)) & np.uint32(15)
            byte = (source >> ((digit & np.uint32(7)) * np.uint32(8)).astype(np.uint64)).astype(np.uint32) & np.uint32(
                255
            )
            byte = np.where(digit >= 8, np.where(byte >= 128, np.uint32(255), np.uint32(0)), byte)
            result = result | byte << np.uint32(8 * i)
        return result

    return d.compute(permute, u32, u32, u32)
