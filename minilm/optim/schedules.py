"""Learning-rate schedules: a factor between 0 and 1 for every step, and the object that applies it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from minilm.optim.optimizers import Optimizer

Schedule = Callable[[int], float]


def constant() -> Schedule:
    """factor(step) = 1."""
    return lambda step: 1.0


def warmup_linear(warmup_steps: int, total_steps: int, final: float = 0.0) -> Schedule:
    """Up from 0 in a straight line over the warm-up, then down in a straight line to `final` at the last step."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        return final + (1 - final) * (1 - _progress(step, warmup_steps, total_steps))

    return factor


def warmup_cosine(warmup_steps: int, total_steps: int, final: float = 0.0) -> Schedule:
    r"""Up in a straight line over the warm-up, then final + (1 − final) ½ (1 + cos π p), p the progress from 0 to 1.

    [Loshchilov & Hutter 2017; nanoGPT's recipe]    [eq:warmup-cosine]
    """

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * _progress(step, warmup_steps, total_steps)))

    return factor


def _progress(step: int, warmup_steps: int, total_steps: int) -> float:
    return min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))


SCHEDULES: dict[str, Callable[..., Schedule]] = {"linear": warmup_linear, "cosine": warmup_cosine}


def make_schedule(name: str, warmup_steps: int, total_steps: int, final: float = 0.0) -> Schedule:
    """The schedule called "constant", "linear" or "cosine"."""
    if name == "constant":
        return warmup_linear(warmup_steps, total_steps, 1.0)
    if name not in SCHEDULES:
        raise ValueError(f"unknown schedule {name!r}; choose constant, linear or cosine")
    return SCHEDULES[name](warmup_steps, total_steps, final)


class LRScheduler:
    """Sets each group's lr to its initial lr times schedule(step).

    Made after the optimizer; call step() once after every optimizer.step(), as in PyTorch.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule):
        self.optimizer, self.schedule = optimizer, schedule
        self.base_lrs = [group["lr"] for group in optimizer.param_groups]
        self.last_step = 0
        self._apply()

    def step(self) -> None:
        self.last_step += 1
        self._apply()

    def get_last_lr(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def _apply(self) -> None:
        for group, base in zip(self.optimizer.param_groups, self.base_lrs):
            group["lr"] = base * self.schedule(self.last_step)

    def state_dict(self) -> dict[str, Any]:
        return {"last_step": self.last_step, "base_lrs": self.base_lrs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.last_step, self.base_lrs = int(state["last_step"]), list(state["base_lrs"])
        self._apply()
