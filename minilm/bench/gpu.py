"""Time every CUDA kernel beside PyTorch's on the same GPU, in one process and in turns.

    python -m minilm.bench gpu                           # everything: some minutes
    python -m minilm.bench gpu attention decode          # some groups: attention decode rows loss optimizer linear
    python -m minilm.bench gpu --only "causal (8, 12"    # the lines that contain this
    python -m minilm.bench train --device cuda --precision bfloat16      # a whole training step instead

First both compute the same inputs once and are compared: `differs` is max|ours − PyTorch's| ÷ max|PyTorch's|, for the worst
of the results. Then both are timed in turns: a turn gives the GPU so many calls in a row that they take --turn seconds, and
waits for the last one. So a time is that of the device, or, where a call is shorter than Python needs to ask for it, the time
that Python needs: that is what a program feels, and it is said here because small kernels are all alike then.

    ratio = PyTorch's time ÷ ours (above 1, ours is faster), of the medians and of the fastest turns.

The last column is what a call has to do at the least, operations or bytes, per second of ours. Products of float32 numbers are
float32 throughout for both (no TF32). PyTorch's attention is its flash kernel, or in float32, which that does not take, what
PyTorch itself chooses.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import minilm_kernels
from minilm.bench import machine
from minilm.bench.gpu_pairs import GpuCase, cases
from minilm.bench.kernel_timing import worst_difference
from minilm.bench.kernels import markdown
from minilm.bench.torch_gpt import require_torch
from minilm.devices import check_cuda, to_host
from minilm.errors import InputError
from minilm.files import write_text
from minilm.optional import require

TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}  # above that the two do not compute the same
HEAD = ["kernel", "against", "PyTorch ms", "ours ms", "ratio", "of fastest", "", "differs", "ours reaches"]
MOST_CALLS = 500  # in a turn
GROUPS = ("attention", "decode", "rows", "loss", "optimizer", "linear")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if a kernel computes something else than PyTorch, or fails. Slowness is only shown."""
    argv = list(sys.argv[1:] if argv is None else argv)
    options = make_parser().parse_args(argv)
    for group in options.groups:
        if group not in GROUPS:
            raise InputError(f"there is no group {group!r} of kernels; choose from {', '.join(GROUPS)}")
    chosen = [
        case
        for case in cases(options.quick)
        if case.group in (options.groups or GROUPS) and (options.only or "") in case.name
    ]
    if not chosen:
        raise InputError(f"no kernel's line contains {options.only!r}; --quick shows all lines")
    check_cuda()
    torch = require_torch()
    if not torch.cuda.is_available():
        raise InputError("this PyTorch does not compute on the GPU; install one that does (see pytorch.org)")
    headline = describe(torch)
    print(headline, flush=True)
    if find_spec("ml_dtypes") is None:
        chosen = [case for case in chosen if case.dtype != "bfloat16"]
        print("bfloat16 is left out, which needs ml_dtypes: pip install ml_dtypes")
    results = run(chosen, torch, options)
    print(summary(results))
    if options.markdown:
        table = markdown([HEAD, *map(cells, results)])
        write_text(options.markdown, f"{headline}\n\n{table}\n\n{summary(results)}\n")
        print(f"tables written to {options.markdown}")
    machine.write_json(options.json, "gpu", argv, {"gpu": headline, "lines": results})
    return 1 if any(result["state"] in ("DIFFERS", "failed") for result in results) else 0


def make_parser() -> argparse.ArgumentParser:
    options = machine.parser("gpu", __doc__ or "")
    options.add_argument("groups", nargs="*", metavar="GROUP", help=f"{', '.join(GROUPS)} (default: all)")
    options.add_argument("--turns", type=machine.positive, default=20, help="turns of each (default: 20)")
    options.add_argument("--turn", type=float, default=0.02, help="seconds of a turn, about (default: 0.02)")
    options.add_argument("--only", metavar="WORDS", help="only cases whose line contains this, for example 'causal'")
    options.add_argument("--quick", action="store_true", help="small sizes: proves nothing about speed")
    options.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table to this file")
    return options


