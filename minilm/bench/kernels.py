"""Time every kernel beside PyTorch's, in one process, in turns, with equal threads; and measure the memory of attention.

    python -m minilm.bench kernels                          # everything, with 1 and 2 threads: half an hour
    python -m minilm.bench kernels attention decode         # groups: attention decode rows loss optimizer linear feed-forward
    python -m minilm.bench kernels memory                   # extra peak memory of attention at T = 8192
    python -m minilm.bench kernels --quick                  # small sizes: is the machinery in order?
    NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES= python -m minilm.bench kernels linear    # the code for another processor: AVX2
        (PyTorch goes on with all that this one has; ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 holds it to the same)

First both compute the same inputs once and are compared: `differs` is max|ours − PyTorch's| ÷ max|PyTorch's|, for the worst
of the results. The first call also compiles what is not in the cache. Then both are timed in turns. A turn begins with a
pause (--pause), in which the other one's threads stop spinning and fall asleep, and for short calls with one call that is
not counted and wakes its own threads; who goes first changes from round to round. So whatever else the machine does
hits both alike, and only the ratios mean much:

    ratio = PyTorch's time ÷ ours (above 1, ours is faster), of the medians and of the fastest calls.

Each median is of at least --reps calls, and of three times as many where a call is short. A case that takes longer than
--seconds stops early, but not before 5 calls; the column `calls` tells. `floor` and `aim` are what the project promised
itself; BELOW marks a median under its floor. While other programs keep the cores busy (see the load in the first line),
threads wait for each other and a short call can take a hundred times as long: a line is marked `noisy`, and not judged,
where the two ratios are far apart.

Ours are the functions that `import minilm_kernels` gives, with their checks of shapes and dtypes; --backend says who
serves them. Each number of threads gets a process of its own, because a BLAS reads its number when NumPy loads. Freed
memory is kept for both, as the Trainer does, so that the time is that of the kernels and not of the system that maps
fresh pages (--fresh-memory leaves that to the C library). PyTorch's attention is its flash kernel wherever that takes the
call (column `against`); its backward is torch.autograd.grad on a graph made before; `forward + backward` builds the graph
each time.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from minilm.bench import kernel_memory, machine
from minilm.bench.kernel_cases import GROUPS, Case, cases
from minilm.bench.kernel_pairs import Kernels, NotBuiltError
from minilm.bench.kernel_timing import measure
from minilm.bench.torch_gpt import require_torch
from minilm.errors import InputError
from minilm.files import write_text
from minilm.memory import keep_freed_memory
from minilm.optional import require

TOLERANCE = {"float32": 1e-4, "float64": 1e-10}  # above that the two do not compute the same
NOISE = 1.5  # where the ratio of the medians and that of the fastest calls are further apart, neither is believed
MARKED = ("BELOW", "ABOVE", "DIFFERS", "failed")  # bold in Markdown
HEAD = ["kernel", "against", "PyTorch ms", "ours ms", "ratio", "of fastest", "floor", "aim", "", "differs", "calls"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if a kernel computes something else than PyTorch, or fails. Slowness is only shown."""
    argv = list(sys.argv[1:] if argv is None else argv)
    options = make_parser().parse_args(argv)
    if options.child_memory:
        engine, direction = options.child_memory
        print(json.dumps(kernel_memory.measure(engine, direction, options.backend, options.quick, options.threads[0])))
        return 0
    groups = [group for given in options.groups or ["all"] for group in (GROUPS if given == "all" else [given])]
    chosen = cases([group for group in dict.fromkeys(groups) if group != "memory"], options.quick)
    if options.only:
        chosen = [case for case in chosen if options.only in case.name]
    if not chosen and "memory" not in groups:
        raise InputError(f"no kernel's line contains {options.only!r}; --quick shows all lines in a minute")
    require_torch()
    if options.child:
        for result in measure_all(chosen[options.start :], options):
            print(json.dumps(result), flush=True)
        return 0

    results, text = [], []
    for threads in options.threads if chosen else []:
        found = show_progress(chosen, in_children(chosen, argv, threads), f"{threads} threads, ")
        headline = f"{found[0]['machine']}; kernels: {options.backend}"
        print(f"{headline}\n{machine.table(table_of(found))}\n{summary(found)}\n", flush=True)
        text.append(f"{headline}\n\n{markdown(table_of(found))}\n\n{summary(found)}\n")
        results += found
    if "memory" in groups:
        memory = kernel_memory.compare(options.backend, options.quick, options.threads[-1])
        print(f"{kernel_memory.EXPLANATION}\n{machine.table(kernel_memory.rows(memory))}")
        text.append(f"{kernel_memory.EXPLANATION}\n\n{markdown(kernel_memory.rows(memory))}\n")
        results += memory
    if options.markdown:
        write_text(options.markdown, "\n".join(text))
        print(f"tables written to {options.markdown}")
    machine.write_json(options.json, "kernels", argv, results)
    return 1 if any(result["state"] in ("DIFFERS", "failed") for result in results) else 0


