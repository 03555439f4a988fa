"""The training loop: batches in, steps of the optimizer, evaluations, checkpoints; the same loop for every model."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from minilm.data.windows import plain
from minilm.errors import CheckpointError, InputError, TrainingDivergedError
from minilm.memory import keep_freed_memory
from minilm.metrics import evaluate_loss
from minilm.nn import Module
from minilm.optim import SGD, Adam, AdamW, LRScheduler, Optimizer, decay_groups, make_schedule
from minilm.tensor import Tensor
from minilm.training.callbacks import Callback
from minilm.training.checkpoint import (
    Checkpoint,
    clean_leftovers,
    list_checkpoints,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from minilm.training.config import TrainingConfig
from minilm.training.diagnosis import finite, first_broken_gradient, first_broken_layer


class Batches(Protocol):
    """Endless batches whose position can be saved: what RandomWindows is."""

    def next_batch(self) -> tuple[Any, Any]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def language_model_loss(model: Module, inputs: Any, targets: Any) -> Tensor:
    """The mean loss of one batch; the second value that a language model returns when it is given labels."""
    return model(inputs, labels=targets)[1]


class Trainer:
    """Trains `model` on `train_batches` as `config` says.

    model            any Module whose loss `compute_loss(model, inputs, targets)` gives
    train_batches    endless batches (RandomWindows)
    validation       batches to evaluate on, iterated from the start each time (SequentialWindows), or None
    checkpoint_folder  where checkpoints go, or None for none
    callbacks        what happens beside training: progress, logs, early stopping (minilm.training.callbacks)

    After train(), `step`, `best_loss`, `best_step` and `stop_reason` tell what happened. Everything that training
    depends on is in a checkpoint, so that a resumed run ends with the same bits as an undisturbed one.
    """

    def __init__(
        self,
        model: Module,
        config: TrainingConfig,
        train_batches: Batches,
        validation: Iterable[tuple[Any, Any]] | None = None,
        checkpoint_folder: str | Path | None = None,
        callbacks: Sequence[Callback] = (),
        compute_loss: Callable[[Module, Any, Any], Tensor] = language_model_loss,
    ):
        config.check()
        self.model, self.config = model, config
        self.train_batches, self.validation = train_batches, validation
        self.checkpoint_folder = None if checkpoint_folder is None else Path(checkpoint_folder)
        self.callbacks = list(callbacks)
        self.compute_loss = compute_loss
        self.generator: np.random.Generator | None = getattr(model, "generator", None)  # of the model's dropout
        self.optimizer = make_optimizer(model, config)
        final = config.min_learning_rate / config.learning_rate if config.learning_rate else 1.0
        schedule = make_schedule(config.lr_scheduler_type, config.warmup_steps, config.max_steps, final)
        self.scheduler = LRScheduler(self.optimizer, schedule)
        self.step = 0
        self.tokens_seen = 0
        self.seconds = 0.0  # of training, over all resumes, without evaluation and saving
        self.loss = math.nan  # of the latest step
        self.grad_norm = math.nan  # before clipping
        self.best_loss, self.best_step = math.inf, -1
        self.validation_loss = math.nan
        self.stop_reason: str | None = None
        self.interrupted = False  # stopped by a signal
        self.saved_step = -1
        self.save_error: InputError | None = None

    # --- the loop -----------------------------------------------------------------------------------------------------

    def train(self) -> None:
        """Train until max_steps, or until something sets `stop_reason`.

        Raises TrainingDivergedError when the loss or a gradient is no longer a number; the model then still has the
        weights from before that step, and the checkpoints are untouched.
        """
        config = self.config
        keep_freed_memory()
        if self.checkpoint_folder is not None:
            clean_leftovers(self.checkpoint_folder)
        self._notify("on_train_begin")
        try:
            while self.step < config.max_steps and not self.stop_reason:
                started = time.perf_counter()
                self.training_step()
                self.step += 1
                self.seconds += time.perf_counter() - started
                self._notify("on_step_end")
                last = self.step == config.max_steps
                if self.validation is not None and (self.step % config.eval_steps == 0 or last):
                    self.evaluate()
                if self.step % config.save_steps == 0:
                    self.save(must=False)
            self.save(must=True)
        finally:
            self._notify("on_train_end")

    def training_step(self) -> None:
        """Forward and backward over the batches of one step, then clip, then move the weights."""
        config = self.config
        self.model.train()
        total = 0.0
        for _ in range(config.gradient_accumulation_steps):
            inputs, targets = self.train_batches.next_batch()
            with np.errstate(over="ignore", invalid="ignore"):  # a loss that breaks is reported by name below
                loss = self.compute_loss(self.model, inputs, targets)
                value = float(loss.item())
                if not math.isfinite(value):
                    where = first_broken_layer(self.model, lambda: self.compute_loss(self.model, inputs, targets))  # noqa: B023
                    self._diverged("loss", value, where)
                if config.gradient_accumulation_steps > 1:
                    loss = loss * (1 / config.gradient_accumulation_steps)
                loss.backward()
            total += value
            self.tokens_seen += int(np.size(targets))
        norm = self.optimizer.clip_grad_norm(config.max_grad_norm or None)
        if not math.isfinite(norm):
            self._diverged("gradient norm", norm, first_broken_gradient(self.model))
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.scheduler.step()
        self.loss, self.grad_norm = total / config.gradient_accumulation_steps, norm

    def evaluate(self) -> float:
        """Measure the validation loss (mean nats per token) and remember the best."""
        assert self.validation is not None
        self.validation_loss = evaluate_loss(self.model, self.validation).loss
        self.model.train()
        better = self.validation_loss < self.best_loss
        if better:
            self.best_loss, self.best_step = self.validation_loss, self.step
        self._notify("on_evaluate")
        if better:
            self.save(must=False)
        return self.validation_loss

    def _diverged(self, what: str, value: float, where: str) -> None:
        saved = list_checkpoints(self.checkpoint_folder) if self.checkpoint_folder is not None else []
        kept = f"the last good checkpoint is {saved[-1]}" if saved else "there is no checkpoint yet"
        norm = self.config.max_grad_norm
        clip = "a lower --training.max_grad_norm" if norm else "clip gradients with --training.max_grad_norm 1.0"
        raise TrainingDivergedError(
            f"the {what} became {value} at step {self.step + 1}; the first to break was {where}; {kept}; "
            f"try a lower --training.learning_rate, or {clip}"
        )

    def _notify(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self)

    # --- saving and resuming --------------------------------------------------------------------------------------------

    def save(self, must: bool) -> None:
        """Write a checkpoint of this moment. If it cannot be written: raise InputError if `must`, else tell the callbacks."""
        if self.checkpoint_folder is None or self.saved_step == self.step:
            return
        if not finite(self.optimizer.flat.data):
            self._diverged("weights", math.nan, first_broken_layer(self.model, lambda: None))
        try:
            self.write_checkpoint(self.checkpoint_folder)
            self.saved_step = self.step
            keep = {self.best_step} if self.best_step >= 0 else set()
            prune_checkpoints(self.checkpoint_folder, self.config.save_total_limit, keep)
        except InputError as error:
            if must:
                raise
            self.save_error = error
            self._notify("on_save_failed")
        else:
            self._notify("on_save")

    def write_checkpoint(self, folder: Path) -> Path:
        """Write everything that training depends on into a new folder below `folder`."""
        optimizer = self.optimizer.state_dict()
        state = {
            "step": self.step,
            "tokens_seen": self.tokens_seen,
            "seconds": self.seconds,
            "best_loss": self.best_loss,
            "best_step": self.best_step,
            "model_class": type(self.model).__name__,
            "model_config": self.model.config.to_dict() if hasattr(self.model, "config") else None,
            "optimizer_class": type(self.optimizer).__name__,
            "optimizer": {"steps": optimizer["steps"], "groups": optimizer["groups"]},
            "scheduler": self.scheduler.state_dict(),
            "sampler": self.train_batches.state_dict(),
            "generator": None if self.generator is None else plain(self.generator.bit_generator.state),
            "callbacks": {type(c).__name__: c.state_dict() for c in self.callbacks if c.state_dict()},
        }
        return save_checkpoint(folder, self.model.state_dict(), optimizer["arrays"], state)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue where a checkpoint was written; learning rate and the like are those of this trainer's configuration.

        Raises CheckpointError if it is of another model or optimizer.
        """
        state = checkpoint.state
        try:
            if hasattr(self.model, "config"):
                refuse_other_model(state["model_config"], self.model.config.to_dict())
            self.model.load_state_dict(checkpoint.weights)
            if state["optimizer_class"] != type(self.optimizer).__name__:
                raise InputError(f"it was trained with {state['optimizer_class']}, not {type(self.optimizer).__name__}")
            own = {"groups": self.optimizer.state_dict()["groups"], "base_lrs": self.scheduler.base_lrs}
            saved = {"steps": state["optimizer"]["steps"], "arrays": checkpoint.optimizer}
            self.optimizer.load_state_dict({"groups": own["groups"], **saved})
            self.scheduler.load_state_dict({**state["scheduler"], "base_lrs": own["base_lrs"]})
            self.train_batches.load_state_dict(state["sampler"])
            if self.generator is not None:
                self.generator.bit_generator.state = state["generator"]
            for callback in self.callbacks:
                callback.load_state_dict(state["callbacks"].get(type(callback).__name__, {}))
            self.step, self.tokens_seen, self.seconds = state["step"], state["tokens_seen"], state["seconds"]
            self.best_loss, self.best_step = state["best_loss"], state["best_step"]
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"cannot resume from {checkpoint.path}: {error}") from error
        self.saved_step = self.step


