"""The part of the Trainer that tells callbacks and logs what happens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minilm.training.loop import TrainingLoop
from minilm.training.metrics_log import MetricsLog
from minilm.training.model_files import check_folder
from minilm.training.trainer_callbacks import TrainerCallback, TrainerControl, TrainerState


class Telling(TrainingLoop):
    """Callbacks and the log."""

    args: Any
    state: TrainerState
    control: TrainerControl
    processing_class: Any
    batches: Any
    callbacks: list[TrainerCallback]
    metrics_log: MetricsLog | None = None

    def notify(self, event: str, **given: Any) -> None:
        if event == "on_step_begin":
            self.control.should_log = self.control.should_evaluate = self.control.should_save = False
        elif event == "on_epoch_begin":
            self.control.should_epoch_stop = False
        elif event == "on_save_failed":
            given["error"] = self.save_error
        given.setdefault("eval_dataloader", None)
        for callback in list(self.callbacks):
            getattr(callback, event)(
                self.args, self.state, self.control, model=self.model, processing_class=self.processing_class,
                optimizer=getattr(self, "optimizer", None), lr_scheduler=getattr(self, "scheduler", None),
                train_dataloader=self.batches, **given,
            )  # fmt: skip

    def log(self, logs: Mapping[str, Any]) -> dict[str, Any]:
        """Add a line to state.log_history and logging_dir/metrics.jsonl, and tell the callbacks; returns it."""
        line = {**logs, "epoch": round(self.state.epoch, 4)}
        self.state.log_history.append({**line, "step": self.state.global_step})
        if self.metrics_log is not None:
            events = {"loss": "train", "eval_loss": "evaluation", "train_runtime": "final"}
            kind = next((event for name, event in events.items() if name in line), "other")
            record = line | ({"validation_loss": line["eval_loss"]} if kind == "evaluation" else {})
            self.metrics_log.append(event=kind, step=self.state.global_step, **record)
        self.notify("on_log", logs=line)
        return line

    def open_log(self) -> None:
        if self.args.logging_dir is not None:
            folder = Path(self.args.logging_dir)
            check_folder(folder)
            self.metrics_log = MetricsLog(folder / "metrics.jsonl")
            self.metrics_log.forget_after(self.step if self.step else -1)

    def add_callback(self, callback: Any) -> None:
        """Add a callback: an object, or a class that is made without arguments."""
        self.callbacks.append(made(callback))

    def pop_callback(self, callback: Any) -> Any:
        """Take out and return a callback: the object itself, or the first of a class; None if there is none."""
        for own in self.callbacks:
            if own is callback or type(own) is callback:
                self.callbacks.remove(own)
                return own
        return None

    def remove_callback(self, callback: Any) -> None:
        self.pop_callback(callback)


def made(callback: Any) -> Any:
    """A callback from an object or a class."""
    return callback() if isinstance(callback, type) else callback
