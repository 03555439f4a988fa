"""Where a training step of minilm goes, and what the tape costs.

Every recorded operation passes two places: its Node is made when its forward array work is done, and its closure is
called when its backward turn comes. The profile puts a stopwatch at both. What lies between two Nodes is the forward work
of the second one, the time inside a closure is its backward work, and what remains of `backward()` (sorting, comparing
fingerprints, handing cotangents on) together with the making of the Nodes is the tape. Sums of cotangents that meet, and
the copy of a gradient into the optimizer's array, are array work and have their own line.

The stopwatch itself costs about half a millisecond per hundred operations, nearly all of it where the tape is measured.
It is taken off the tape's line: measured as the difference that it makes to the same model, with all its layers and
operations, shrunk to arrays of a few numbers.

The time of that shrunk model, without the stopwatch, is the second estimate below the table: all that does not depend
on the size of the arrays, which is the tape, the layers' Python, and NumPy's own cost per call, about a microsecond
each. (It is no strict bound: in a real step the large arrays drive Python's own data out of the cache.)
"""

from __future__ import annotations

import importlib
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from minilm import tape
from minilm.bench import machine
from minilm.bench.engines import MinilmEngine
from minilm.bench.recipes import Recipe

tensor: Any = importlib.import_module("minilm.tensor")  # the module; minilm.tensor itself is the function

LINES = {
    "products": ("linear", "matmul", "feed_forward"),  # with biases, activation and residual
    "attention": ("scaled_dot_product_attention", "self_attention"),
    "activation": ("gelu", "relu", "silu", "silu_mul", "tanh"),  # where they stand alone
    "norms": ("layer_norm", "rms_norm"),
    "loss": ("cross_entropy",),
    "embedding": ("embedding",),
    "residual sums": ("add", "bias_residual_dropout"),  # where linear has not added them
}
LINE_OF = {operation: line for line, operations in LINES.items() for operation in operations}
OTHER, MEETING, OPTIMIZER, TAPE = "views and other", "adding gradients", "clip and AdamW", "tape"
ORDER = [*LINES, OTHER, MEETING, OPTIMIZER, TAPE]


class Stopwatch:
    """Seconds per line and direction, for one step."""

    def __init__(self) -> None:
        self.forward: dict[str, float] = defaultdict(float)
        self.backward: dict[str, float] = defaultdict(float)
        self.mark = 0.0  # when the tape last handed control back

    def begin(self) -> None:
        self.mark = time.perf_counter()

    def total(self) -> float:
        return sum(self.forward.values()) + sum(self.backward.values())


def line_of(operation: str) -> str:
    return LINE_OF.get(operation, OTHER)


@contextmanager
def instrumented(watch: Stopwatch) -> Iterator[None]:
    """Let every Node that is made in this block report to `watch`."""

    class WatchedNode(tape.Node):
        __slots__ = ()

        def __init__(self, shape: Any, dtype: Any, parents: Any, backward: Callable, adds_to_first: bool = False):
            reached = time.perf_counter()
            super().__init__(shape, dtype, parents, backward, adds_to_first)
            line = line_of(self.name)

            def timed(*cotangent: Any) -> Any:
                start = time.perf_counter()
                cotangents = backward(*cotangent)
                watch.backward[line] += time.perf_counter() - start
                return cotangents

            self.backward = timed
            watch.forward[line] += reached - watch.mark
            watch.begin()
            watch.forward[TAPE] += watch.mark - reached

        def receive(self, cotangent: Any) -> None:
            start = time.perf_counter()
            meets = self.cotangent is not None or isinstance(cotangent, tape.Partial)
            super().receive(cotangent)
            if meets:
                watch.backward[MEETING] += time.perf_counter() - start

    def accumulate_leaf(leaf: Any, cotangent: Any) -> None:
        start = time.perf_counter()
        original(leaf, cotangent)
        watch.backward[MEETING] += time.perf_counter() - start

    original, node = tensor.accumulate_leaf, tensor.Node
    tensor.Node, tensor.accumulate_leaf = WatchedNode, accumulate_leaf
    try:
        yield
    finally:
        tensor.Node, tensor.accumulate_leaf = node, original


