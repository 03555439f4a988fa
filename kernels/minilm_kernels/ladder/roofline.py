"""What this machine can do at most: multiplications and additions in a second, and bytes moved in a second.

    attainable FLOP/s = min(peak FLOP/s, intensity · bandwidth),    intensity = FLOP / bytes moved

the roofline (Williams, Waterman & Patterson 2009). Both numbers are measured here, by loops that do nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from minilm_kernels.cpu import pool
from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.pool import parallel_for
from minilm_kernels.cpu.target import lanes_of
from minilm_kernels.cpu.vector import fma, lanes, load, pointer, splat, store

CHAINS = 10  # independent sums: an addition takes four cycles and two start in each, so eight would just do
CHUNK = 1 << 13  # numbers in a task of `triad`


def peak_flops(seconds: float = 0.5) -> float:
    """float32 FLOP/s of all threads of the pool, from multiply-adds of registers that never touch memory."""
    threads, passes = pool.get_num_threads(), 200_000
    out = np.ones((threads, 64), np.float32)
    work = threads * passes * CHAINS * 2 * lanes_of(4)
    return work / best(lambda: multiply_adds(pool.start(), out, passes), seconds)


def bandwidth(nbytes: int, seconds: float = 1.0) -> float:
    """Bytes per second of a = b + 3 c on all threads of the pool, over three arrays of nbytes together.

    As in STREAM's triad, 12 bytes count for each number; that a cache fetches a line of `a` before writing it does not.
    """
    n = max(CHUNK, nbytes // 12 // CHUNK * CHUNK)
    a, b, c = (np.ones(n, np.float32) for _ in range(3))
    repeats = max(1, (1 << 26) // nbytes)  # small arrays: several times over in one job
    return 12 * n * repeats / best(lambda: triad(pool.start(), a, b, c, repeats), seconds)


@kernel
def multiply_adds(state, out, passes):
    """One task for each thread."""
    parallel_for(state, out.shape[0], multiply_adds_task, (out, passes))


@part
def multiply_adds_task(worker, i, out, passes):
    """c ← a c + b for ten independent vectors; stored at the end, or the compiler would leave it all out."""
    p = pointer(out[i])
    a, b = load(p) * 0.5, load(p)
    c0 = c1 = c2 = c3 = c4 = c5 = c6 = c7 = c8 = c9 = splat(p, 0.0)
    for _ in range(passes):
        c0, c1, c2, c3, c4 = fma(c0, a, b), fma(c1, a, b), fma(c2, a, b), fma(c3, a, b), fma(c4, a, b)
        c5, c6, c7, c8, c9 = fma(c5, a, b), fma(c6, a, b), fma(c7, a, b), fma(c8, a, b), fma(c9, a, b)
    store(p, (c0 + c1 + c2 + c3 + c4 + c5 + c6 + c7 + c8 + c9) * 0.05)


@kernel
def triad(state, a, b, c, repeats):
    """a = b + 3 c, `repeats` times."""
    for _ in range(repeats):
        parallel_for(state, a.shape[0] // CHUNK, triad_task, (a, b, c))


@part
def triad_task(worker, i, a, b, c):
    """Task i: numbers i·CHUNK … of the arrays."""
    for j in range(i * CHUNK, (i + 1) * CHUNK, lanes(a)):
        store(pointer(a) + j, fma(load(pointer(c) + j), splat(pointer(c), 3.0), load(pointer(b) + j)))


def best(call: Callable[[], object], seconds: float) -> float:
    """The shortest of at least three calls, in seconds; further calls until the time is used up."""
    call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def cache_bytes(level: int) -> int | None:
    """The size of the first core's cache of a level, as Linux tells it; None where nobody tells."""
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            if int((folder / "level").read_text()) == level and (folder / "type").read_text().strip() != "Instruction":
                return int((folder / "size").read_text().strip().removesuffix("K")) * 1024
        except (OSError, ValueError):
            continue
    return None