def make_optimizer(model: Module, config: TrainingConfig) -> Optimizer:
    """The optimizer that `config` names; matrices decay, vectors do not."""
    groups = decay_groups(model.parameters(), config.weight_decay)
    if config.optimizer == "sgd":
        return SGD(groups, lr=config.learning_rate, momentum=config.adam_beta1)
    kind = AdamW if config.optimizer == "adamw" else Adam
    return kind(groups, lr=config.learning_rate, betas=(config.adam_beta1, config.adam_beta2), eps=config.adam_epsilon)


def refuse_other_model(saved: dict[str, Any] | None, own: dict[str, Any]) -> None:
    """Raise InputError that names the first difference between two models' configurations."""
    for name, value in (saved or {}).items():
        if own.get(name) != value:
            raise InputError(f"it is of another model: {name} is {value} there and {own.get(name)} here")


def newest_checkpoint(folder: str | Path) -> Checkpoint:
    """The newest checkpoint in a `checkpoints` folder that is whole; warns of damaged ones that are newer.

    Raises CheckpointError if none is whole.
    """
    damaged: list[CheckpointError] = []
    for path in reversed(list_checkpoints(folder)):
        try:
            checkpoint = load_checkpoint(path)
        except CheckpointError as error:
            damaged.append(error)
        else:
            for problem in damaged:
                warnings.warn(f"{problem}; going on from {path.name}", stacklevel=2)
            return checkpoint
    raise damaged[0] if damaged else CheckpointError(f"there is no checkpoint in {folder}; start the run anew")
