"""TrainingArguments: how the Trainer trains, with transformers' names and defaults."""

from __future__ import annotations

import math
import numbers
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from minilm.errors import InputError
from minilm.training.argument_names import resolve_names

INTERVALS = ("no", "steps", "epoch")
SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup")
OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "adamw_hf", "sgd")  # the first three are the same here
CHOICES = {
    "eval_strategy": INTERVALS,
    "logging_strategy": INTERVALS,
    "save_strategy": (*INTERVALS, "best"),
    "lr_scheduler_type": SCHEDULES,
    "optim": OPTIMIZERS,
    "train_sampling_strategy": ("random", "sequential", "group_by_length"),
}


@dataclass(init=False)
class TrainingArguments:
    """How a Trainer trains. Names of transformers 4.x are understood, with a DeprecationWarning that names the new one.

    Args:
        output_dir: where checkpoints and the model go.
        eval_strategy: "no", "steps" (every eval_steps) or "epoch". logging_strategy, save_strategy: the same; save_strategy
            also "best": whenever an evaluation is better than all before.
        eval_steps, logging_steps, save_steps: steps between two of these; below 1, a share of all steps. eval_steps is
            logging_steps unless given.
        eval_delay: evaluate not before so many steps (or epochs). eval_on_start: also before the first step.
        logging_first_step: log the first step too. logging_dir: folder for metrics.jsonl, or None.
        per_device_train_batch_size, per_device_eval_batch_size: examples per forward pass.
        gradient_accumulation_steps: forward passes whose gradients are averaged into one step.
        learning_rate, weight_decay, adam_beta1, adam_beta2, adam_epsilon: of AdamW; biases and norms do not decay.
        optim: adamw_torch, or sgd. max_grad_norm: gradients are scaled down to this norm; 0: not.
        fp16, bf16: train in 16 bits, with float32 weights and for fp16 a scaled loss; on a GPU, one of the two. Evaluations
            during the training compute in 16 bits as well; afterwards the model has its float32 weights.
        num_train_epochs: passes over the data, unless max_steps, the number of steps, is above 0.
        lr_scheduler_type: linear, cosine, constant or constant_with_warmup. warmup_steps: steps over which the learning
            rate rises from 0; below 1, a share of all steps. warmup_ratio: that share, where warmup_steps is 0.
        label_smoothing_factor: ε of smoothed labels: each gets 1 − ε, and all classes share ε.
        seed: from which dropout and the order of the examples follow. data_seed: of the order alone.
        train_sampling_strategy: random, sequential, or group_by_length: texts of similar length together.
        dataloader_drop_last: leave out a last batch that is not full.
        load_best_model_at_end: at the end take the weights with the best metric_for_best_model ("loss" unless given);
            greater_is_better: unless the metric's name ends with "loss".
        save_total_limit: how many checkpoints are kept (None: all). save_only_model: without what a resume needs.
        label_names: which fields are labels. remove_unused_columns: leave out fields that the model does not take.
        prediction_loss_only: evaluate the loss alone. disable_tqdm: no progress bar; None: only in a terminal.
        report_to: "none"; minilm writes logging_dir/metrics.jsonl and nothing else.
        resume_from_checkpoint: what train() resumes from unless told otherwise.
        restore_callback_states_from_checkpoint: whether callbacks continue after a resume where they were.

    Raises InputError for an unknown name, with the closest known one, and for values that cannot work.
    """

    output_dir: str = "trainer_output"
    eval_strategy: str = "no"
    eval_steps: float | None = None
    eval_delay: float = 0
    eval_on_start: bool = False
    logging_strategy: str = "steps"
    logging_steps: float = 500
    logging_first_step: bool = False
    logging_dir: str | None = None
    save_strategy: str = "steps"
    save_steps: float = 500
    save_total_limit: int | None = None
    save_only_model: bool = False
    per_device_train_batch_size: int = 8
    per_device_eval_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    learning_rate: float = 5e-5
    weight_decay: float = 0.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    optim: str = "adamw_torch"
    max_grad_norm: float = 1.0
    fp16: bool = False
    bf16: bool = False
    num_train_epochs: float = 3.0
    max_steps: int = -1
    lr_scheduler_type: str = "linear"
    warmup_steps: float = 0
    warmup_ratio: float = 0.0
    label_smoothing_factor: float = 0.0
    seed: int = 42
    data_seed: int | None = None
    train_sampling_strategy: str = "random"
    dataloader_drop_last: bool = False
    load_best_model_at_end: bool = False
    metric_for_best_model: str | None = None
    greater_is_better: bool | None = None
    label_names: list[str] | None = None
    remove_unused_columns: bool = True
    prediction_loss_only: bool = False
    disable_tqdm: bool | None = None
    report_to: Any = "none"
    resume_from_checkpoint: Any = None
    restore_callback_states_from_checkpoint: bool = True

    def __init__(self, output_dir: str | Path | None = None, **options: Any) -> None:
        given = resolve_names(options, [f.name for f in fields(self)])
        if output_dir is not None:
            given["output_dir"] = os.path.expanduser(output_dir)
        for f in fields(self):
            setattr(self, f.name, given.get(f.name, f.default))
        self.check()
        if self.eval_steps is None:
            self.eval_steps = self.logging_steps
        if self.load_best_model_at_end and self.metric_for_best_model is None:
            self.metric_for_best_model = "loss"
        if self.metric_for_best_model is not None and self.greater_is_better is None:
            self.greater_is_better = not self.metric_for_best_model.endswith("loss")
        self.check_best_model()

    def check(self) -> None:
        """Raise InputError for the first value that cannot work."""
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            value = "no" if value is None or value is False else getattr(value, "value", value)
            if value not in choices:
                raise InputError(f"{name} is {value!r}; choose one of {', '.join(choices)}")
            setattr(self, name, value)
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
            self._check_number(name, 1, whole=True)
        self._check_number("seed", 0, whole=True)
        for name in ("data_seed", "save_total_limit"):
            if getattr(self, name) is not None:
                self._check_number(name, 0 if name == "data_seed" else 1, whole=True)
        for name in (
            "learning_rate", "weight_decay", "adam_epsilon", "max_grad_norm", "warmup_steps", "warmup_ratio", "eval_delay",
        ):  # fmt: skip
            self._check_number(name, 0)
        for name in ("adam_beta1", "adam_beta2", "label_smoothing_factor"):
            self._check_number(name, 0, below=1)
        self._check_number("warmup_ratio", 0, below=1)
        self._check_number("max_steps", -math.inf, whole=True)
        self._check_number("num_train_epochs", 0)
        for strategy in ("eval", "logging", "save"):
            name = f"{strategy}_steps"
            if getattr(self, f"{strategy}_strategy") != "steps" or (name == "eval_steps" and self.eval_steps is None):
                continue
            self._check_number(name, 0)
            steps = getattr(self, name)
            if steps == 0 or (steps > 1 and steps != int(steps)):
                raise InputError(f"{name} is {steps}; give a whole number of steps, or a share of them below 1")
        for name in ("fp16", "bf16"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} is {getattr(self, name)!r}; it is True or False")
        if self.fp16 and self.bf16:
            raise InputError("fp16 and bf16 are both True; choose one of them")
        if self.max_steps <= 0 and self.num_train_epochs == 0:
            raise InputError("num_train_epochs is 0 and max_steps is not set; give one of the two")
        reports = [self.report_to] if isinstance(self.report_to, str) else self.report_to or []
        for name in reports:
            if name not in ("none", "all"):
                raise InputError(
                    f"report_to is {name!r}; minilm only writes metrics.jsonl into logging_dir: use 'none'"
                )

    def _check_number(self, name: str, least: float, whole: bool = False, below: float = math.inf) -> None:
        value: Any = getattr(self, name)
        kind: Any = numbers.Integral if whole else numbers.Real
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(f"{name} is {value!r}; it must be a {'whole ' if whole else ''}number")
        if not least <= value < below:
            limit = f" and below {below:g}" if below < math.inf else ""
            raise InputError(f"{name} is {value}; it must be at least {least:g}{limit}")

    def check_best_model(self) -> None:
        """Raise InputError if the best model could not be there at the end, because it was never evaluated or saved."""
        if self.save_strategy == "best" and self.metric_for_best_model is None:
            raise InputError('save_strategy "best" needs metric_for_best_model, such as "accuracy"; give it')
        if not self.load_best_model_at_end:
            return
        if self.eval_strategy == "no":
            raise InputError('load_best_model_at_end needs evaluations; set eval_strategy to "epoch" or "steps"')
        if self.save_strategy == "best":
            return
        if self.save_strategy != self.eval_strategy:
            raise InputError(
                f"load_best_model_at_end needs a checkpoint for each evaluation, but save_strategy is {self.save_strategy!r} "
                f"and eval_strategy {self.eval_strategy!r}; set both to the same"
            )
        assert self.eval_steps is not None
        times = self.save_steps / self.eval_steps
        if self.eval_strategy == "steps" and abs(times - round(times)) > 1e-9:
            raise InputError(
                f"save_steps {self.save_steps} is no multiple of eval_steps {self.eval_steps}; load_best_model_at_end needs "
                "an evaluation of every checkpoint"
            )

    @property
    def precision(self) -> str:
        """What a training computes in: "float32" (or the model's own float64), "float16" or "bfloat16"."""
        return "float16" if self.fp16 else "bfloat16" if self.bf16 else "float32"

    def get_warmup_steps(self, num_training_steps: int) -> int:
        """Steps of the warm-up in a training of so many steps."""
        share = self.warmup_steps if 0 < self.warmup_steps < 1 else 0 if self.warmup_steps else self.warmup_ratio
        return math.ceil(num_training_steps * share) if share else int(self.warmup_steps)

    def interval(self, kind: str, num_training_steps: int) -> int:
        """Steps between two evaluations ("eval"), lines of the log ("logging") or checkpoints ("save")."""
        steps = getattr(self, f"{kind}_steps")
        return math.ceil(num_training_steps * steps) if steps < 1 else int(steps)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
