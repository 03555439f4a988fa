"""What a kernel does on the hardware, without the hardware: counts, and a picture of which threads touch which bytes.

    python -m minilm_kernels.gpu.explain attention --shape 1 2 128 64
    python -m minilm_kernels.gpu.explain attention --shape 1 2 128 64 --causal --backward --picture attention.png
    python -m minilm_kernels.gpu.explain layer_norm --shape 64 256

The kernels are compiled by NVRTC (pip install nvidia-cuda-nvrtc-cu12) and run in the simulator: no GPU, no CuPy. The
picture needs matplotlib. Counts are those of the PTX, exact for its addresses; they are not times.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minilm_kernels.gpu import nvrtc, simulate
from minilm_kernels.gpu.simulator import Counters
from minilm_kernels.gpu.simulator.counters import Space

Array = Any
Making = Callable[..., Array]

SHAPES = {
    "attention": "B H T D", "attention_decode": "B H T D", "layer_norm": "rows features", "rms_norm": "rows features",
    "gelu": "rows features", "softmax_cross_entropy": "rows classes",
}  # fmt: skip
TOLD = 4  # how many instructions are told and drawn


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
    parser.add_argument("--capability", type=int, default=80, help="10 · major + minor of the GPU to compile for (80)")
    parser.add_argument("--picture", metavar="FILE.png", help="draw the busiest accesses")
    asked = parser.parse_args(arguments)
    names = SHAPES[asked.kernel].split()
    if len(asked.shape) != len(names) or min(asked.shape) < 1:
        parser.error(f"{asked.kernel} has the shape {' '.join(names)}; --shape gave {asked.shape}")
    if nvrtc.find() is None:
        parser.error(
            "the kernels are compiled by NVRTC, which is not here; install it: pip install nvidia-cuda-nvrtc-cu12"
        )
    if asked.picture:
        _figures(parser)
    launches = run(asked.kernel, asked.shape, asked.dtype, asked.causal, asked.backward, asked.capability)
    print("\n\n".join(table(counters) for counters in launches))
    if asked.picture:
        picture(launches, asked.picture)
        print(f"\n{asked.picture}: the accesses of one warp, for the busiest instructions")
    return 0


def _figures(parser: argparse.ArgumentParser) -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        parser.error("--picture draws with matplotlib, which is not installed: pip install matplotlib")


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


def busiest(counters: Counters, wasted: bool = False) -> list[int]:
    """The instructions with the most turns, or with the most beyond the fewest; of each source line one."""

    def cost(s: Space) -> int:
        return s.turns - s.fewest if wasted else s.turns

    chosen: dict[Any, int] = {}
    for number, s in sorted(counters.by_instruction.items(), key=lambda item: -cost(item[1])):
        sample = counters.samples[number]
        if sample.space in ("global", "shared") and cost(s) > 0:
            chosen.setdefault((sample.space, sample.kind, sample.source or number), number)
    return list(chosen.values())[:TOLD]


def short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


# --- the picture ------------------------------------------------------------------------------------------------------


def picture(launches: Sequence[Counters], path: str) -> None:
    """Draw the busiest accesses of each launch: one square for each word of memory, with the number of the lane that wants it
    ("3+": lane 3 and others want the same word).

    Global memory: a row is a sector. Shared memory: a column is a bank; squares above each other in one column, in one colour,
    wait for each other.
    """
    from matplotlib.figure import Figure

    rows = [(counters, busiest(counters)) for counters in launches]
    rows = [(counters, numbers) for counters, numbers in rows if numbers]
    if not rows:
        raise SystemExit("these launches touch no global or shared memory: there is nothing to draw")
    figure = Figure(figsize=(5.2 * TOLD, 4.2 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), TOLD, squeeze=False)
    for (counters, numbers), line in zip(rows, grid):
        for axes in line[len(numbers) :]:
            axes.axis("off")
        for number, axes in zip(numbers, line):
            draw(axes, counters, number)
    figure.savefig(path, dpi=80)


def draw(axes: Any, counters: Counters, number: int) -> None:
    """One access of one warp."""
    sample, s = counters.samples[number], counters.by_instruction[number]
    columns = 8 if sample.space == "global" else 32
    unit = 4  # bytes of a square
    words = max(1, sample.nbytes // unit)
    phase = sample.lanes // (32 // min(32, words)) if sample.space == "shared" else np.zeros(len(sample.lanes), int)
    first = int(sample.addresses.min()) // (unit * columns) * columns
    squares: dict[tuple[int, int], list[int]] = {}
    turn: dict[tuple[int, int], int] = {}
    for lane, address, when in zip(sample.lanes, sample.addresses, phase):
        for word in range(words):
            row, column = divmod(int(address) // unit + word - first, columns)
            squares.setdefault((row, column), []).append(int(lane))
            turn[row, column] = int(when)
    order = {row: i for i, row in enumerate(sorted({row for row, _ in squares}))}
    shown = min(len(order), 32)
    for (row, column), lanes in squares.items():
        if order[row] >= shown:
            continue
        colour = _colour(turn[row, column] if sample.space == "shared" else lanes[0])
        axes.add_patch(_square(column, order[row], colour))
        text = str(lanes[0]) if len(lanes) == 1 else f"{lanes[0]}+"
        axes.text(column + 0.5, order[row] + 0.5, text, ha="center", va="center", fontsize=5 if columns == 32 else 7)
    axes.set_xlim(0, columns)
    axes.set_ylim(max(shown, 8), 0)
    axes.set_xlabel("bank" if sample.space == "shared" else "word of 4 bytes in the sector")
    axes.set_ylabel("row of 128 bytes" if sample.space == "shared" else "sector of 32 bytes")
    axes.set_yticks([i + 0.5 for i in range(shown)], [str(row) for row in order][:shown], fontsize=6)
    each = s.turns / max(1, s.requests)
    kind = "wavefronts" if sample.space == "shared" else "sectors"
    more = "" if shown == len(order) else f", {len(order) - shown} rows more"
    where = sample.source or f"PTX line {sample.line}"
    told = f"{where}: {each:.1f} {kind} a request (fewest {s.fewest / max(1, s.requests):.1f}){more}"
    axes.set_title(f"{counters.name}\n{short(sample.text)}\n{told}", fontsize=7)


def _square(column: int, row: int, colour: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column, row), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.4)


def _colour(number: int) -> tuple[float, float, float]:
    """Light colours, neighbours far apart."""
    from colorsys import hls_to_rgb

    return hls_to_rgb(number * 0.381966 % 1, 0.78, 0.7)


if __name__ == "__main__":
    sys.exit(main())
