"""The loop that trains every model of the project: steps, accumulation, clipping, schedule, saving and resuming.

    while step < max_steps:  batches → loss → backward → clip → optimizer → schedule;  then what the subclass does after a step

`minilm train` (corpus_trainer.py) and the Trainer for fine-tuning (trainer.py) say where batches come from, what the loss
is, when they evaluate and save, and who is told.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from minilm.data.drawing import plain
from minilm.devices import CPU
from minilm.errors import CheckpointError, InputError, TrainingDivergedError
from minilm.memory import keep_freed_memory
from minilm.nn import Module
from minilm.optim import LossScaler, LRScheduler, Optimizer, check_precision
from minilm.tensor import Tensor
from minilm.training.checkpoint import (
    RUN_PREFIX,
    Checkpoint,
    clean_leftovers,
    list_checkpoints,
    prune_checkpoints,
    save_checkpoint,
)
from minilm.training.device_batches import sent, weights_on_host
from minilm.training.diagnosis import finite, first_broken_gradient, first_broken_layer


class TrainingLoop:
    """Steps of an optimizer over batches. A subclass sets model, optimizer, scheduler, max_steps and max_grad_norm.

    step, loss, grad_norm, tokens_seen, seconds and stop_reason tell what happened. Everything that training depends on is
    in a checkpoint, so that a resumed run ends with the same bits as an undisturbed one.

    It trains where the model is. On a GPU a batch goes there in one copy and nothing comes back until somebody reads `loss` or
    `grad_norm`, which waits for the device and finds out there if training has broken; float16 asks in each step whether a
    gradient overflowed.
    """

    checkpoint_prefix = RUN_PREFIX
    model: Module
    optimizer: Optimizer
    scheduler: Any  # an LRScheduler, or what is called like one

    def __init__(self, checkpoint_folder: str | Path | None = None) -> None:
        self.checkpoint_folder = None if checkpoint_folder is None else Path(checkpoint_folder)
        self.max_steps = 0
        self.max_grad_norm = 1.0  # 0: not clipped
        self.scaler: LossScaler | None = None  # in float16
        self.reset()

    def reset(self) -> None:
        """Before the first step."""
        self.step = 0
        self.tokens_seen = 0
        self.seconds = 0.0  # of training, over all resumes, without evaluation and saving
        self.latest_loss: Any = math.nan  # of the latest step: a float, or an array without axes on the device
        self.latest_norm: Any = math.nan  # of its gradient before clipping; the same
        self.stop_reason: str | None = None
        self.saved_step = -1
        self.save_error: InputError | None = None

    # --- what a subclass says -------------------------------------------------------------------------------------------

    def next_batches(self) -> list[tuple[Any, float]]:
        """The batches of one step and their weights, which sum to 1."""
        raise NotImplementedError

    def batch_loss(self, batch: Any) -> Tensor:
        """The mean loss of one batch."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Log, evaluate and save where it is time to."""

    def notify(self, event: str) -> None:
        """Tell whoever listens: on_train_begin, on_step_begin, on_substep_end, on_pre_optimizer_step, on_save, ..."""

    def advice(self) -> str:
        """What to try when the numbers broke."""
        return "try a lower learning_rate"

    # --- what happened --------------------------------------------------------------------------------------------------

    @property
    def loss(self) -> float:
        """The loss of the latest step. Raises TrainingDivergedError if it turns out to be no number."""
        self.latest_loss = self.fetched("loss", self.latest_loss)
        return self.latest_loss

    @property
    def grad_norm(self) -> float:
        """The norm of its gradient before clipping. Raises TrainingDivergedError if it turns out to be no number."""
        self.latest_norm = self.fetched("gradient norm", self.latest_norm)
        return self.latest_norm

    def fetched(self, what: str, value: Any) -> float:
        """A number as a float: as it is, or from the device, where nobody has looked at it yet."""
        if isinstance(value, float):
            return value
        number = float(value)
        if not math.isfinite(number):
            self.diverged(what, number, first_broken_layer(self.model, lambda: None))
        return number

    @property
    def loss_is_here(self) -> bool:
        """Whether reading `loss` waits for nothing."""
        return isinstance(self.latest_loss, float)

    # --- the loop -------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train until max_steps, or until something sets `stop_reason`.

        Raises TrainingDivergedError when the loss or a gradient is no longer a number; the model then still has the
        weights from before that step, and the checkpoints are untouched.
        """
        keep_freed_memory()
        if self.checkpoint_folder is not None:
            clean_leftovers(self.checkpoint_folder)
        self.notify("on_train_begin")
        try:
            while self.step < self.max_steps and not self.stop_reason:
                started = time.perf_counter()
                self.training_step()
                self.step += 1
                self.seconds += time.perf_counter() - started
                self.after_step()
            self.finish()
        finally:
            self.notify("on_train_end")

    def finish(self) -> None:
        """After the last step, while the callbacks are still listening."""
        self.save(must=True)

    def training_step(self) -> None:
        """Forward and backward over the batches of one step, then clip, then move the weights."""
        self.notify("on_step_begin")
        self.model.train()
        total = 0.0
        batches = self.next_batches()
        scale = 1.0 if self.scaler is None else self.scaler.scale
        for i, (batch, weight) in enumerate(batches):
            moved, checked = sent(self.model, batch)
            with checked, np.errstate(over="ignore", invalid="ignore"):  # a loss that breaks is reported by name below
                loss = self.batch_loss(moved)
                value = float(loss.item()) if loss.device == CPU else loss.data.astype(np.float64)
                if isinstance(value, float) and not math.isfinite(value):
                    where = first_broken_layer(self.model, lambda: self.batch_loss(moved))  # noqa: B023  called at once
                    self.diverged("loss", value, where)
                if weight * scale != 1:
                    loss = loss * (weight * scale)
                loss.backward()
            total = total + value * weight
            if i < len(batches) - 1:
                self.notify("on_substep_end")
        options = {} if self.scaler is None else {"loss_scale": scale}
        norm = self.optimizer.clip_grad_norm(self.max_grad_norm or None, **options)
        if self.scaler is None and isinstance(norm, float) and not math.isfinite(norm):
            self.diverged("gradient norm", norm, first_broken_gradient(self.model))
        self.notify("on_pre_optimizer_step")
        if self.scaler is None or self.without_overflow(norm):
            self.optimizer.step()
            self.latest_norm = norm
        self.notify("on_optimizer_step")
        self.optimizer.zero_grad()
        self.scheduler.step()
        self.latest_loss = total

    def without_overflow(self, norm: Any) -> bool:
        """Whether all gradients of a step in float16 are finite; if not, the loss is scaled less from now on."""
        assert self.scaler is not None
        finite = self.scaler.update(math.isfinite(float(norm)))
        if self.scaler.exhausted:
            self.diverged("gradient norm", float(norm), first_broken_gradient(self.model))
        return finite

    def compute_in(self, precision: str) -> None:
        """Train in "float32", "bfloat16" or "float16". Raises InputError if the model is where that cannot be computed."""
        check_precision(precision, str(self.model.device))
        if precision != "float32" or self.optimizer.flat.mixed:
            self.optimizer.compute_in(precision, self.model.parameters())
        self.scaler = LossScaler() if precision == "float16" else None

    def diverged(self, what: str, value: float, where: str) -> None:
        """Raise TrainingDivergedError."""
        folder = self.checkpoint_folder
        saved = list_checkpoints(folder, self.checkpoint_prefix) if folder is not None else []
        kept = f"the last good checkpoint is {saved[-1]}" if saved else "there is no checkpoint yet"
        raise TrainingDivergedError(
            f"the {what} became {value} at step {self.step + 1}; the first to break was {where}; {kept}; {self.advice()}"
        )

    # --- saving and resuming --------------------------------------------------------------------------------------------

    def save(self, must: bool) -> None:
        """Write a checkpoint of this moment. If it cannot be written: raise InputError if `must`, else tell the callbacks."""
        if self.checkpoint_folder is None or self.saved_step == self.step:
            return
        if not finite(self.optimizer.flat.data):
            self.diverged("weights", math.nan, first_broken_layer(self.model, lambda: None))
        try:
            self.write_checkpoint(self.checkpoint_folder)
            self.saved_step = self.step
            keep_last, keep = self.kept_checkpoints()
            if keep_last:
                prune_checkpoints(self.checkpoint_folder, keep_last, keep, self.checkpoint_prefix)
        except InputError as error:
            if must:
                raise
            self.save_error = error
            self.notify("on_save_failed")
        else:
            self.save_error = None
            self.notify("on_save")

    def kept_checkpoints(self) -> tuple[int, set[int]]:
        """How many of the newest checkpoints stay (0: all), and the steps that stay beside them."""
        return 0, set()

    def write_checkpoint(self, folder: Path) -> Path:
        """Write everything that training depends on into a new folder below `folder`."""
        arrays = self.optimizer.state_dict()["arrays"]
        with weights_on_host(self.model, self.optimizer):
            return save_checkpoint(folder, self.model.state_dict(), arrays, self.state_dict(), self.checkpoint_prefix)

    def read_model(self, checkpoint: Checkpoint) -> None:
        """Put a checkpoint's weights into the model."""
        self.model.load_state_dict(checkpoint.weights)

    def state_dict(self) -> dict[str, Any]:
        """Everything that training depends on beside arrays, as JSON; a subclass adds its own."""
        optimizer = self.optimizer.state_dict()
        generator = self.generator
        return {
            "step": self.step,
            "tokens_seen": self.tokens_seen,
            "seconds": self.seconds,
            "model_class": type(self.model).__name__,
            "model_config": self.model_config(),
            "optimizer_class": type(self.optimizer).__name__,
            "optimizer": {"steps": optimizer["steps"], "groups": optimizer["groups"]},
            "scheduler": self.scheduler.state_dict(),
            "generator": None if generator is None else plain(generator.bit_generator.state),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """What a subclass added to state_dict()."""

    @property
    def generator(self) -> np.random.Generator | None:
        """Where the model's dropout is drawn from."""
        return getattr(self.model, "generator", None)

    def model_config(self) -> dict[str, Any] | None:
        """The model's shape, by which a resumed run knows it again."""
        return self.model.config.to_dict() if hasattr(self.model, "config") else None

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue where a checkpoint was written; learning rate and the like are those of this trainer's configuration.

        Raises CheckpointError if it is of another model or optimizer.
        """
        state = checkpoint.state
        try:
            refuse_other_model(state["model_config"], self.model_config())
            with weights_on_host(self.model, self.optimizer, write_back=True):
                self.read_model(checkpoint)
            if state["optimizer_class"] != type(self.optimizer).__name__:
                raise InputError(f"it was trained with {state['optimizer_class']}, not {type(self.optimizer).__name__}")
            saved = {"steps": state["optimizer"]["steps"], "arrays": checkpoint.optimizer}
            self.optimizer.load_state_dict({"groups": self.optimizer.state_dict()["groups"], **saved})
            schedule = state["scheduler"]
            if isinstance(self.scheduler, LRScheduler):
                schedule = {**schedule, "base_lrs": self.scheduler.base_lrs}
            self.scheduler.load_state_dict(schedule)
            if self.generator is not None:
                self.generator.bit_generator.state = state["generator"]
            if self.scaler is not None and state.get("scaler"):
                self.scaler.load_state_dict(state["scaler"])
            self.load_state(state)
            self.step, self.tokens_seen, self.seconds = state["step"], state["tokens_seen"], state["seconds"]
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"cannot resume from {checkpoint.path}: {error}") from error
        self.saved_step = self.step


def refuse_other_model(saved: dict[str, Any] | None, own: dict[str, Any] | None) -> None:
    """Raise InputError that names the first difference between two models' configurations."""
    if own is None:
        return
    for name, value in (saved or {}).items():
        if own.get(name) != value:
            raise InputError(f"it is of another model: {name} is {value} there and {own.get(name)} here")