def run(chosen: Sequence[GpuCase], torch: Any, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the cases, and show each line of the table when it is known. Ctrl-C ends that and keeps what there is."""
    widths = [max(len(case.name) for case in chosen), 17, 10, 8, 6, 10, 7, 7, 13]

    def show(row: Sequence[str]) -> None:
        tqdm.write("  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths))))

    tqdm, results = require("tqdm", "a progress bar").tqdm, []
    show(HEAD)
    with minilm_kernels.use_kernels("cupy"), tqdm(total=len(chosen), unit=" cases", disable=None, leave=False) as bar:
        try:
            for case in chosen:
                bar.set_description(case.name)
                results.append(measure(case, torch, options))
                show(cells(results[-1]))
                bar.update()
        except KeyboardInterrupt:
            if not results:
                raise
            tqdm.write(f"stopped after {len(results)} of {len(chosen)} cases")
    return results


def describe(torch: Any) -> str:
    cupy = require("cupy", "computing on a GPU")
    name = torch.cuda.get_device_name()
    return f"{name}, CuPy {cupy.__version__}, PyTorch {torch.__version__}, {machine.headline()}"


# --- measuring --------------------------------------------------------------------------------------------------------


def measure(case: GpuCase, torch: Any, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one line; a kernel that fails must not cost those of all others."""
    about = {"group": case.group, "name": case.name}
    try:
        ours, theirs, opponent = case.build(torch)
        difference = worst_difference([on_host(a) for a in ours()], [on_host(a) for a in theirs()])
        times = in_turns({"ours": ours, "torch": theirs}, torch.cuda.synchronize, options.turns, options.turn)
    except Exception as error:
        return {**about, "state": "failed", "message": f"{type(error).__name__}: {error}".splitlines()[0]}
    mine, other = times["ours"], times["torch"]
    return {
        **about, "against": opponent, "difference": difference, "seconds": times, "unit": case.unit,
        "ratio": statistics.median(other) / statistics.median(mine), "ratio_of_fastest": min(other) / min(mine),
        "rate": case.work / statistics.median(mine) / (1e12 if case.unit == "TFLOP/s" else 1e9),
        "state": "" if difference <= TOLERANCE[case.dtype] else "DIFFERS",
    }  # fmt: skip


def on_host(result: Any) -> Any:
    """A result of either as float32 on the host."""
    if hasattr(result, "detach"):
        return result.detach().float().cpu().numpy()
    return to_host(result).astype("float32", copy=False)


def in_turns(
    calls: dict[str, Callable[[], Any]], wait: Callable[[], Any], turns: int, seconds: float
) -> dict[str, list[float]]:
    """Seconds per call of each turn. wait: until the device has done all that it was given."""
    counts = {}
    for who, call in calls.items():
        one = min(timed(call, 1, wait) for _ in range(3))
        few = max(1, min(10, int(seconds / one)))
        counts[who] = max(1, min(MOST_CALLS, int(seconds / timed(call, few, wait))))
    times: dict[str, list[float]] = {who: [] for who in calls}
    order = list(calls)
    for _ in range(turns):
        for who in order:
            times[who].append(timed(calls[who], counts[who], wait))
        order.reverse()
    return times


def timed(call: Callable[[], Any], count: int, wait: Callable[[], Any]) -> float:
    """Seconds per call of `count` calls in a row."""
    wait()
    start = time.perf_counter()
    for _ in range(count):
        call()
    wait()
    return (time.perf_counter() - start) / count


# --- showing ----------------------------------------------------------------------------------------------------------


def cells(result: dict[str, Any]) -> list[str]:
    """One line of the table."""
    if "seconds" not in result:
        return [result["name"], "", "", "", "", "", result["state"], "", ""]
    other, mine = (f"{1e3 * statistics.median(result['seconds'][who]):.3f}" for who in ("torch", "ours"))
    ratios = [f"{result[name]:.2f}" for name in ("ratio", "ratio_of_fastest")]
    rate = f"{result['rate']:.3g} {result['unit']}"
    return [
        result["name"],
        result["against"],
        other,
        mine,
        *ratios,
        result["state"],
        f"{result['difference']:.0e}",
        rate,
    ]


def summary(results: Sequence[dict[str, Any]]) -> str:
    """The mean ratio of each group, and what failed."""
    lines = []
    for group in GROUPS:
        ratios = [result["ratio"] for result in results if result["group"] == group and "ratio" in result]
        if ratios:
            lines.append(f"{group}: mean ratio {statistics.mean(ratios):.2f}, smallest {min(ratios):.2f}")
    lines += [f"FAILED: {result['name']}: {result['message']}" for result in results if result["state"] == "failed"]
    return "\n".join(lines)
