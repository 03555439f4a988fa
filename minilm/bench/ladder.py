"""The ladder: every rung of attention and of the matrix product, timed on this machine.

For each rung: the shortest time of a call, GFLOP/s, the bytes its algorithm moves (counted, see minilm_kernels.ladder),
FLOP per byte, and how many times faster than the rung before it is. Rungs without threads run on one thread, NumPy's BLAS
included, the others on --threads. The last row of each kind is what minilm itself computes with.

The roofline needs this machine's peak (multiply-adds in registers) and bandwidth (triad, over arrays larger than the
last cache where memory allows), measured with one thread and with all. A point may lie above the line of the memory: then a
cache held what the algorithm asked for again.

The memory curve shows bytes beyond inputs and outputs: lines are counted, dots are measured, as the rise of the peak
resident memory (VmHWM) in a process of its own (Linux).

Writes ladder.md, roofline.png and memory.png to the folder --out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from minilm.bench import ladder_memory, machine
from minilm.bench.ladder_report import Result, document
from minilm.files import write_text
from minilm.optional import require
from minilm_kernels.ladder import ATTENTION, PRODUCT, Rung

# the size at which rungs are compared, and the sizes of those that would take seconds there
ATTENTION_SHAPE, PRODUCT_SHAPE = (1, 4, 1024, 64), (1024, 1024, 1024)
OWN_SHAPES = {
    "rung1_python_loops": (1, 1, 48, 64),
    "rung1_loops": (512, 512, 512),
    "rung6_three_passes": (3072, 1536, 384),
    "rung6_fused_end": (3072, 1536, 384),
}
QUICK = 4  # --quick divides T, M, N and K by this
BEFORE = {"rung9_backward": "9a", "rung6_fused_end": "6a"}  # the rung to compare with, where it is not that of one less
OTHER_JOB = ("rung9_numpy_backward", "rung6_three_passes")  # comparable with no rung below
ENGINE = {"8": "attention", "9": "attention_backward", "5": "matmul"}  # rung → the engine's kernel for the same job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; always 0, the figures speak."""
    argv = list(sys.argv[1:] if argv is None else argv)
    options = make_parser().parse_args(argv)
    if options.memory_of:
        return ladder_memory.measure_here(options.memory_of, options.threads, ladder_memory.lengths(options.quick))
    require("numba", "the ladder")
    require("matplotlib.figure", "drawing the roofline")
    code = machine.in_child("ladder", argv, threads=1)  # of the BLAS; minilm's own pool is told below
    if code is not None:
        return code

    from minilm.bench import ladder_plots

    cases = [*plan("attention", options.quick), *plan("product", options.quick)]
    with require("tqdm", "a progress bar").tqdm(total=len(cases) + len(ladder_memory.MEASURED) + 2, unit="step") as bar:
        bar.set_description("peak and bandwidth")
        limits = measure_limits(options.threads, options.quick)
        bar.update(2)
        results: list[Result] = []
        missing: list[str] = []
        seconds = 0.1 if options.quick else 0.6
        for case in cases:
            bar.set_description(f"{case.ladder} {case.rung.title}")
            try:
                result = measure(case, options.threads, seconds)
                below = next((r for r in results if (r.ladder, r.number) == (case.ladder, case.before)), None)
                if below is not None:
                    at_its_size = replace(case, shape=below.shape)
                    same = result if at_its_size == case else measure(at_its_size, options.threads, seconds)
                    result.faster = below.seconds / same.seconds
                results.append(result)
            except ModuleNotFoundError as error:
                if not case.engine or not str(error.name).startswith("minilm_kernels"):
                    raise
                missing.append(f"minilm_kernels.cpu.{case.engine} is not there ({error}), so its row is left out.")
            bar.update(1)
        bar.set_description("memory")
        memory = ladder_memory.measure_all(options.threads, options.quick, bar)

    out: Path = options.out
    ladder_plots.draw_roofline(out / "roofline.png", results, limits)
    ladder_plots.draw_memory(out / "memory.png", memory)
    text = document(results, limits, missing, options.threads, options.quick)
    write_text(out / "ladder.md", text)
    print(text)
    print(f"ladder.md, roofline.png and memory.png written to {out}")
    figures = [{**asdict(r), "gflops": r.gflops, "intensity": r.intensity} for r in results]
    machine.write_json(options.json, "ladder", argv, {"limits": limits, "rungs": figures, "memory": memory})
    return 0


def make_parser() -> argparse.ArgumentParser:
    options = machine.parser("ladder", __doc__ or "")
    machine.add_threads(options)
    options.add_argument("--out", type=Path, default=Path("ladder"), metavar="DIR", help="default: ./ladder")
    options.add_argument(
        "--quick", action="store_true", help="small sizes and short measurements: a look, not a result"
    )
    options.add_argument("--memory-of", default="", help=argparse.SUPPRESS)  # measure here, print JSON
    return options


