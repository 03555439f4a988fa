"""From options to all that a training needs, every input checked on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minilm.data import split_examples
from minilm.errors import InputError
from minilm.finetuning.answering import Answering
from minilm.finetuning.classification import Classification
from minilm.finetuning.models import longest_text, open_model, open_tokenizer
from minilm.finetuning.options import FinetuningOptions
from minilm.finetuning.tagging import Tagging
from minilm.finetuning.task import PARTS, Encoded, Judgement, Parts, Task
from minilm.finetuning.writing import Summarization, Translation
from minilm.training import EvalPrediction, Trainer, TrainingArguments
from minilm.training.example_check import check_examples

KINDS: dict[str, type[Task]] = {
    "classification": Classification,
    "tagging": Tagging,
    "qa": Answering,
    "translation": Translation,
    "summarization": Summarization,
}
LEAST_EVALUATION_BATCH = 32


@dataclass
class Prepared:
    """A job that is ready to train.

    options: what was asked for. task: reads, encodes and judges. model: in evaluation mode, with adapters if LoRA is on.
    tokenizer: what Trainer calls processing_class. collator: from rows to a batch.
    training, validation, test: each with .examples (as read) and .rows (dicts of ids and labels, for any Trainer).
    compute_metrics: for evaluations of validation; None where its loss must do (translation, summarization).
    arguments: TrainingArguments. max_length: in tokens. notices: what a reader of the report should know of the data.
    """

    options: FinetuningOptions
    task: Task
    model: Any
    tokenizer: Any
    collator: Callable[[list[Any]], Mapping[str, Any]]
    training: Encoded
    validation: Encoded
    test: Encoded
    compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None
    arguments: TrainingArguments
    max_length: int
    notices: list[str]

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The classes (or tags) in the order of their numbers."""
        return self.task.labels

    def trainer(self, callbacks: Any = ()) -> Trainer:
        """The Trainer of this job, whose model then is on the device."""
        self.model.to(self.options.device)
        return self.task.trainer_class(
            self.model, self.arguments, self.collator, self.training.rows, self.validation.rows or None, self.tokenizer,
            compute_metrics=self.compute_metrics, callbacks=list(callbacks),
        )  # fmt: skip

    def judge(self, predictions: Any, part: str = "test") -> Judgement:
        """How good predictions for a part's rows are, whoever made them.

        predictions: what Trainer.predict(rows).predictions is, here or in transformers: scores (N, classes), (N, T, tags),
        (starts, ends) (windows, T) each, or ids written (N, T), for which a list of texts does as well.
        """
        return self.task.judge(getattr(self, part), predictions, self.tokenizer)


def prepare(options: FinetuningOptions, progress: bool = False) -> Prepared:
    """Read the files, split them, make or open tokenizer and model, and turn the examples into rows.

    The same options give the same job, to the bit. Nothing is written. progress: show a bar where a tokenizer is trained.
    Raises InputError for what the user can mend: options, files, classes that training has not, texts too long with
    too_long="refuse", a model that the task or the tokenizer does not fit.
    """
    options.check()
    if options.task not in KINDS:
        raise InputError(f"there is no task {options.task!r}; choose one of {', '.join(KINDS)}")
    task = KINDS[options.task](options)
    max_length = longest_text(task)  # a wrong --model is told at once
    parts = task.learn(read_parts(task))
    tokenizer = open_tokenizer(task, parts, progress)
    model = open_model(task, tokenizer, max_length)
    encoded = [
        task.encode(list(part), name, tokenizer, max_length) if part else Encoded([])
        for name, part in zip(PARTS, parts)
    ]
    for name, part in zip(PARTS, encoded):
        check_examples(model, part.rows, f"the {name} part")
    training, validation, test = encoded
    metrics = task.metrics(validation, tokenizer) if validation.rows else None
    arguments = make_arguments(task, len(training.rows), bool(validation.rows), metrics is not None)
    collator = task.collator(tokenizer, model)
    return Prepared(
        options, task, model, tokenizer, collator, training, validation, test, metrics, arguments, max_length,
        notices_of(task, encoded, max_length),
    )  # fmt: skip


