"""The extra memory of attention beside PyTorch's flash kernel: `minilm bench kernels memory`."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from minilm.bench import machine
from minilm.bench.kernel_pairs import Attention, Call, Kernels, NotBuiltError, attention_ours, attention_theirs
from minilm.bench.memory import MIB, forget_peak, peak_memory
from minilm.bench.torch_gpt import require_torch
from minilm.errors import InputError

EXPLANATION = (
    "extra peak memory of one call of attention, causal, float32, each in a fresh process: what was resident at the most "
    "during the call, less what was before, results included (forward: the output; backward: three gradients)"
)
SHARE = {"forward": (1.0, 1.0), "backward": (1.0, 1 / 3)}  # of PyTorch's: at most, and the aim


def spec_of(quick: bool) -> Attention:
    return Attention(1, 4, 512 if quick else 8192, 64, causal=True)


def compare(backend: str, quick: bool, threads: int) -> list[dict[str, Any]]:
    """Measure forward and backward of both, each in three processes of its own: a first one may have to compile."""
    results = []
    for direction, (most, aim) in SHARE.items():
        ours, theirs = (
            middle([in_process(engine, direction, backend, quick, threads) for _ in range(1 if quick else 3)])
            for engine in ("minilm", "torch")
        )
        result = {
            "group": "memory", "name": f"attention {direction} causal {spec_of(quick).shape}", "threads": threads,
            "against": theirs["against"], "torch": theirs["extra"], "extra": ours["extra"], "results": ours["results"],
            "most": most, "aim": aim, "state": "",
        }  # fmt: skip
        if ours["extra"] is None:
            result["state"] = "not built"
        elif ours["extra"] > most * theirs["extra"]:
            result["state"] = "ABOVE"
        elif ours["extra"] <= aim * theirs["extra"]:
            result["state"] = "aim"
        results.append(result)
    return results


def middle(figures: list[dict[str, Any]]) -> dict[str, Any]:
    """The measurement with the median of the extra memory."""
    return sorted(figures, key=lambda figure: figure["extra"] or 0)[len(figures) // 2]


def in_process(engine: str, direction: str, backend: str, quick: bool, threads: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "minilm.bench", "kernels", "--child-memory", engine, direction]
    command += ["--backend", backend, "--threads", str(threads), *(["--quick"] if quick else [])]
    done = subprocess.run(command, env=machine.environment(threads), stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise InputError(
            f"measuring the {direction} pass of {engine} ended with exit code {done.returncode}; see above"
        )
    return json.loads(done.stdout)


def measure(engine: str, direction: str, backend: str, quick: bool, threads: int) -> dict[str, Any]:
    """Bytes: what a call needs beyond what was resident, and the size of its results. None for both if it is not built.

    One call on small inputs first: it compiles, and starts the threads. It is made by a Python thread of its own, so that
    memory which the kernels keep for their next call from the same thread still counts in the one that is measured.
    """
    if engine == "torch":
        torch = require_torch()
        torch.set_num_threads(threads)

        def extra(spec: Attention) -> dict[str, Any]:
            call, opponent, around = attention_theirs(direction, spec, torch)
            with around:
                return {**extra_of(call), "against": opponent}
    else:

        def extra(spec: Attention) -> dict[str, Any]:
            with Kernels(backend) as kernels:
                kernels.set_num_threads(threads)
                return {**extra_of(attention_ours(direction, spec, kernels)), "against": backend}

    try:
        with ThreadPoolExecutor(1) as one:
            one.submit(extra, Attention(1, 4, 256, 64, causal=True)).result()
        return extra(spec_of(quick))
    except NotBuiltError:
        return {"extra": None, "results": None, "against": backend}


def extra_of(call: Call) -> dict[str, int | None]:
    """Bytes that one call needs beyond what was resident before, and the size of its results."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # give back what was freed, or the call could use it unseen
    forget_peak()
    before = peak_memory()
    results = call()
    return {"extra": peak_memory() - before, "results": sum(result.nbytes for result in results)}


def rows(results: list[dict[str, Any]]) -> list[list[str]]:
    table = [["MiB", "against", "PyTorch", "ours", "results alone", "ours ÷ PyTorch's", "at most", "aim", ""]]
    for result in results:
        sizes = ["" if result[name] is None else f"{result[name] / MIB:.2f}" for name in ("torch", "extra", "results")]
        share = f"{result['extra'] / result['torch']:.2f}" if result["extra"] is not None and result["torch"] else ""
        limits = [f"{result[name]:.2f}" for name in ("most", "aim")]
        table.append([result["name"], result["against"], *sizes, share, *limits, result["state"]])
    return table
