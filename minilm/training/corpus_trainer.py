"""What `minilm train` does: the loop over windows of a corpus, with a validation loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from minilm.metrics import evaluate_loss
from minilm.nn import Module
from minilm.optim import SGD, Adam, AdamW, LRScheduler, Optimizer, decay_groups, make_schedule
from minilm.tensor import Tensor
from minilm.training.callbacks import Callback
from minilm.training.config import TrainingConfig
from minilm.training.loop import TrainingLoop


class Batches(Protocol):
    """Endless batches whose position can be saved: what RandomWindows is."""

    def next_batch(self) -> tuple[Any, Any]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def language_model_loss(model: Module, inputs: Any, targets: Any) -> Tensor:
    """The mean loss of one batch; the second value that a language model returns when it is given labels."""
    return model(inputs, labels=targets)[1]


class CorpusTrainer(TrainingLoop):
    """Trains `model` on `train_batches` as `config` says.

    model            any Module whose loss `compute_loss(model, inputs, targets)` gives
    train_batches    endless batches (RandomWindows)
    validation       batches to evaluate on, iterated from the start each time (SequentialWindows), or None
    checkpoint_folder  where checkpoints go, or None for none
    callbacks        what happens beside training: progress, logs, early stopping (minilm.training.callbacks)

    After train(), `step`, `best_loss`, `best_step` and `stop_reason` tell what happened.
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
        super().__init__(checkpoint_folder)
        self.model, self.config = model, config
        self.max_steps, self.max_grad_norm = config.max_steps, config.max_grad_norm
        self.train_batches, self.validation = train_batches, validation
        self.callbacks = list(callbacks)
        self.compute_loss = compute_loss
        self.optimizer = make_optimizer(model, config)
        final = config.min_learning_rate / config.learning_rate if config.learning_rate else 1.0
        schedule = make_schedule(config.lr_scheduler_type, config.warmup_steps, config.max_steps, final)
        self.scheduler = LRScheduler(self.optimizer, schedule)
        self.best_loss, self.best_step = math.inf, -1
        self.validation_loss = math.nan
        self.interrupted = False  # stopped by a signal

    def train(self) -> None:
        """Train until max_steps, or until something sets `stop_reason`; see TrainingLoop.run."""
        self.run()

    def next_batches(self) -> list[tuple[Any, float]]:
        count = self.config.gradient_accumulation_steps
        batches = [self.train_batches.next_batch() for _ in range(count)]
        self.tokens_seen += sum(int(np.size(targets)) for _, targets in batches)
        return [(batch, 1 / count) for batch in batches]  # all are of one size

    def batch_loss(self, batch: tuple[Any, Any]) -> Tensor:
        return self.compute_loss(self.model, *batch)

    def after_step(self) -> None:
        self.notify("on_step_end")
        config, last = self.config, self.step == self.max_steps
        if self.validation is not None and (self.step % config.eval_steps == 0 or last):
            self.evaluate()
        if self.step % config.save_steps == 0:
            self.save(must=False)

    def evaluate(self) -> float:
        """Measure the validation loss (mean nats per token) and remember the best."""
        assert self.validation is not None
        self.validation_loss = evaluate_loss(self.model, self.validation).loss
        self.model.train()
        better = self.validation_loss < self.best_loss
        if better:
            self.best_loss, self.best_step = self.validation_loss, self.step
        self.notify("on_evaluate")
        if better:
            self.save(must=False)
        return self.validation_loss

    def notify(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event, nothing)(self)

    def advice(self) -> str:
        clip = "a lower --training.max_grad_norm"
        if not self.max_grad_norm:
            clip = "clip gradients with --training.max_grad_norm 1.0"
        return f"try a lower --training.learning_rate, or {clip}"

    def kept_checkpoints(self) -> tuple[int, set[int]]:
        return self.config.save_total_limit, {self.best_step} if self.best_step >= 0 else set()

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "best_loss": self.best_loss,
            "best_step": self.best_step,
            "sampler": self.train_batches.state_dict(),
            "callbacks": {type(c).__name__: c.state_dict() for c in self.callbacks if c.state_dict()},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.train_batches.load_state_dict(state["sampler"])
        for callback in self.callbacks:
            callback.load_state_dict(state["callbacks"].get(type(callback).__name__, {}))
        self.best_loss, self.best_step = state["best_loss"], state["best_step"]


def nothing(trainer: CorpusTrainer) -> None:
    """What a callback does at an event that it does not know."""


def make_optimizer(model: Module, config: TrainingConfig) -> Optimizer:
    """The optimizer that `config` names; matrices decay, vectors do not."""
    groups = decay_groups(model.parameters(), config.weight_decay)
    if config.optimizer == "sgd":
        return SGD(groups, lr=config.learning_rate, momentum=config.adam_beta1)
    kind = AdamW if config.optimizer == "adamw" else Adam
    return kind(groups, lr=config.learning_rate, betas=(config.adam_beta1, config.adam_beta2), eps=config.adam_epsilon)