def make_parser() -> argparse.ArgumentParser:
    options = machine.parser("kernels", __doc__ or "")
    names = [*GROUPS, "memory", "all"]
    options.add_argument("groups", nargs="*", metavar="GROUP", help=f"{', '.join(names)} (default: all but memory)")
    options.add_argument(
        "--backend", choices=["numba", "reference"], default="numba", help="whose kernels (default: numba)"
    )
    options.add_argument("--threads", type=machine.positive, nargs="+", default=[1, 2], help="default: 1 2")
    options.add_argument(
        "--reps", type=machine.positive, default=20, help="timed calls of each, at least (default: 20)"
    )
    options.add_argument("--seconds", type=float, default=90, help="stop a case after so long (default: 90)")
    options.add_argument("--pause", type=float, default=0.05, help="seconds of rest before each turn (default: 0.05)")
    options.add_argument("--only", metavar="WORDS", help="only cases whose line contains this, for example 'causal'")
    options.add_argument("--quick", action="store_true", help="small sizes and few calls: proves nothing about speed")
    options.add_argument("--fresh-memory", action="store_true", help="do not keep freed memory")
    options.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables to this file")
    options.add_argument("--child", action="store_true", help=argparse.SUPPRESS)  # measure here, print lines of JSON
    options.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)  # number of the first case
    options.add_argument("--child-memory", nargs=2, help=argparse.SUPPRESS)  # engine and direction
    return options


def in_children(chosen: Sequence[Case], argv: Sequence[str], threads: int) -> Iterator[dict[str, Any]]:
    """Measure in a fresh process with that many threads; yields the results of measure_all as they come.

    A kernel that ends its process (they check no bounds) has failed; a new process goes on with the case after it.
    """
    start = 0
    while start < len(chosen):
        command = [sys.executable, "-m", "minilm.bench", "kernels", *argv, "--child", "--threads", str(threads)]
        command += ["--start", str(start)]
        begun = False
        with subprocess.Popen(command, env=machine.environment(threads), stdout=subprocess.PIPE, text=True) as child:
            for line in child.stdout or ():
                result = json.loads(line)
                begun = "begins" in result
                start += not begun
                yield result
        if child.returncode and not begun:
            raise InputError(f"the measuring process ended with exit code {child.returncode}; see its message above")
        if child.returncode:
            failed = f"it ended the process with exit code {child.returncode}"
            yield {**about(chosen[start], threads), "state": "failed", "message": failed}
            start += 1


def show_progress(chosen: Sequence[Case], stream: Iterator[dict[str, Any]], label: str) -> list[dict[str, Any]]:
    """Collect the results behind a progress bar. Ctrl-C ends the measuring and keeps what there is."""
    found = []
    with require("tqdm", "a progress bar").tqdm(total=len(chosen), unit=" cases", disable=None, leave=False) as bar:
        try:
            for result in stream:
                if "begins" in result:
                    bar.set_description(label + result["begins"])
                else:
                    found.append(result)
                    bar.update()
        except KeyboardInterrupt:
            if not found:
                raise
            print(f"stopped after {len(found)} of {len(chosen)} cases", file=sys.stderr)
    return found


# --- measuring --------------------------------------------------------------------------------------------------------


