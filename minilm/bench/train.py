"""Time one training step beside PyTorch's: forward, backward, clipping, AdamW, forgetting the gradients.

First 20 steps are taken with both, and compared. Each step starts from the same weights and batch: the loss and the
gradient of every parameter must agree to 1e-4 (a gradient's error is measured against its norm), and so must what AdamW
makes of them, the change of every parameter, to 1e-2. That is coarser because Adam divides a gradient by its own size:
where it is nearly zero, its rounding error decides about the sign of a full step. Over many steps these roundings add
up, in PyTorch as in ours; `--free-run` shows how far the two drift apart when each goes its own way from the first
weights. (For gpt2 the gradients of PyTorch's float32 run drift to 2e-4 from those of its own float64 run in 20 steps.)

Only then are both timed, in one process and in turns, so that whatever else the machine does hits both alike; only the
ratio means much, the milliseconds depend on the hour.

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
import math
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from minilm.bench import machine, profile
from minilm.bench.engines import Engine, MinilmEngine, TorchEngine
from minilm.bench.recipes import RECIPES, USUAL, Recipe
from minilm.devices import check_cuda
from minilm.errors import InputError

# of losses and gradients, and of what the optimizer makes of them; 16 bits have 8 of a number's 24 binary digits, and where
# a gradient is mostly their rounding, Adam's first steps go elsewhere by their whole length
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}
CHANGE_TOLERANCE = {"float32": 1e-2, "bfloat16": 1.0}
STEPS = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if the two engines disagree."""
    argv = list(sys.argv[1:] if argv is None else argv)
    options = make_parser().parse_args(argv)
    if options.device == "cpu" and options.precision != "float32":
        raise InputError("on the CPU minilm computes in float32; leave --precision out, or give --device cuda")
    if options.device != "cpu":
        check_cuda()
        if options.profile:
            raise InputError("--profile says where a step on the CPU goes; leave it out, or leave --device out")
    code = machine.in_child("train", argv, options.threads)
    if code is not None:
        return code
    results, agree = {}, True
    for name in options.recipe or USUAL:
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
        "--recipe",
        action="append",
        choices=list(RECIPES),
        help="what to train; may be repeated (default: char, char-big, gpt2)",
    )
    options.add_argument(
        "--steps", type=machine.positive, help="timed steps per engine (default: as many as the recipe says, 4 to 100)"
    )
    options.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where both compute (default: cpu)")
    options.add_argument(
        "--precision",
        choices=list(TOLERANCE),
        default="float32",
        help="on a GPU also bfloat16, with float32 weights for both (default: float32)",
    )
    options.add_argument("--pause", type=float, default=0.1, help="seconds of rest between turns (default: 0.1)")
    options.add_argument("--only", choices=["minilm", "torch"], help="time one engine alone, without the comparison")
    options.add_argument("--no-check", action="store_true", help="skip the 20 steps that compare losses and gradients")
    options.add_argument("--free-run", action="store_true", help="compare two runs that share only the first weights")
    options.add_argument(
        "--profile", action="store_true", help="show where a step of minilm goes instead; does not need PyTorch"
    )
    return options


def run(recipe: Recipe, options: argparse.Namespace) -> dict[str, Any]:
    """Check and time one recipe, print both, return the figures."""
    place = {"device": options.device, "precision": options.precision}
    ours = MinilmEngine(recipe, **place) if options.only != "torch" else None
    theirs = TorchEngine(recipe, options.threads, like=ours, **place) if options.only != "minilm" else None
    print(
        machine.headline(options.threads)
        + (f", {options.device}, {options.precision}" if ours and ours.device != "cpu" else "")
    )
    results: dict[str, Any] = {}
    if ours and theirs and not options.no_check:
        results = check(recipe, ours, theirs, free_run=options.free_run, precision=options.precision)
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


def check(
    recipe: Recipe,
    ours: MinilmEngine,
    theirs: TorchEngine,
    steps: int = STEPS,
    free_run: bool = False,
    precision: str = "float32",
) -> dict[str, Any]:
    """Take `steps` steps with both engines and compare losses, gradients and changes of the weights; prints a table.

    Before every step PyTorch gets our weights, unless free_run; then the changes are not compared.
    """
    tolerance, change_tolerance = TOLERANCE[precision], CHANGE_TOLERANCE[precision]
    schedule, batches = recipe.schedule(), recipe.random_batches(seed=1)
    rows = [["step", "loss of minilm", "of PyTorch", "relative error", "gradients, worst", "where", "changes, worst"]]
    worst = {"loss": 0.0, "gradient": 0.0, "change": 0.0}
    for step in range(steps):
        inputs, targets = next(batches)
        if not free_run:
            theirs.take_weights(ours)
        mine, other = ours.forward_backward(inputs, targets), theirs.forward_backward(inputs, targets)
        where, gradient_error = worst_difference(ours.gradients(), theirs.gradients())
        before = {} if free_run else {name: weight.copy() for name, weight in ours.weights().items()}
        lr = recipe.lr * schedule(step)
        ours.update(lr)
        theirs.update(lr)
        changes = ({name: engine.weights()[name] - w for name, w in before.items()} for engine in (ours, theirs))
        errors = {
            "loss": abs(mine - other) / abs(other),
            "gradient": gradient_error,
            "change": 0.0 if free_run else worst_difference(*changes)[1],
        }
        worst = {name: larger(worst[name], error) for name, error in errors.items()}
        if step in (0, 1, 2, 4, 9, 14) or step == steps - 1:
            shown = [f"{error:.1e}" for error in errors.values()]
            row = [str(step + 1), f"{mine:.6f}", f"{other:.6f}", shown[0], shown[1], where]
            rows.append([*row, "" if free_run else shown[2]])
    agree = max(worst["loss"], worst["gradient"]) <= tolerance and worst["change"] <= change_tolerance
    print(machine.table(rows))
    print(
        f"worst of {steps} steps: loss {worst['loss']:.1e}, gradient {worst['gradient']:.1e} of its norm (allowed "
        f"{tolerance:.0e})"
        + ("" if free_run else f", change {worst['change']:.1e} of its norm (allowed {change_tolerance:.0e})")
        + f": {'they agree' if agree else 'THEY DO NOT AGREE'}"
    )
    return {"agree": agree, **{f"worst_{name}": error for name, error in worst.items()}}


def worst_difference(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> tuple[str, float]:
    """The name whose two arrays differ most, and how much: ‖ours − theirs‖ / ‖theirs‖. A NaN counts as infinite."""
    if set(ours) != set(theirs):
        raise RuntimeError(f"only one engine has {sorted(set(ours) ^ set(theirs))}")
    worst, where = -1.0, ""
    for name, array in theirs.items():
        error = float(np.linalg.norm(ours[name] - array)) / (float(np.linalg.norm(array)) or 1.0)
        if not error <= worst:
            worst, where = larger(error, 0.0), name
    return where, worst


def larger(a: float, b: float) -> float:
    """max(a, b), where a NaN is larger than everything."""
    return math.inf if math.isnan(a) or math.isnan(b) else max(a, b)


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