def read_parts(task: Task) -> Parts:
    """The three parts, from files of their own or split off the data, and not more examples than wanted."""
    o: FinetuningOptions = task.options
    files = {"validation": o.validation, "test": o.test}
    given = {name: task.read(path) for name, path in files.items() if path is not None}
    shares = {"validation": o.validation_fraction, "test": o.test_fraction}
    shares = {name: share for name, share in shares.items() if name not in given and share}
    examples = task.read(o.data)
    fractions = [1 - sum(shares.values()), *shares.values()]
    first = examples[0]
    group = task.group if task.group(first) is not None else None
    pieces = split_examples(examples, fractions, seed=o.split_seed, group=group) if shares else [examples]
    found = {"validation": [], **given, "training": pieces[0], **dict(zip(shares, pieces[1:]))}
    limits = {"training": o.max_train_examples, "test": o.max_test_examples}
    return Parts(*(drawn(found[name], limits.get(name, 0), o.split_seed) for name in PARTS))


def drawn(examples: list[Any], limit: int, seed: int) -> list[Any]:
    """At most `limit` of the examples (0: all), drawn, in the order they came in."""
    if not limit or limit >= len(examples):
        return examples
    rows = np.random.default_rng((seed, limit)).permutation(len(examples))[:limit]
    return [examples[n] for n in sorted(rows.tolist())]


def make_arguments(task: Task, rows: int, has_validation: bool, has_metrics: bool) -> TrainingArguments:
    """The TrainingArguments that the options mean."""
    o: FinetuningOptions = task.options
    per_epoch = math.ceil(math.ceil(rows / o.batch_size) / o.gradient_accumulation_steps)
    steps = o.max_steps or max(1, math.ceil(o.epochs * per_epoch))
    every = math.ceil(steps / o.evaluations)
    folder = o.folder()
    best = o.keep == "best"
    return task.arguments_class(
        folder / "checkpoints",
        logging_dir=str(folder),
        eval_strategy="steps" if has_validation else "no",
        eval_steps=every,
        save_strategy="steps" if best else "no",
        save_steps=every,
        save_total_limit=1,
        save_only_model=True,
        load_best_model_at_end=best,
        metric_for_best_model=task.best_metric if best else None,
        logging_steps=max(1, steps // 100),
        logging_first_step=True,
        per_device_train_batch_size=o.batch_size,
        per_device_eval_batch_size=max(o.batch_size, LEAST_EVALUATION_BATCH),
        gradient_accumulation_steps=o.gradient_accumulation_steps,
        learning_rate=o.rate(),
        weight_decay=o.weight_decay,
        warmup_ratio=o.warmup_ratio,
        lr_scheduler_type="constant_with_warmup" if o.scheduler == "constant" else o.scheduler,
        label_smoothing_factor=o.label_smoothing,
        max_steps=steps,
        num_train_epochs=o.epochs or 1.0,
        fp16=o.precision == "float16",
        bf16=o.precision == "bfloat16",
        seed=o.seed,
        train_sampling_strategy="group_by_length" if o.group_by_length else "random",
        **task.arguments(),
    )


def notices_of(task: Task, parts: list[Encoded], max_length: int) -> list[str]:
    """What was done to the data that a reader should know."""
    notices = []
    for name, part in zip(PARTS, parts):
        if part.cut:
            notices.append(
                f"{part.cut:,} of {len(part.examples):,} texts of the {name} part are longer than {max_length} tokens (the "
                f"longest has {part.longest:,}) and were cut; --max_length raises the limit"
            )
        if part.cut_targets:
            notices.append(
                f"{part.cut_targets:,} targets of the {name} part are longer than {task.options.max_target_length} tokens "
                "and were cut; --max_target_length raises the limit"
            )
    return notices