def measure_all(chosen: Sequence[Case], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """For each case {"begins": its name}, then its figures."""
    torch = require_torch()
    threads = options.threads[0]
    torch.set_num_threads(threads)
    if not options.fresh_memory:
        keep_freed_memory()
    reps, seconds, pause = (3, 1.0, 0.01) if options.quick else (options.reps, options.seconds, options.pause)
    with Kernels(options.backend) as kernels:
        kernels.set_num_threads(threads)
        for case in chosen:
            yield {"begins": case.name}
            result = about(case, threads)
            try:
                pair = case.build(kernels, torch)
                with pair.around:
                    result.update(measure(pair, reps, seconds, pause))
                result["state"] = state_of(result)
            except NotBuiltError as error:
                result.update(state="not built", message=str(error))
            except Exception as error:  # one broken kernel must not cost the figures of all others
                result.update(state="failed", message=f"{type(error).__name__}: {error}".splitlines()[0])
            yield result


def processor() -> str:
    """What the kernels are compiled for."""
    target = importlib.import_module("minilm_kernels.cpu.target")
    return f"{target.TARGET.name}{' and a matrix unit' if target.MATRIX_UNIT else ''}"


def about(case: Case, threads: int) -> dict[str, Any]:
    return {
        "group": case.group, "name": case.name, "threads": threads, "floor": case.floor, "aim": case.aim,
        "machine": f"{machine.headline(threads)}, {processor()}",
    }  # fmt: skip


# --- showing ----------------------------------------------------------------------------------------------------------


def state_of(result: dict[str, Any]) -> str:
    if not result["difference"] <= TOLERANCE[result["dtype"]]:
        return "DIFFERS"
    low, high = sorted((result["ratio"], result["ratio_of_fastest"]))
    if high > NOISE * low:
        return "noisy"
    if result["floor"] is not None and result["ratio"] < result["floor"]:
        return "BELOW"
    return "aim" if result["aim"] is not None and result["ratio"] >= result["aim"] else ""


def table_of(results: Sequence[dict[str, Any]]) -> list[list[str]]:
    return [HEAD, *map(cells, results)]


def cells(result: dict[str, Any]) -> list[str]:
    """One line of the table."""
    floor, aim = ("" if value is None else f"{value:.2f}" for value in (result["floor"], result["aim"]))
    if "seconds" not in result:
        return [result["name"], "", "", "", "", "", floor, aim, result["state"], "", ""]
    other, mine = (f"{1e3 * statistics.median(result['seconds'][who]):.3f}" for who in ("torch", "ours"))
    ratios = [f"{result[name]:.2f}" for name in ("ratio", "ratio_of_fastest")]
    calls = str(len(result["seconds"]["ours"]))
    return [
        result["name"], result["against"], other, mine, *ratios, floor, aim, result["state"],
        f"{result['difference']:.0e}", calls,
    ]  # fmt: skip


def summary(results: Sequence[dict[str, Any]]) -> str:
    """How many reached their floor, what failed and why, and the mean ratio of each group."""
    measured = [result for result in results if "seconds" in result]
    lines = []
    promised = [result["state"] for result in measured if result["floor"] is not None]
    if promised:
        aimed = promised.count("aim")
        reached = aimed + promised.count("")
        lines.append(f"{reached} of {len(promised)} at or above their floor, {aimed} of them at their aim")
    noisy = sum(result["state"] == "noisy" for result in measured)
    if noisy:
        lines.append(f"{noisy} noisy, not judged: measure again while nothing else runs")
    for group in GROUPS:
        ratios, fastest = (
            [result[kind] for result in measured if result["group"] == group] for kind in ("ratio", "ratio_of_fastest")
        )
        if ratios:
            promise = " (floor 0.95, aim 1.00)" if group == "linear" and promised else ""
            lines.append(
                f"{group}: mean ratio {statistics.mean(ratios):.2f}{promise}, smallest {min(ratios):.2f}; "
                f"of the fastest calls {statistics.mean(fastest):.2f} and {min(fastest):.2f}"
            )
    missing = sorted({result["message"] for result in results if result["state"] == "not built"})
    if missing:
        count = sum(result["state"] == "not built" for result in results)
        lines.append(f"{count} not measured, because these kernels are not built: {', '.join(missing)}")
    lines += [f"FAILED: {result['name']}: {result['message']}" for result in results if result["state"] == "failed"]
    return "\n".join(lines)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """The table for a Markdown file; BELOW and the like in bold."""
    lines = [" | ".join(f"**{cell}**" if cell in MARKED else cell for cell in row) for row in rows]
    lines.insert(1, " | ".join("---" if i == 0 else "---:" for i in range(len(rows[0]))))
    return "\n".join(f"| {line} |" for line in lines)
