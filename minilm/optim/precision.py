"""Mixed precision: the model computes in 16 bits, the optimizer in float32.    [Micikevicius et al. 2018]

optimizer.compute_in("float16")        p.data and p.grad are 16-bit now; the weights that steps change stay float32
scaler = LossScaler()                  float16 only: bfloat16 has the range of float32
(loss * scaler.scale).backward()
norm = optimizer.clip_grad_norm(1.0, scaler.scale)
if scaler.update(math.isfinite(norm)):
    optimizer.step()
"""

from __future__ import annotations

from typing import Any

from minilm.errors import InputError

PRECISIONS = ("float32", "bfloat16", "float16")
LARGEST, SMALLEST = 2.0**24, 2.0**-14


class LossScaler:
    """A factor that keeps small gradients above float16's smallest number, 6e-8.

    Where a gradient overflows, the step is left out and the factor halved; after `growth_interval` steps without that it is
    doubled. Powers of two change no other bit of a number.
    """

    def __init__(self, scale: float = 2.0**16, growth_interval: int = 2000):
        self.scale, self.growth_interval = scale, growth_interval
        self.good_steps = 0  # since the factor last changed
        self.skipped_steps = 0

    def update(self, finite: bool) -> bool:
        """Take note whether a step's gradients were finite; returns it: whether the step shall be made."""
        if not finite:
            self.scale, self.good_steps = self.scale / 2, 0
            self.skipped_steps += 1
            return False
        self.good_steps += 1
        if self.good_steps == self.growth_interval:
            self.scale, self.good_steps = min(2 * self.scale, LARGEST), 0
        return True

    @property
    def exhausted(self) -> bool:
        """Whether even a tiny factor overflows: then the gradients are infinite in any precision."""
        return self.scale < SMALLEST

    def state_dict(self) -> dict[str, Any]:
        return {"scale": self.scale, "good_steps": self.good_steps, "skipped_steps": self.skipped_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scale, self.good_steps = float(state["scale"]), int(state["good_steps"])
        self.skipped_steps = int(state["skipped_steps"])


def check_precision(precision: str, device: str) -> None:
    """Raise InputError for an unknown precision, or one that the device has no kernels for."""
    if precision not in PRECISIONS:
        raise InputError(f"precision is {precision!r}; choose one of {', '.join(PRECISIONS)}")
    if precision != "float32" and device == "cpu":
        raise InputError(f"precision {precision} needs a GPU: add --device cuda, or use float32")
