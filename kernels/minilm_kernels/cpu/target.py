"""What the processor offers: how wide a vector is and how many vector registers there are.

Numba compiles for the processor it runs on; NUMBA_CPU_NAME (for instance `haswell` or `generic`) makes it compile for
another one. Tile sizes follow from these two numbers alone, so that every file above asks here and nowhere else.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from typing import NamedTuple

import llvmlite.binding as llvm
from numba import config

# processors with 512-bit vectors by their LLVM names, for NUMBA_CPU_NAME; the host itself is asked for its features
AVX512_NAMES = (
    "skylake-avx512", "cascadelake", "cooperlake", "cannonlake", "icelake", "tigerlake", "rocketlake", "sapphirerapids",
    "emeraldrapids", "graniterapids", "diamondrapids", "knl", "knm", "x86-64-v4", "znver4", "znver5",
)  # fmt: skip
AVX2_NAMES = (
    "haswell", "broadwell", "skylake", "alderlake", "raptorlake", "meteorlake", "arrowlake", "lunarlake", "gracemont",
    "x86-64-v3", "znver1", "znver2", "znver3", "core-avx2",
)  # fmt: skip


class Target(NamedTuple):
    """One kind of vector unit."""

    name: str
    vector_bytes: int
    registers: int
    has_fma: bool  # whether a·b + c is one instruction


AVX512 = Target("AVX-512", 64, 32, True)
AVX2 = Target("AVX2", 32, 16, True)
NEON = Target("NEON", 16, 32, True)
PLAIN = Target("plain", 16, 16, False)


def detect() -> Target:
    """The vector unit that Numba compiles for."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return NEON
    name = config.CPU_NAME
    if name and name != "host":
        if name.startswith(AVX512_NAMES):
            return AVX512
        return AVX2 if name.startswith(AVX2_NAMES) else PLAIN
    features = llvm.get_host_cpu_features()
    if all(features.get(f) for f in ("avx512f", "avx512dq", "avx512vl", "avx512bw")):
        return AVX512
    if features.get("avx2") and features.get("fma"):
        return AVX2
    return PLAIN


TARGET = detect()

# processors with a matrix unit by their LLVM names
AMX_NAMES = ("sapphirerapids", "emeraldrapids", "graniterapids", "diamondrapids")
ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA = 158, 0x1023, 18  # Linux's system call, what is asked of it, and for what


def detect_matrix_unit() -> bool:
    """Whether products can use the matrix unit of matrix_unit.py. MINILM_MATRIX_UNIT=0 says no."""
    if os.environ.get("MINILM_MATRIX_UNIT") == "0" or TARGET is not AVX512:
        return False
    name = config.CPU_NAME
    if name and name != "host" and not name.startswith(AMX_NAMES):
        return False
    if config.DISABLE_JIT:  # plain Python does what the unit would, for whom it was asked by name
        return bool(name)
    features = llvm.get_host_cpu_features()
    if sys.platform != "linux" or not (features.get("amx-tile") and features.get("amx-bf16")):
        return False
    # Linux keeps the unit's registers for a process only after it was asked to
    return ctypes.CDLL(None).syscall(ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA) == 0


MATRIX_UNIT = detect_matrix_unit()


def lanes_of(itemsize: int) -> int:
    """How many numbers of `itemsize` bytes fill one vector."""
    return TARGET.vector_bytes // itemsize
