"""What happens beside the Trainer's steps, with transformers' hooks: on_step_end(args, state, control, **kwargs), ...

A callback looks at `state` and sets the switches of `control`. kwargs hold model, processing_class, optimizer, lr_scheduler,
train_dataloader, eval_dataloader, and metrics (on_evaluate, on_predict) or logs (on_log).
"""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict, dataclass, field
from typing import Any

from minilm.errors import InputError
from minilm.optional import require
from minilm.training.arguments import TrainingArguments

logger = logging.getLogger("minilm")


@dataclass
class TrainerState:
    """Where a training stands.

    epoch: passes over the data, with the part of the present one. log_history: all that was logged, in order.
    best_metric, best_global_step, best_model_checkpoint: of the best evaluation, where metric_for_best_model is set.
    """

    epoch: float = 0.0
    global_step: int = 0
    max_steps: int = 0
    num_train_epochs: int = 0
    logging_steps: int = 500
    eval_steps: int = 500
    save_steps: int = 500
    train_batch_size: int = 8
    num_input_tokens_seen: int = 0
    log_history: list[dict[str, Any]] = field(default_factory=list)
    best_metric: float | None = None
    best_global_step: int | None = None
    best_model_checkpoint: str | None = None
    is_local_process_zero: bool = True
    is_world_process_zero: bool = True

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class TrainerControl:
    """Switches that callbacks set: what the Trainer shall do after this step."""

    should_training_stop: bool = False
    should_epoch_stop: bool = False
    should_save: bool = False
    should_evaluate: bool = False
    should_log: bool = False


class TrainerCallback:
    """Override the hooks you need. A hook may return the control; it need not.

    state_dict() and load_state_dict() let a callback continue after a resume; JSON.
    """

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_predict(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_save_failed(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class DefaultFlowCallback(TrainerCallback):
    """Logs, evaluates and saves when the arguments say so."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        step, last = state.global_step, state.global_step >= state.max_steps
        if args.logging_strategy == "steps" and step % state.logging_steps == 0:
            control.should_log = True
        if args.logging_first_step and step == 1:
            control.should_log = True
        if args.eval_strategy == "steps" and (step % state.eval_steps == 0 or last) and step >= args.eval_delay:
            control.should_evaluate = True
        if args.save_strategy == "steps" and (step % state.save_steps == 0 or last):
            control.should_save = True
        if last:
            control.should_training_stop = True
        return control

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if args.logging_strategy == "epoch":
            control.should_log = True
        if args.eval_strategy == "epoch" and state.epoch >= args.eval_delay:
            control.should_evaluate = True
        if args.save_strategy == "epoch":
            control.should_save = True
        return control


class EarlyStoppingCallback(TrainerCallback):
    """Stops after `early_stopping_patience` evaluations in a row that are not better than the best by more than the threshold.

    Which metric, and in which direction: args.metric_for_best_model and args.greater_is_better.
    """

    def __init__(self, early_stopping_patience: int = 1, early_stopping_threshold: float = 0.0) -> None:
        self.early_stopping_patience = early_stopping_patience
        self.early_stopping_threshold = early_stopping_threshold
        self.early_stopping_patience_counter = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if args.metric_for_best_model is None:
            raise InputError("EarlyStoppingCallback needs metric_for_best_model in the TrainingArguments; set it")
        if args.eval_strategy == "no":
            raise InputError('EarlyStoppingCallback needs evaluations; set eval_strategy to "epoch" or "steps"')

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        value = kwargs["metrics"].get(metric_key(args))
        if value is None:  # one of several evaluation sets
            return control
        best = state.best_metric  # before this evaluation
        gain = None if best is None else value - best if args.greater_is_better else best - value
        if gain is None or gain > max(0.0, self.early_stopping_threshold):
            self.early_stopping_patience_counter = 0
        else:
            self.early_stopping_patience_counter += 1
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            control.should_training_stop = True
        return control

    def state_dict(self) -> dict[str, Any]:
        return {"early_stopping_patience_counter": self.early_stopping_patience_counter}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.early_stopping_patience_counter = state.get("early_stopping_patience_counter", 0)


class PrinterCallback(TrainerCallback):
    """Prints what is logged, one dictionary per line."""

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.write(str(rounded(kwargs["logs"])))

    def on_save_failed(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.write(f"minilm: warning: {kwargs['error']}; training goes on and will try again", sys.stderr)

    def write(self, line: str, file: Any = None) -> None:
        print(line, file=file or sys.stdout)


class ProgressCallback(PrinterCallback):
    """A tqdm bar of the training, one of each evaluation, and what is logged between them.

    disable: None shows bars only where somebody can watch them (in a terminal).
    """

    def __init__(self, disable: bool | None = None) -> None:
        self.disable = disable
        self.tqdm = require("tqdm.auto", "the progress bar").tqdm
        self.training_bar: Any = None
        self.prediction_bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.training_bar = self.tqdm(
            total=state.max_steps, initial=state.global_step, desc="training", unit="step", disable=self.disable
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.training_bar.update()

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.prediction_bar is None:
            self.prediction_bar = self.tqdm(
                total=len(kwargs["eval_dataloader"]), desc="evaluating", unit="batch", leave=False, disable=self.disable
            )
        self.prediction_bar.update()

    def close_prediction_bar(self, *given: Any, **kwargs: Any) -> None:
        if self.prediction_bar is not None:
            self.prediction_bar.close()
            self.prediction_bar = None

    on_evaluate = on_predict = close_prediction_bar

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.close_prediction_bar()
        if self.training_bar is not None:
            self.training_bar.close()
            self.training_bar = None

    def write(self, line: str, file: Any = None) -> None:
        self.tqdm.write(line, file=file)


def rounded(logs: dict[str, Any]) -> dict[str, Any]:
    """Numbers as people read them."""
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in logs.items()}


def metric_key(args: TrainingArguments) -> str | None:
    """Under which name the metrics hold metric_for_best_model."""
    name = args.metric_for_best_model
    return name if name is None or name.startswith("eval_") else f"eval_{name}"
