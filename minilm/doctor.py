"""What is installed, what works, and what to install where something is missing."""

from __future__ import annotations

import importlib
import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from minilm.doctor_gpu import gpu_lines
from minilm.optional import INSTALL_HINTS


def examine() -> str:
    """The report that `minilm doctor` prints, one fact a line: ok, missing (with what to type) or broken (with the reason)."""
    from minilm import __version__

    lines = [
        f"minilm {__version__} in {Path(__file__).parent}",
        f"Python {platform.python_version()} ({sys.executable}) on {platform.platform()}",
        f"cores  {usable_cores()} usable of {os.cpu_count()}",
        "",
        "needed for everything",
        f"  ok       numpy {np.__version__}",
        *(f"           {line}" for line in blas_lines()),
        f"           {matmul_speed():.0f} GFLOP/s in a float32 matrix product",
        "",
        "needed for training on the command line",
        *(library_line(name) for name in ("tqdm", "matplotlib", "safetensors", "jsonargparse", "yaml")),
        "",
        "for speed",
        numba_line(),
        *gpu_lines(),
        "",
        "places",
        *place_lines(),
    ]
    return "\n".join(lines)


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def blas_lines() -> list[str]:
    """Which BLAS NumPy multiplies with, and on how many threads."""
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    lines = [f"BLAS {blas.get('name', 'unknown')} {blas.get('version', '')}".rstrip()]
    try:
        from threadpoolctl import threadpool_info

        lines += [
            f"{pool['internal_api']} {pool.get('version', '')} ({pool.get('architecture', 'unknown')} kernels), "
            f"{pool['num_threads']} threads"
            for pool in threadpool_info()
        ]
    except ImportError:
        lines.append("threads: as many as cores unless set (pip install threadpoolctl to see)")
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE"):
        if name in os.environ:
            lines.append(f"{name}={os.environ[name]} is set")
    return lines


def matmul_speed(n: int = 512) -> float:
    """GFLOP/s of an (n, n) float32 product, the best of ten."""
    a = np.ones((n, n), np.float32)
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - started)
    return 2 * n**3 / best / 1e9


def library_line(module: str) -> str:
    """One line about a library: its version, or what to install."""
    try:
        importlib.import_module(module)
        version = metadata.version({"yaml": "PyYAML"}.get(module, module))
    except ImportError:
        return f"  missing  {module}: {INSTALL_HINTS[module]}"
    except Exception as error:  # installed, but its import fails in some way of its own
        return f"  broken   {module}: {' '.join(str(error).split())}"
    return f"  ok       {module} {version}"


def numba_line() -> str:
    """Whether Numba compiles and runs a function here."""
    line = library_line("numba")
    if line.split()[0] != "ok":
        return line.replace("missing  numba", "missing  numba (CPU kernels; NumPy serves without)")
    try:
        numba = importlib.import_module("numba")
        if numba.njit(lambda x: x + 1)(1) != 2:
            raise RuntimeError("1 + 1 was not 2")
    except Exception as error:
        return f"  broken   numba: {' '.join(str(error).split())[:200]}"
    from minilm_kernels.caches import cache_folder
    from minilm_kernels.cpu.pool import get_num_threads
    from minilm_kernels.cpu.target import MATRIX_UNIT, TARGET

    unit = " and a matrix unit" if MATRIX_UNIT else ""
    vectors = f"{TARGET.name} vectors of {TARGET.vector_bytes} bytes{unit}, {get_num_threads()} threads"
    return f"{line}: compiles and runs; {vectors}; compiled kernels in {cache_folder()}"


def place_lines() -> list[str]:
    from minilm.data import cache_folder

    given = os.environ.get("MINILM_DATA")
    return [
        f"  corpora are downloaded to {cache_folder()}",
        f"  MINILM_DATA is {given}" if given else "  MINILM_DATA is not set (a folder with corpora you already have)",
    ]
