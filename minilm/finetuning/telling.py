"""What a training shows while it goes, and how Ctrl-C ends it."""

from __future__ import annotations

import math
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from minilm.training import ProgressCallback, TrainerCallback


class TrainingLines(ProgressCallback):
    """A bar with the training loss, and a line for each evaluation; with disable=True nothing at all."""

    loss = math.nan

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        logs = kwargs["logs"]
        if "loss" in logs:
            self.loss = logs["loss"]
            if self.training_bar is not None:
                self.training_bar.set_postfix_str(f"loss {self.loss:.3f}", refresh=False)
        elif "eval_loss" in logs and self.disable is not True:
            hidden = ("eval_loss", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "epoch")
            numbers = [("training loss", self.loss), ("validation loss", logs["eval_loss"])]
            numbers += [
                (name.removeprefix("eval_").replace("_", " "), v) for name, v in logs.items() if name not in hidden
            ]
            self.write(f"step {state.global_step:>6}   " + "   ".join(f"{name} {v:.3f}" for name, v in numbers))


class StopOnSignal(TrainerCallback):
    """Within `with`, Ctrl-C (and SIGTERM) lets the current step finish and ends the training; a second one stops at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> StopOnSignal:
        if threading.current_thread() is threading.main_thread():  # only it may listen to signals
            self.previous = {number: signal.signal(number, self.handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.restore()

    def handle(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self.restore()

    def restore(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.received is not None:
            control.should_training_stop = True