def profiled_step(engine: MinilmEngine, inputs: Any, targets: Any) -> Stopwatch:
    """One whole step, with the time of every part."""
    watch = Stopwatch()
    with instrumented(watch):
        watch.begin()
        _, loss = engine.model(inputs, targets)
        start = time.perf_counter()
        loss.backward()
        watch.backward[TAPE] = time.perf_counter() - start - sum(watch.backward.values())
        start = time.perf_counter()
        engine.update(engine.recipe.lr)
        watch.forward[OPTIMIZER] = time.perf_counter() - start
    return watch


def plain_step(engine: MinilmEngine, inputs: Any, targets: Any) -> float:
    start = time.perf_counter()
    engine.step(inputs, targets, engine.recipe.lr)
    return time.perf_counter() - start


def shrunk(recipe: Recipe) -> Recipe:
    """The same layers and operations on arrays of a few numbers."""
    heads = recipe.model.num_heads
    tiny = replace(recipe.model, vocab_size=2, context_length=2, hidden_size=heads, intermediate_size=heads)
    return replace(recipe, model=tiny, batch_size=1)


def small_step(recipe: Recipe, steps: int = 50) -> tuple[float, float]:
    """Milliseconds of a step of the shrunk model, and what the stopwatch adds to it (medians)."""
    engine = MinilmEngine(shrunk(recipe))
    batches = engine.recipe.random_batches(seed=1)
    plain, watched = [], []
    for _ in range(steps):
        plain.append(plain_step(engine, *next(batches)))
        start = time.perf_counter()
        profiled_step(engine, *next(batches))
        watched.append(time.perf_counter() - start)
    before, after = 1e3 * statistics.median(plain), 1e3 * statistics.median(watched)
    return before, max(0.0, after - before)


def report(recipe: Recipe, steps: int) -> dict[str, Any]:
    """Profile `steps` steps of a recipe, print the table of medians, return the figures in milliseconds."""
    engine, batches = MinilmEngine(recipe), recipe.random_batches(seed=1)
    for _ in range(2):
        engine.step(*next(batches), lr=recipe.lr)
    plain, watches = [], []
    for _ in range(steps):  # in turns, so that both see the same machine
        plain.append(plain_step(engine, *next(batches)))
        watches.append(profiled_step(engine, *next(batches)))
    small, stopwatch = small_step(recipe)

    def median(read: Callable[[Stopwatch], float]) -> float:
        return 1e3 * statistics.median(map(read, watches))

    whole = max(median(Stopwatch.total) - stopwatch, 1e-9)
    figures = {
        line: (median(lambda w: w.forward.get(line, 0.0)), median(lambda w: w.backward.get(line, 0.0)))  # noqa: B023  called at once
        for line in ORDER
    }
    forward, backward = figures[TAPE]
    net = max(0.0, 1 - stopwatch / (forward + backward))
    figures[TAPE] = (net * forward, net * backward)
    rows = [["ms per step", "forward", "backward", "both", "share"]]
    for line, (forward, backward) in figures.items():
        both = forward + backward
        if not both:
            continue
        rows.append([line, f"{forward:.2f}", f"{backward:.2f}", f"{both:.2f}", f"{both / whole:.1%}"])
    print(machine.headline())
    print(machine.table(rows))
    step = 1e3 * statistics.median(plain)
    print(f"whole step {whole:.1f} ms by the stopwatch, {step:.1f} ms without it (medians of {steps})")
    print(f"the same step on arrays of a few numbers: {small:.2f} ms, {small / step:.1%} of this one")
    return {"lines": figures, "profiled_ms": whole, "step_ms": step, "shrunk_step_ms": small, "stopwatch_ms": stopwatch}
