"""Memory of the ladder's rungs against T: counted by the rung's own formula, and measured in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from minilm.bench import machine
from minilm.bench.memory import forget_peak, peak_memory
from minilm_kernels.ladder import ATTENTION, Rung

SHAPE = (1, 2, 0, 64)  # B, H, T, D
COUNTED = tuple(2**k for k in range(7, 15))
MEASURED = {  # the longest T measured, where a rung takes seconds or gigabytes beyond it
    "rung2_numpy": 4096,
    "rung3_numba_loops": 2048,
    "rung4_fused_rows": 4096,
    "rung5_tiles": 4096,
    "rung8_threads": 8192,
    "rung9_numpy_backward": 4096,
    "rung9_backward": 8192,
}


def lengths(quick: bool) -> list[int]:
    """The lengths that are measured, rising."""
    return [256, 1024] if quick else [256, 512, 1024, 2048, 4096, 8192]


def shape(T: int) -> tuple[int, int, int, int]:
    return SHAPE[0], SHAPE[1], T, SHAPE[3]


def measure_all(threads: int, quick: bool, bar: Any) -> dict[str, Any]:
    """For each rung of attention {"counted": {T: bytes}, "measured": {T: bytes}}; measured is empty where that cannot be."""
    from minilm_kernels.cpu import pool

    figures: dict[str, Any] = {"shape": ["B=1", "H=2", "D=64"], "rungs": {}}
    for rung in ATTENTION:
        pool.set_num_threads(threads if rung.threads else 1)
        entry: dict[str, Any] = {"title": f"{rung.number} {rung.title}", "measured": {}}
        entry["counted"] = {T: rung.extra_bytes(shape(T)) for T in COUNTED}
        if rung.name in MEASURED:
            command = [
                sys.executable,
                "-m",
                "minilm.bench",
                "ladder",
                "--memory-of",
                rung.name,
                "--threads",
                str(threads),
            ]
            done = subprocess.run(
                [*command, *["--quick"] * quick], env=machine.environment(1), stdout=subprocess.PIPE, text=True
            )
            if done.returncode == 0:
                entry["measured"] = {int(T): n for T, n in json.loads(done.stdout).items()}
            bar.update(1)
        figures["rungs"][rung.name] = entry
    return figures


def measure_here(name: str, threads: int, lengths: list[int]) -> int:
    """Print {T: bytes} for one rung as JSON: how far the peak resident memory rises above what was there, less the outputs."""
    from minilm.bench.ladder import call_for
    from minilm_kernels.cpu import pool

    rung: Rung = next(r for r in ATTENTION if r.name == name)
    pool.set_num_threads(threads if rung.threads else 1)
    call_for(rung.call, rung.function, "", shape(64))()  # compiled, threads started, libraries loaded
    figures: dict[int, int] = {}
    for T in lengths:
        if MEASURED[name] < T:
            break
        call = call_for(rung.call, rung.function, "", shape(T))
        if not forget_peak():
            break
        before = peak_memory()
        result = call()
        outputs = result if isinstance(result, tuple) else (result,)
        figures[T] = peak_memory() - before - sum(x.nbytes for x in outputs)
    print(json.dumps(figures))
    return 0