# --- what is measured -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One rung at one size; `engine` names the kernel of minilm_kernels.cpu that is timed in its place."""

    ladder: str
    rung: Rung
    shape: tuple[int, ...]
    engine: str = ""

    @property
    def before(self) -> str | None:
        """The number of the rung it is compared with."""
        if self.engine:
            return self.rung.number
        if self.rung.number == "1" or self.rung.name in OTHER_JOB:
            return None
        return BEFORE.get(self.rung.name, str(int(self.rung.number) - 1))


def plan(ladder: str, quick: bool) -> list[Case]:
    """All rungs of a ladder from the bottom up; the engine's kernels follow the top rung of their job."""
    cases = []
    for rung in ATTENTION if ladder == "attention" else PRODUCT:
        common = ATTENTION_SHAPE if ladder == "attention" else PRODUCT_SHAPE
        shape = OWN_SHAPES.get(rung.name, common)
        if quick:
            kept = 1 if rung.name == "rung1_python_loops" else QUICK
            shape = (*shape[:2], shape[2] // kept, shape[3]) if len(shape) == 4 else tuple(n // kept for n in shape)
        cases.append(Case(ladder, rung, shape))
        if rung.number in ENGINE and ladder == ("product" if rung.number == "5" else "attention"):
            cases.append(Case(ladder, rung, shape, engine=ENGINE[rung.number]))
    return cases


def measure(case: Case, threads: int, seconds: float) -> Result:
    """Time one case and count what it moves."""
    from minilm_kernels.cpu import pool
    from minilm_kernels.ladder.roofline import best

    rung = case.rung
    used = threads if rung.threads else 1
    pool.set_num_threads(used)
    call = call_for(rung.call, rung.function if not case.engine else None, case.engine, case.shape)
    return Result(
        ladder=case.ladder,
        number="minilm" if case.engine else rung.number,
        title=case.engine.removeprefix("attention_") or rung.title,
        idea=f"what minilm uses; bytes as in rung {rung.number}" if case.engine else rung.idea,
        shape=case.shape,
        threads=used,
        seconds=best(call, seconds),
        flops=rung.flops(case.shape),
        bytes=rung.traffic(case.shape),
        before=case.before,
        extra_bytes=None if case.engine else rung.extra_bytes(case.shape),
    )


def call_for(job: str, function: Callable[..., Any] | None, engine: str, shape: tuple[int, ...]) -> Callable[[], Any]:
    """A call without arguments of a rung, or of the engine's kernel, on random arrays of a shape."""
    generator = np.random.default_rng(0)

    def normal(*size: int) -> np.ndarray:
        return generator.standard_normal(size, dtype=np.float32)

    arrays: list[Any]
    if job == "attention":
        arrays = [normal(*shape) for _ in range(3)]
    elif job == "attention_backward":
        arrays = [normal(*shape) for _ in range(5)] + [np.full(shape[:3], np.log(shape[2]), np.float32)]
    else:
        M, N, K = shape
        arrays = [normal(M, K), normal(K, N)] + ([normal(N), normal(M, N)] if job == "layer" else [])
    if function is not None:
        return lambda: function(*arrays)
    from minilm_kernels import cpu

    kernel = getattr(cpu, engine)
    if engine == "attention_backward":
        grad_output, query, key, value = arrays[:4]
        residuals = cpu.attention(query, key, value)[1]
        return lambda: kernel(grad_output, residuals)
    return lambda: kernel(*arrays)


def measure_limits(threads: int, quick: bool) -> dict[str, Any]:
    """Peak FLOP/s and bandwidth of the memory for 1 thread and for all, and of the second cache for 1."""
    from minilm_kernels.cpu import pool
    from minilm_kernels.ladder import roofline

    last = roofline.cache_bytes(3) or 64 << 20
    nbytes = 192 << 20 if quick else min(max(4 * last, 768 << 20), max(available_memory() // 3, 192 << 20))
    seconds = 0.1 if quick else 1.0
    limits: dict[str, Any] = {
        "threads": threads,
        "triad_bytes": nbytes,
        "last_cache_bytes": last,
        "peak": {},
        "memory": {},
    }
    for n in sorted({1, threads}):
        pool.set_num_threads(n)
        limits["peak"][n] = roofline.peak_flops(seconds)
        limits["memory"][n] = roofline.bandwidth(nbytes, seconds)
    pool.set_num_threads(1)
    limits["cache"] = roofline.bandwidth((roofline.cache_bytes(2) or 1 << 20) // 2, seconds)
    return limits


def available_memory() -> int:
    """Bytes that a process may still take, as Linux tells it; 2 GiB where nobody tells."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 2 << 30
