"""Learning-rate schedules as transformers has them: the first step of a warm-up has learning rate 0."""

from __future__ import annotations

import math

from minilm.optim.schedules import Schedule


def trainer_schedule(name: str, warmup_steps: int, total_steps: int) -> Schedule:
    """factor(step) = step/w during the w steps of the warm-up; then, with p the share of the other steps that is done,

    linear: 1 − p    cosine: ½ (1 + cos π p)    constant_with_warmup: 1    constant: 1 from the first step on, without warm-up
    """

    def factor(step: int) -> float:
        if name == "constant":
            return 1.0
        if step < warmup_steps:
            return step / max(1, warmup_steps)
        if name == "constant_with_warmup":
            return 1.0
        p = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return max(0.0, 1 - p) if name == "linear" else max(0.0, 0.5 * (1 + math.cos(math.pi * p)))

    return factor
