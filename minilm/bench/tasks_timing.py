"""How long a training step takes with each engine, in turns, on the same batches.

A step is forward, backward, clipping, AdamW and forgetting the gradients; making the batch is not part of it, because both
get the same one. Batches of a task differ in length, so each is given to both engines, and the medians are over the same
batches. Pauses and turns as in `minilm.bench.train`, whose text says why.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import minilm_kernels as kernels
from minilm.bench.torch_tasks import TransformersPartner, learning_rates
from minilm.memory import keep_freed_memory
from minilm.training import Trainer
from minilm.training.threads import limited_threads

WARM_UP = 3  # steps: memory, thread pools, the optimizer's state
TURN = 4  # steps, before the other engine has its turn


class StepTimes(NamedTuple):
    """Seconds of each step with either engine, and what they come to."""

    minilm: list[float]
    transformers: list[float]

    @property
    def ratio(self) -> float:
        """transformers' median ÷ minilm's: above 1, minilm is faster."""
        return statistics.median(self.transformers) / statistics.median(self.minilm)

    @property
    def medians(self) -> tuple[float, float]:
        """minilm's and transformers' median step in seconds."""
        return statistics.median(self.minilm), statistics.median(self.transformers)


def time_steps(trainer: Trainer, partner: TransformersPartner, steps: int, pause: float = 0.1) -> StepTimes:
    """Time `steps` steps of each engine. The Trainer must be prepared; the weights of both change."""
    keep_freed_memory()
    batches = distinct_batches(trainer, WARM_UP + steps)
    rate = learning_rates(trainer)(trainer.max_steps // 2)
    partner.model.train()
    own_blas = (
        1 if kernels.active() == "numba" else None
    )  # as Trainer.train does: the kernels have threads of their own
    times: tuple[list[float], list[float]] = ([], [])
    blocks = [batches[:WARM_UP], *(batches[i : i + TURN] for i in range(WARM_UP, len(batches), TURN))]
    for turn, block in enumerate(blocks):
        for engine in (turn % 2, 1 - turn % 2):
            time.sleep(pause)
            step = partner.step if engine else partial(minilm_step, trainer)
            with limited_threads(own_blas if engine == 0 else None):
                taken = [seconds(step, batch, rate) for batch in block]
            if turn > 0:
                times[engine].extend(taken)
    return StepTimes(*times)


def seconds(step: Callable[..., Any], batch: dict[str, Any], rate: float) -> float:
    """How long one step takes."""
    start = time.perf_counter()
    step(batch, rate)
    return time.perf_counter() - start


def distinct_batches(trainer: Trainer, count: int) -> list[dict[str, Any]]:
    """The next batches, over as many epochs as it takes; their lengths are those of the training."""
    batches: list[dict[str, Any]] = []
    while len(batches) < count:
        batches += [batch for batch, _ in trainer.next_batches()]
    return batches[:count]


def minilm_step(trainer: Trainer, batch: dict[str, Any], rate: float) -> float:
    """What a Trainer does in one step, without logs; returns the loss."""
    trainer.model.train()
    for group in trainer.optimizer.param_groups:
        group["lr"] = rate
    loss = trainer.batch_loss(batch)
    value = float(loss.item())
    loss.backward()
    trainer.optimizer.clip_grad_norm(trainer.max_grad_norm or None)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    return value
