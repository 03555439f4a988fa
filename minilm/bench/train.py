"""Time one training step beside PyTorch's: forward, backward, clipping, AdamW, forgetting the gradients.

First both engines start from the same weights and take 20 steps on the same batches, and every loss and every
parameter's gradient must agree to 1e-4 (a gradient's error is measured against its norm). Only then are they timed, in
one process and in turns, so that whatever else the machine does hits both alike; only the ratio of the two medians
means much, the milliseconds depend on the hour.

Two thread pools on the same cores need care. A pool that has just finished spins for a while before it sleeps:
OpenBLAS's threads for about 2^26 clock ticks, those of PyTorch's OpenMP for a few hundred thousand turns of a loop. An
engine that begins while the other's threads still spin has to share the cores with them. The usual remedy is to forbid
the spinning (OPENBLAS_THREAD_TIMEOUT=4, OMP_WAIT_POLICY=passive), but then each product has to wake its threads, which
it need not do in an ordinary run: on two cores that made PyTorch's small step half as slow again, and ours a tenth. So
both keep their own settings, and between two turns there is a pause (--pause) in which everything falls asleep.
`--only minilm` and `--only torch` show that each then has the speed that it has alone in a process. A turn is several
steps, because the first one after a pause wakes the threads; the engine that goes first changes from round to round.

For the same reason a busy machine spoils both: threads that spin while they wait for one that the system has put aside
lose whole time slices, and a step can take ten times as long. Look at the load in the headline; the fastest steps say
more then than the medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from minilm.bench import machine, profile
from minilm.bench.engines import Engine, MinilmEngine, TorchEngine
from minilm.bench.recipes import RECIPES, Recipe

TOLERANCE = 1e-4
STEPS = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if the two engines disagree."""
    argv = list(sys.argv[1:] if argv is None else argv)
    options = make_parser().parse_args(argv)
    code = machine.in_child("train", argv, options.threads)
    if code is not None:
        return code
    results, agree = {}, True
    for name in options.recipe or RECIPES:
        recipe = RECIPES[name]
        print(f"\n{recipe.name}: {recipe.title}")
        if options.profile:
            results[name] = profile.report(recipe, options.steps or recipe.timed_steps // 5 + 1)
            continue
        results[name] = run(recipe, options)
        agree = agree and results[name].get("agree", True)
    machine.write_json(options.json, "train", argv, results)
    return 0 if agree else 1


def make_parser() -> argparse.ArgumentParser:
    options = machine.parser("train", __doc__ or "")
    machine.add_threads(options)
    options.add_argument(
        "--recipe", action="append", choices=list(RECIPES), help="what to train; may be repeated (default: all three)"
    )
    options.add_argument("--steps", type=machine.positive, help="timed steps per engine (default: 100, 20 and 6)")
    options.add_argument("--pause", type=float, default=0.1, help="seconds of rest between turns (default: 0.1)")
    options.add_argument("--only", choices=["minilm", "torch"], help="time one engine alone, without the comparison")
    options.add_argument("--no-check", action="store_true", help="skip the 20 steps that compare losses and gradients")
    options.add_argument(
        "--profile", action="store_true", help="show where a step of minilm goes instead; does not need PyTorch"
    )
    return options


def run(recipe: Recipe, options: argparse.Namespace) -> dict[str, Any]:
    """Check and time one recipe, print both, return the figures."""
    ours = MinilmEngine(recipe) if options.only != "torch" else None
    theirs = (
        TorchEngine(recipe, options.threads, like=ours.model if ours else None) if options.only != "minilm" else None
    )
    print(machine.headline(options.threads))
    results: dict[str, Any] = {}
    if ours and theirs and not options.no_check:
        results = check(recipe, ours, theirs)
    engines = [engine for engine in (ours, theirs) if engine]
    times = time_steps(recipe, engines, options.steps or recipe.timed_steps, options.pause)
    rows = [["ms per step", "median", "fastest", "slowest", "steps"]]
    for name, values in times.items():
        figures = [f"{1e3 * f(values):.1f}" for f in (statistics.median, min, max)]
        rows.append([name, *figures, str(len(values))])
    print(machine.table(rows))
    results["seconds"] = times
    if len(times) == 2:
        results["ratio"] = statistics.median(times["PyTorch"]) / statistics.median(times["minilm"])
        results["ratio_of_fastest"] = min(times["PyTorch"]) / min(times["minilm"])
        print(
            f"PyTorch's time ÷ ours: {results['ratio']:.2f} for the medians, {results['ratio_of_fastest']:.2f} for the "
            "fastest steps (above 1, ours is faster)"
        )
    return results


# --- do both compute the same? ----------------------------------------------------------------------------------------


def check(recipe: Recipe, ours: MinilmEngine, theirs: TorchEngine, steps: int = STEPS) -> dict[str, Any]:
    """Take `steps` steps with both engines and compare every loss and gradient; prints a table.

    Each goes its own way from the common start, so errors of early steps are carried on into the later ones.
    """
    schedule, batches = recipe.schedule(), recipe.random_batches(seed=1)
    rows = [["step", "loss of minilm", "loss of PyTorch", "relative error", "gradients, worst", "where"]]
    worst_loss = worst_gradient = 0.0
    for step in range(steps):
        inputs, targets = next(batches)
        mine, other = ours.forward_backward(inputs, targets), theirs.forward_backward(inputs, targets)
        where, gradient_error = compare_gradients(ours.gradients(), theirs.gradients())
        loss_error = abs(mine - other) / abs(other)
        worst_loss, worst_gradient = max(worst_loss, loss_error), max(worst_gradient, gradient_error)
        if step in (0, 1, 2, 4, 9, 14) or step == steps - 1:
            row = [str(step + 1), f"{mine:.6f}", f"{other:.6f}", f"{loss_error:.1e}", f"{gradient_error:.1e}", where]
            rows.append(row)
        lr = recipe.lr * schedule(step)
        ours.update(lr)
        theirs.update(lr)
    agree = bool(worst_loss <= TOLERANCE and worst_gradient <= TOLERANCE)  # a NaN does not agree either
    print(machine.table(rows))
    print(
        f"worst of {steps} steps: loss {worst_loss:.1e}, gradient {worst_gradient:.1e} of its norm; "
        f"allowed {TOLERANCE:.0e}: {'they agree' if agree else 'THEY DO NOT AGREE'}"
    )
    return {"agree": agree, "worst_loss": worst_loss, "worst_gradient": worst_gradient}


def compare_gradients(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> tuple[str, float]:
    """The parameter whose gradients differ most, and that error: ‖ours − theirs‖ / ‖theirs‖."""
    if set(ours) != set(theirs):
        raise RuntimeError(f"only one engine has a gradient for {sorted(set(ours) ^ set(theirs))}")
    worst, where = -1.0, ""
    for name, gradient in theirs.items():
        norm = float(np.linalg.norm(gradient))
        error = float(np.linalg.norm(ours[name] - gradient)) / (norm or 1.0)
        if not error <= worst:  # a NaN is the worst of all
            worst, where = error, name
    return where, worst


# --- how long do they take? -------------------------------------------------------------------------------------------


def time_steps(recipe: Recipe, engines: Sequence[Engine], steps: int, pause: float) -> dict[str, list[float]]:
    """Seconds of each of `steps` steps per engine, taken in turns of recipe.block steps with a pause before each turn."""
    batches, schedule = recipe.random_batches(seed=2), recipe.schedule()
    times: dict[str, list[float]] = {engine.name: [] for engine in engines}
    for engine in engines:  # warm up: memory, thread pools, the optimizer's state
        for _ in range(2):
            engine.step(*next(batches), lr=recipe.lr * schedule(0))
    first = 0
    while any(len(values) < steps for values in times.values()):
        for turn in range(len(engines)):
            engine = engines[(first + turn) % len(engines)]
            time.sleep(pause)
            for _ in range(min(recipe.block, steps - len(times[engine.name]))):
                batch = next(batches)
                start = time.perf_counter()
                engine.step(*batch, lr=recipe.lr)
                times[engine.name].append(time.perf_counter() - start)
        first += 1
    return times
