"""From options to all that a pre-training needs, every input checked on the way."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minilm.errors import InputError
from minilm.hub import AutoTokenizer
from minilm.optional import require
from minilm.pretraining.bert import Bert
from minilm.pretraining.documents import read_texts, set_aside
from minilm.pretraining.families import Family, Row, fingerprint
from minilm.pretraining.gpt import Gpt
from minilm.pretraining.options import PretrainingOptions
from minilm.pretraining.t5 import T5
from minilm.training import EvalPrediction, Trainer, TrainingArguments
from minilm.training.features import Features

KINDS: dict[str, type[Family]] = {"bert": Bert, "t5": T5, "gpt": Gpt}
ENCODED_AT_ONCE = 256  # texts
VALIDATION_SEED = 1  # of the masks by which models are compared


@dataclass
class Prepared:
    """A pre-training that is ready to start.

    options: what was asked for. family: what it learns. model, tokenizer. training, validation: rows of ids without masks.
    characters: of the two parts. documents: of the two parts. fingerprint: of all rows. arguments: TrainingArguments.
    """

    options: PretrainingOptions
    family: Family
    model: Any
    tokenizer: Any
    training: list[Row]
    validation: list[Row]
    documents: tuple[int, int]
    characters: tuple[int, int]
    fingerprint: str
    arguments: TrainingArguments

    def trainer(self, callbacks: Any = ()) -> PretrainingTrainer:
        """The Trainer of this job, whose model then is on the device."""
        self.model.to(self.options.device)
        return PretrainingTrainer(
            self.model, self.arguments, self.family.collator(self.tokenizer, self.options.seed), self.training,
            self.validation, self.tokenizer, compute_metrics=self.metrics, callbacks=list(callbacks),
            preprocess_logits_for_metrics=self.family.compressed,
            fixed_collator=lambda: self.family.collator(self.tokenizer, VALIDATION_SEED),
        )  # fmt: skip

    def metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """Loss and accuracy of each thing that the model names."""
        values: dict[str, float] = {}
        for name, judged in self.family.judged(*prediction).items():
            count = max(1, int(judged.counted.sum()))
            values[f"{name}_loss"] = float(judged.loss.sum() / count)
            values[f"{name}_accuracy"] = float(judged.right.sum() / count)
        return values


class PretrainingTrainer(Trainer):
    """A Trainer that draws masks anew for every training batch, and the same ones each time that it evaluates.

    fixed_collator: makes a collator in the state from which each evaluation starts.
    """

    def __init__(self, *arguments: Any, fixed_collator: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fixed_collator = fixed_collator

    def evaluate(self, *arguments: Any, **options: Any) -> dict[str, float]:
        with self.fixed_masks():
            return super().evaluate(*arguments, **options)

    def predict(self, *arguments: Any, **options: Any) -> Any:
        with self.fixed_masks():
            return super().predict(*arguments, **options)

    @contextmanager
    def fixed_masks(self) -> Iterator[None]:
        """Within this block batches are made by a collator of its own."""
        held = self.features
        self.features = Features(self.model, self.fixed_collator(), self.label_names, self.args.remove_unused_columns)
        try:
            yield
        finally:
            self.features = held


def prepare(
    options: PretrainingOptions, progress: bool = False, tokenizer_folder: str | Path | None = None
) -> Prepared:
    """Read the files, set validation aside, train or open the tokenizer, and turn the text into rows.

    tokenizer_folder: where the tokenizer of a run that is resumed is.
    Raises InputError for whatever is wrong with options, files or tokenizer; nothing is written.
    """
    options.check()
    family = KINDS[options.family](options)
    parts = read_parts(family, options)
    pieces = options.pieces()
    if tokenizer_folder is not None:
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    elif pieces is None:
        tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
        tokenizer.model_max_length = options.max_length
    else:
        shown = progress and sys.stderr.isatty()
        tokenizer = family.train_tokenizer(parts[0], pieces, shown)
    family.check_tokenizer(tokenizer, options.tokenizer)
    family.collator(tokenizer, options.seed)  # it complains now about what it would complain about later

    def encode(texts: list[str]) -> list[Any]:
        return encoded(texts, tokenizer, progress)

    training = family.rows(parts[0], tokenizer, "training", encode)
    validation = family.rows(parts[1], tokenizer, "validation", encode)
    return Prepared(
        options, family, family.model(tokenizer, np.random.default_rng(options.seed)), tokenizer, training, validation,
        documents=(len(parts[0]), len(parts[1])), characters=(sum(map(len, parts[0])), sum(map(len, parts[1]))),
        fingerprint=fingerprint(training, validation), arguments=make_arguments(options),
    )  # fmt: skip


def read_parts(family: Family, options: PretrainingOptions) -> tuple[list[str], list[str]]:
    """The documents of training and validation."""
    documents = family.documents(read_texts(options.data, options.text))
    if options.validation:
        return documents, family.documents(read_texts(options.validation, options.text))
    return set_aside(documents, options.validation_fraction, options.seed)


def encoded(texts: list[str], tokenizer: Any, progress: bool) -> list[Any]:
    """The ids of each text, without special tokens; what looks like one in a text is text."""
    tqdm = require("tqdm", "the progress bar").tqdm
    rows: list[Any] = []
    bar = tqdm(
        total=len(texts), desc="encoding", unit="text", delay=1.0, leave=False, disable=None if progress else True
    )
    with bar:
        for start in range(0, len(texts), ENCODED_AT_ONCE):
            chunk = texts[start : start + ENCODED_AT_ONCE]
            batch: Mapping[str, Any] = tokenizer(chunk, add_special_tokens=False, split_special_tokens=True)
            rows += batch["input_ids"]
            bar.update(len(chunk))
    return rows


def make_arguments(o: PretrainingOptions) -> TrainingArguments:
    """The TrainingArguments that the options mean."""
    folder = o.folder()
    every = math.ceil(o.steps / o.evaluations)
    return TrainingArguments(
        folder / "checkpoints",
        logging_dir=str(folder),
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        logging_steps=max(1, o.steps // 100),
        logging_first_step=True,
        per_device_train_batch_size=o.batch_size,
        per_device_eval_batch_size=o.batch_size,
        gradient_accumulation_steps=o.gradient_accumulation_steps,
        learning_rate=o.rate(),
        weight_decay=o.weight_decay,
        warmup_ratio=o.warmup_ratio,
        max_steps=o.steps,
        fp16=o.precision == "float16",
        bf16=o.precision == "bfloat16",
        seed=o.seed,
    )


def check_same_data(prepared: Prepared, known: str) -> None:
    """Raise InputError unless the rows are those that a run was begun with."""
    if prepared.fingerprint != known:
        raise InputError(
            f"{', '.join(prepared.options.data)} no longer gives the examples that this run was begun with; put the files back "
            "as they were, or begin anew with another --out"
        )
