"""What a kernel does on the hardware, without the hardware: counts, and a picture of which threads touch which bytes.

    python -m minilm_kernels.gpu.explain attention --shape 1 2 128 64
    python -m minilm_kernels.gpu.explain attention --shape 1 2 128 64 --causal --backward --picture attention.png
    python -m minilm_kernels.gpu.explain layer_norm --shape 64 256

The kernels are compiled by NVRTC (pip install nvidia-cuda-nvrtc-cu12) and run in the simulator: no GPU, no CuPy. The
picture is drawn with letters, and with --picture also as an image, by matplotlib. Counts are those of the PTX, exact for its
addresses; they are not times.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minilm_kernels.gpu import nvrtc, pictures, plan, simulate
from minilm_kernels.gpu.pictures import busiest, short
from minilm_kernels.gpu.simulator import Counters

Array = Any
Making = Callable[..., Array]

SHAPES = {
    "attention": "B H T D", "attention_decode": "B H T D", "layer_norm": "rows features", "rms_norm": "rows features",
    "gelu": "rows features", "softmax_cross_entropy": "rows classes",
}  # fmt: skip
IMAGES = (".png", ".svg", ".pdf")
TYPES = {"float32": "float", "float16": "f16", "bfloat16": "bf16", "float64": "double"}
PATIENCE = 60  # seconds, after which a run is announced


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m minilm_kernels.gpu.explain",
        description="Run a GPU kernel in the simulator and say what it does.",
    )
    parser.add_argument("kernel", choices=sorted(SHAPES))
    parser.add_argument(
        "--shape",
        type=int,
        nargs="+",
        required=True,
        metavar="N",
        help="; ".join(f"{k}: {s}" for k, s in SHAPES.items()),
    )
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16", "float64"), default="float32")
    parser.add_argument("--causal", action="store_true", help="attention: a query sees no later key")
    parser.add_argument("--backward", action="store_true", help="the derivative's kernels too")
    parser.add_argument(
        "--capability", type=int, default=80, choices=sorted(plan.LIMITS), metavar="N",
        help=f"10 · major + minor of the GPU to compile for (80); one of {', '.join(map(str, plan.LIMITS))}",
    )  # fmt: skip
    parser.add_argument("--picture", metavar="FILE.png", help="an image of the busiest accesses as well")
    asked = parser.parse_args(arguments)
    problem = _problem(asked)
    if problem:
        parser.error(problem)
    if _seconds(asked) > PATIENCE:
        print(
            "this will take minutes: every instruction of every thread is executed; a smaller --shape has the same pattern",
            file=sys.stderr,
        )
    try:
        launches = run(asked.kernel, asked.shape, asked.dtype, asked.causal, asked.backward, asked.capability)
    except RuntimeError as error:  # such as: an old NVRTC does not know a new architecture
        parser.error(str(error).strip())
    for counters in launches:
        print("\n".join([table(counters), *pictures.letters(counters)]), end="\n\n")
    if asked.picture:
        pictures.image(launches, asked.picture)
        print(f"{asked.picture}: the accesses of one warp, for the busiest instructions")
    return 0


def _problem(asked: argparse.Namespace) -> str | None:
    """What is wrong with the options, or missing, and what to do; None if nothing is."""
    names = SHAPES[asked.kernel].split()
    if len(asked.shape) != len(names) or min(asked.shape) < 1:
        return f"{asked.kernel} has the shape {' '.join(names)}, numbers from 1; --shape gave {asked.shape}"
    dtype, capability = TYPES[asked.dtype], asked.capability
    if asked.kernel.startswith("attention") and not plan.fused(asked.shape[3], dtype, capability):
        return (
            f"heads of {asked.shape[3]} features in {asked.dtype} have no kernel for compute capability {capability / 10}: the "
            f"composed formula serves them; give at most {plan.widest_fused(dtype, capability)}"
        )
    if asked.causal and asked.kernel != "attention":
        return f"--causal is for attention; leave it out for {asked.kernel}"
    if asked.backward and asked.kernel == "attention_decode":
        return "attention_decode has no backward pass; leave --backward out"
    if nvrtc.find() is None:
        return "the kernels are compiled by NVRTC, which is not here; install it: pip install nvidia-cuda-nvrtc-cu12"
    if asked.picture:
        path = Path(asked.picture)
        if path.suffix.lower() not in IMAGES:
            return f"--picture {asked.picture}: give a name that ends with {', '.join(IMAGES)}"
        if not path.absolute().parent.is_dir():
            return f"--picture {asked.picture}: there is no folder {path.parent}; make it first"
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            return "--picture draws with matplotlib, which is not installed: pip install matplotlib"
    return None


def _seconds(asked: argparse.Namespace) -> float:
    """How long a run will take, very roughly."""
    size = float(np.prod([float(n) for n in asked.shape]))
    each = {"attention": 2.5e-7 * asked.shape[-2], "attention_decode": 1e-5}.get(asked.kernel, 2e-6)
    return size * each * (4 if asked.backward else 1)


def run(
    kernel: str,
    shape: Sequence[int],
    dtype: str = "float32",
    causal: bool = False,
    backward: bool = False,
    capability: int = 80,
) -> list[Counters]:
    """Run a kernel on random numbers in the simulator; the counts of each of its launches."""
    from minilm_kernels import gpu
    from minilm_kernels.gpu.compile import Device, running_on

    random = np.random.default_rng(0)

    def numbers(*size: int) -> Array:
        x = random.standard_normal(size).astype(np.float32)
        return x.astype(_bfloat16()) if dtype == "bfloat16" else x.astype(dtype)

    module = functools.partial(simulate.Module, arch=f"compute_{capability}")
    device: Any = Device(simulate.namespace, module, capability, 4)  # type: ignore[arg-type]
    function = getattr(gpu, kernel)
    with running_on(device), simulate.counting() as launches:
        if kernel == "attention_decode":
            B, H, T, D = shape
            function(numbers(B, H, 1, D), numbers(B, H, T, D), numbers(B, H, T, D))
            return launches
        if kernel == "attention":
            made = function(numbers(*shape), numbers(*shape), numbers(*shape), causal=causal)
        elif kernel == "softmax_cross_entropy":
            made = function(numbers(*shape), random.integers(0, shape[1], shape[0]))
        elif kernel == "gelu":
            made = function(numbers(*shape))
        else:
            made = function(numbers(*shape), *(numbers(shape[1]) for _ in range(2 if kernel == "layer_norm" else 1)))
        if backward:
            result, residuals = made
            grad = np.ones_like(result) if result.ndim else np.asarray(np.ones((), result.dtype))
            getattr(gpu, f"{kernel}_backward")(grad, residuals)
    return launches


def _bfloat16() -> Any:
    try:
        import ml_dtypes
    except ImportError:
        raise SystemExit("bfloat16 arrays need ml_dtypes, which is not installed: pip install ml_dtypes") from None
    return ml_dtypes.bfloat16


# --- the table --------------------------------------------------------------------------------------------------------


def table(counters: Counters) -> str:
    """The counts of a launch as text."""
    total = max(1, counters.warp_instructions)
    blocks, threads = int(np.prod(counters.grid)), int(np.prod(counters.block))
    lines = [
        counters.name,
        f"  {blocks} blocks of {threads} threads, {counters.shared_bytes} bytes of shared memory each",
        "",
        f"  instructions of warps {total:>14,}   lanes at work {100 * counters.lane_instructions / (32 * total):5.1f} %",
    ]
    for kind, n in counters.issued.most_common():
        lines.append(f"    {kind:<20}{n:>14,}   {100 * n / total:5.1f} %")
    lines += [
        "",
        f"  arithmetic            {counters.flops:>14,} FLOP",
        f"  global memory         {counters.global_bytes:>14,} bytes asked for, {counters.sector_bytes:,} in sectors",
        f"  arithmetic intensity  {counters.intensity:>14.1f} FLOP per byte asked for",
        "",
        f"  {'memory':<16}{'requests':>12}{'bytes':>14}{'turns':>12}{'fewest':>12}   turns are",
    ]
    meaning = {"global": "sectors of 32 bytes", "shared": "wavefronts (more than the fewest: bank conflicts)"}
    for (space, way), s in sorted(counters.traffic.items()):
        figures = f"{s.requests:>12,}{s.bytes:>14,}{s.turns:>12,}{s.fewest:>12,}"
        lines.append(f"  {space + ' ' + way:<16}{figures}   {meaning.get(space, 'requests')}")
    costly = busiest(counters, wasted=True)
    if costly:
        lines += ["", "  instructions that take more turns than they need"]
    for number in costly:
        s, sample = counters.by_instruction[number], counters.samples[number]
        where = f"PTX line {sample.line}" + (f", {sample.source}" if sample.source else "")
        lines.append(f"    {s.turns:>10,} instead of {s.fewest:>10,}   {where}: {short(sample.text)}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
