"""The peak memory of a training step, beside PyTorch's.

Each engine and recipe gets a process of its own: it builds the model and its optimizer, takes a few steps on random
tokens, and reports the most memory that was ever resident (VmHWM of /proc/self/status, or what getrusage says). The
column "before" is the same figure after the imports alone, "step" is the difference: weights, gradients, the optimizer's
two moments, and what forward leaves for backward. "floor" is what no engine can do without: four numbers for each
parameter.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minilm.bench import machine
from minilm.bench.recipes import RECIPES, USUAL, Recipe
from minilm.errors import InputError

MIB = 1 << 20
STEPS = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; always 0, the figures speak."""
    argv = list(sys.argv[1:] if argv is None else argv)
    options = make_parser().parse_args(argv)
    if options.child:
        print(json.dumps(measure(RECIPES[options.recipe[0]], options.engine, options.threads)))
        return 0
    engines = ["minilm", "torch"] if options.engine == "both" else [options.engine]
    if "torch" in engines:
        from minilm.bench.torch_gpt import require_torch

        require_torch()
    results: dict[str, dict[str, dict[str, int]]] = {}
    rows = [["MiB", "before", "peak", "step", "floor"]]
    for name in options.recipe or USUAL:
        results[name] = {engine: in_process(name, engine, options.threads) for engine in engines}
        for engine, figures in results[name].items():
            step = figures["peak"] - figures["before"]
            values = [figures["before"], figures["peak"], step, figures["floor"]]
            rows.append([f"{name}, {engine}", *(f"{value / MIB:.0f}" for value in values)])
    print(machine.headline(options.threads))
    print(machine.table(rows))
    machine.write_json(options.json, "memory", argv, results)
    return 0


def make_parser() -> argparse.ArgumentParser:
    options = machine.parser("memory", __doc__ or "")
    machine.add_threads(options)
    options.add_argument(
        "--recipe",
        action="append",
        choices=list(RECIPES),
        help="what to train; may be repeated (default: char, char-big, gpt2)",
    )
    options.add_argument("--engine", choices=["minilm", "torch", "both"], default="both", help="default: both")
    options.add_argument("--child", action="store_true", help=argparse.SUPPRESS)  # measure here, print JSON
    return options


def in_process(recipe: str, engine: str, threads: int) -> dict[str, int]:
    """Measure in a fresh process."""
    command = [sys.executable, "-m", "minilm.bench", "memory", "--child", "--recipe", recipe, "--engine", engine]
    command += ["--threads", str(threads)]
    done = subprocess.run(command, env=machine.environment(threads), stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise InputError(f"the {engine} step of {recipe} ended with exit code {done.returncode}; see its message above")
    return json.loads(done.stdout)


def measure(recipe: Recipe, engine_name: str, threads: int) -> dict[str, int]:
    """Bytes: peak before anything was built, peak after a few training steps, and 16 bytes per parameter."""
    from minilm.bench.engines import MinilmEngine, TorchEngine

    if engine_name == "torch":
        from minilm.bench.torch_gpt import require_torch

        require_torch()
    before = peak_memory()
    engine: Any = MinilmEngine(recipe) if engine_name == "minilm" else TorchEngine(recipe, threads)
    batches = recipe.random_batches(seed=1)
    for _ in range(STEPS):
        engine.step(*next(batches), lr=recipe.lr)
    parameters = sum(p.numel() for p in engine.model.parameters())
    return {"before": before, "peak": peak_memory(), "floor": 16 * parameters}


def forget_peak() -> bool:
    """Let the peak of resident memory start again from what is resident now (Linux); False where that is not possible."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_memory() -> int:
    """The most bytes of memory this process ever had resident."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError as error:
        raise InputError("this system does not tell a process its peak memory; measure on Linux or macOS") from error
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
