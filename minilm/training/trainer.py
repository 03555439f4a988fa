"""The Trainer: fine-tunes and pre-trains any model on a dataset of examples, with transformers' names.

    trainer = Trainer(model, TrainingArguments("out", eval_strategy="epoch"), train_dataset=..., eval_dataset=...,
                      processing_class=tokenizer, compute_metrics=...)
    trainer.train()
    trainer.evaluate()                                                                        [002 §5.2]

Datasets are lists, or anything with len() and [i], of dicts with input_ids, labels and the like. The loop is TrainingLoop's.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minilm.errors import InputError
from minilm.models.outputs import ModelOutput
from minilm.nn import Module
from minilm.optim import LRScheduler
from minilm.tensor import Tensor
from minilm.training.arguments import TrainingArguments
from minilm.training.device_batches import check_half, weights_on_host
from minilm.training.epochs import EpochBatches
from minilm.training.example_check import check_examples
from minilm.training.features import Features, count_labels, default_collator, default_label_names, length_of
from minilm.training.metrics_log import MetricsLog
from minilm.training.model_files import check_folder, read_model
from minilm.training.predictions import EvalPrediction, TrainOutput
from minilm.training.recipe import make_optimizer, seed_dropout, smoothed_loss
from minilm.training.schedules import trainer_schedule
from minilm.training.threads import kernel_thread_limit, limited_threads
from minilm.training.trainer_callbacks import (
    DefaultFlowCallback,
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    metric_key,
)
from minilm.training.trainer_predicting import Predicting
from minilm.training.trainer_telling import made


class Trainer(Predicting):
    """Trains, evaluates and predicts.

    model                 called with a batch's arrays by name, returns an output with .loss; or model_init(), which makes it
    args                  TrainingArguments
    data_collator         from a list of examples to a dict of arrays; unless given, pads with the tokenizer's token
    train_dataset         examples; eval_dataset: examples, or a dict from names to several such
    processing_class      the tokenizer, which is saved beside the model (transformers 4.x: tokenizer)
    compute_metrics       from an EvalPrediction (predictions, label_ids) to a dict of numbers
    compute_loss_func     from (outputs, labels) to the loss, instead of the model's own
    callbacks             TrainerCallback objects or classes, beside those for progress and logs
    optimizers            (optimizer, schedule) instead of AdamW and the schedule that `args` describes; either may be None
    preprocess_logits_for_metrics   from (logits, labels) to what compute_metrics gets as predictions

    A step's gradient is that of one large batch, however it was cut for accumulation: each label that counts weighs the same.
    """

    def __init__(
        self,
        model: Module | None = None,
        args: TrainingArguments | None = None,
        data_collator: Callable[[list[Any]], Any] | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        model_init: Callable[[], Module] | None = None,
        compute_loss_func: Callable[..., Tensor] | None = None,
        compute_metrics: Callable[[EvalPrediction], Mapping[str, Any]] | None = None,
        callbacks: Sequence[Any] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None = None,
        *,
        tokenizer: Any = None,
    ) -> None:
        if tokenizer is not None:
            warnings.warn("tokenizer is called processing_class now; use that name", DeprecationWarning, stacklevel=2)
            if processing_class is not None:
                raise InputError("tokenizer and processing_class were both given; give processing_class alone")
            processing_class = tokenizer
        if (model is None) == (model_init is None):
            raise InputError("give the Trainer a model, or a function model_init that makes one, and not both")
        self.args = args if args is not None else TrainingArguments()
        super().__init__(self.args.output_dir)
        self.model_init = model_init
        self.model = model if model is not None else model_init()  # type: ignore[misc]  # one of them is given
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self.processing_class = processing_class
        self.data_collator = data_collator if data_collator is not None else default_collator(processing_class)
        self.compute_loss_func, self.compute_metrics = compute_loss_func, compute_metrics
        self.preprocess_logits_for_metrics = preprocess_logits_for_metrics
        self.label_names = self.args.label_names or default_label_names(self.model)
        self.features = Features(self.model, self.data_collator, self.label_names, self.args.remove_unused_columns)
        self.given_optimizer, self.given_scheduler = optimizers
        self.given_rates = [group["lr"] for group in getattr(self.given_optimizer, "param_groups", ())]
        self.state, self.control = TrainerState(), TrainerControl()
        self.batches: EpochBatches | None = None
        self.metrics_log: MetricsLog | None = None
        shown = PrinterCallback() if self.args.disable_tqdm else ProgressCallback(self.args.disable_tqdm)
        self.callbacks: list[TrainerCallback] = [DefaultFlowCallback(), *map(made, callbacks or ()), shown]
        self.notify("on_init_end")

    # --- training -------------------------------------------------------------------------------------------------------

    def train(self, resume_from_checkpoint: str | Path | bool | None = None) -> TrainOutput:
        """Train from the beginning, or on from a checkpoint: True for the newest one in output_dir, or its path.

        Afterwards the model is in evaluation mode. Raises InputError for data or a folder that cannot work, before anything
        is computed; CheckpointError for a checkpoint that is damaged or of another training.
        """
        if resume_from_checkpoint is None:
            resume_from_checkpoint = self.args.resume_from_checkpoint
        self.features.check(self.train_dataset, "train_dataset")
        check_examples(self.model, self.train_dataset, "train_dataset")
        if self.args.eval_strategy != "no" or self.args.eval_on_start:
            self.check_eval_dataset()
        check_half(self.model, self.args.precision)
        check_folder(Path(self.args.output_dir))
        checkpoint = self.find_checkpoint(resume_from_checkpoint) if resume_from_checkpoint else None
        self.prepare()
        if checkpoint is not None:
            self.resume(checkpoint)
        self.open_log()
        first_step, started = self.step, time.perf_counter()
        try:
            with limited_threads(kernel_thread_limit()):
                self.run()
        finally:
            self.model.eval()
            self.compute_in("float32")
        return self.summary(first_step, time.perf_counter() - started)

    def prepare(self) -> None:
        """Everything that the first step needs."""
        args = self.args
        self.reset()
        if self.model_init is not None:
            self.model = self.model_init()
        self.dropout_generator = seed_dropout(self.model, args.seed)
        dataset = self.train_dataset
        self.batches = EpochBatches(
            len(dataset),
            args.per_device_train_batch_size,
            args.seed if args.data_seed is None else args.data_seed,
            args.train_sampling_strategy,
            args.dataloader_drop_last,
            lambda i: length_of(dataset[i]),
        )
        per_epoch = self.batches.steps_per_epoch(args.gradient_accumulation_steps)
        self.max_steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * per_epoch)
        self.max_grad_norm = args.max_grad_norm
        self.optimizer = self.given_optimizer or make_optimizer(self.model, args)
        if self.given_scheduler is None:
            for group, rate in zip(self.optimizer.param_groups, self.given_rates):
                group["lr"] = rate  # a schedule of an earlier train() has lowered it
        self.compute_in(args.precision)
        schedule = trainer_schedule(args.lr_scheduler_type, args.get_warmup_steps(self.max_steps), self.max_steps)
        self.scheduler = self.given_scheduler or LRScheduler(self.optimizer, schedule)
        self.control = TrainerControl()
        self.state = TrainerState(
            max_steps=self.max_steps,
            num_train_epochs=math.ceil(self.max_steps / per_epoch),
            train_batch_size=args.per_device_train_batch_size,
        )
        for kind in ("logging", "eval", "save"):
            if getattr(args, f"{kind}_strategy") == "steps":
                setattr(self.state, f"{kind}_steps", args.interval(kind, self.max_steps))
        self.loss_sum: Any = 0.0  # of the steps since the last line of the log; on a GPU an array, as latest_loss is
        self.last_logged, self.total_loss = 0, 0.0

    @property
    def generator(self) -> np.random.Generator:
        return self.dropout_generator

    def training_step(self) -> None:
        assert self.batches is not None
        if self.step == 0 and self.args.eval_on_start:
            self.evaluate()
        if self.batches.batch in (0, self.batches.batches_per_epoch):
            self.notify("on_epoch_begin")
        self.learning_rate = self.scheduler.get_last_lr()[0]
        super().training_step()

    def next_batches(self) -> list[tuple[Any, float]]:
        assert self.batches is not None
        rows = self.batches.next_batches(self.args.gradient_accumulation_steps)
        batches = [self.features.batch(self.train_dataset, part) for part in rows]
        counts = [count_labels(self.model, batch) for batch in batches]
        total = sum(counts)
        self.tokens_seen += sum(int(np.size(batch.get("input_ids", ()))) for batch in batches)
        return [(batch, count / total if total else 1 / len(batches)) for batch, count in zip(batches, counts)]

    def batch_loss(self, batch: dict[str, Any]) -> Tensor:
        return self.compute_loss(self.model, dict(batch))

    def compute_loss(self, model: Module, inputs: dict[str, Any], return_outputs: bool = False) -> Any:
        """The mean loss of a batch, and with return_outputs also the model's outputs. Override it for a loss of your own."""
        outputs = model(**inputs)
        if self.compute_loss_func is not None:
            loss = self.compute_loss_func(outputs, inputs.get("labels"))
        elif self.args.label_smoothing_factor and inputs.get("labels") is not None:
            loss = smoothed_loss(model, outputs, inputs["labels"], self.args.label_smoothing_factor)
        else:
            loss = loss_of(outputs)
        if not isinstance(loss, Tensor) or loss.data.size != 1:
            kind = (
                "labels" if isinstance(outputs, ModelOutput) else "a model whose output has .loss, or compute_loss_func"
            )
            raise InputError(f"{type(model).__name__} returned no loss for {', '.join(inputs)}; give {kind}")
        return (loss, outputs) if return_outputs else loss

    def after_step(self) -> None:
        """Log, evaluate and save as the callbacks' switches say; a second time where an epoch ends."""
        batches, control = self.batches, self.control
        assert batches is not None
        self.loss_sum = self.loss_sum + self.latest_loss
        self.total_loss = self.total_loss + self.latest_loss
        self.state.global_step, self.state.num_input_tokens_seen = self.step, self.tokens_seen
        self.state.epoch = batches.epoch + batches.batch / batches.batches_per_epoch
        self.notify("on_step_end")
        self.log_evaluate_save()
        if control.should_epoch_stop:
            batches.batch = batches.batches_per_epoch
        if batches.batch == batches.batches_per_epoch or control.should_training_stop:
            self.notify("on_epoch_end")
            self.log_evaluate_save()
        if control.should_training_stop:
            self.stop_reason = "all steps are done" if self.step >= self.max_steps else "a callback stopped it"

    def log_evaluate_save(self) -> None:
        control = self.control
        if control.should_log and self.step > self.last_logged:
            mean = self.fetched("loss", self.loss_sum) / (self.step - self.last_logged)
            self.log({"loss": mean, "grad_norm": self.grad_norm, "learning_rate": self.learning_rate})
            self.loss_sum, self.last_logged = 0.0, self.step
        if control.should_evaluate:
            better = self.remember_best(self.evaluate())
            if self.args.save_strategy == "best":
                control.should_save = better
        if control.should_save:
            self.save(must=False)
        control.should_log = control.should_evaluate = control.should_save = False

    def remember_best(self, metrics: dict[str, float]) -> bool:
        """Whether these metrics are the best so far; then they are remembered."""
        name, best = metric_key(self.args), self.state.best_metric
        if name is None:
            return False
        if name not in metrics:
            raise InputError(
                f"metric_for_best_model is {name}, but the evaluation gave {', '.join(metrics)}; choose one of these"
            )
        value = metrics[name]
        if best is not None and not (value > best if self.args.greater_is_better else value < best):
            return False
        self.state.best_metric, self.state.best_global_step = value, self.step
        return True

    def finish(self) -> None:
        if self.save_error is not None:  # of the last attempt: it is not lost silently
            self.save(must=True)
        best = self.state.best_model_checkpoint
        if not self.args.load_best_model_at_end or best is None:
            return
        if Path(best).is_dir():
            with weights_on_host(self.model, self.optimizer, write_back=True):
                read_model(Path(best), self.model)
        else:
            warnings.warn(
                f"the best checkpoint {best} is gone; the model has the weights of the last step", stacklevel=3
            )

    def summary(self, first_step: int, seconds: float) -> TrainOutput:
        """The line of the log at the end, and what train() returns."""
        steps = self.step - first_step
        loss = float(self.total_loss) / max(1, steps)
        examples = steps * self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        metrics = {
            "train_runtime": round(seconds, 4),
            "train_samples_per_second": round(examples / seconds, 3),
            "train_steps_per_second": round(steps / seconds, 3),
            "train_loss": loss,
        }
        return TrainOutput(self.step, loss, self.log(metrics))


def loss_of(outputs: Any) -> Any:
    """The loss in a model's outputs: .loss, ["loss"], or the first of a tuple."""
    if isinstance(outputs, tuple):
        return outputs[0]
    return outputs.get("loss") if isinstance(outputs, dict) else getattr(outputs, "loss", None)
