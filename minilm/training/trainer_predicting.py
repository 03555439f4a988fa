"""The part of the Trainer that evaluates and predicts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from minilm.errors import InputError
from minilm.metrics.evaluation import evaluation_mode
from minilm.training.device_batches import sent
from minilm.training.example_check import check_examples
from minilm.training.features import Features, count_labels
from minilm.training.predictions import (
    EvalPrediction,
    PredictionOutput,
    arrays_of,
    concatenate_batches,
    plain_numbers,
    predictions_of,
)
from minilm.training.threads import kernel_thread_limit, limited_threads
from minilm.training.trainer_saving import Saving


class Predicting(Saving):
    """evaluate() and predict()."""

    eval_dataset: Any
    features: Features
    label_names: list[str]
    compute_metrics: Callable[[EvalPrediction], Mapping[str, Any]] | None
    preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None
    compute_loss: Callable[..., Any]

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Iterable[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The loss and compute_metrics' numbers on a dataset (eval_dataset unless given), their names after "eval_".

        The loss is the mean over all labels that count, each of the same weight, however the batches were cut. Of several
        datasets in a dict each gives numbers of its own: "eval_<name>_loss".
        """
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if is_several(dataset):
            metrics: dict[str, float] = {}
            for name, part in dataset.items():
                metrics |= self.evaluate(part, ignore_keys, f"{metric_key_prefix}_{name}")
            return metrics
        output = self.prediction_loop(
            dataset, "eval_dataset", metric_key_prefix, ignore_keys, self.compute_metrics is None
        )
        line = self.log(output.metrics)
        self.notify("on_evaluate", metrics=line)
        return line

    def predict(
        self, test_dataset: Any, ignore_keys: Iterable[str] | None = None, metric_key_prefix: str = "test"
    ) -> PredictionOutput:
        """What the model says for each example, the labels if there are any, and metrics with "test_" before their names.

        predictions: (N, ...) the logits, or a tuple of arrays where the model has several outputs; where batches differ in
        length, −100 stands behind the shorter ones. ignore_keys: outputs that are left out.
        """
        output = self.prediction_loop(test_dataset, "test_dataset", metric_key_prefix, ignore_keys, False)
        self.notify("on_predict", metrics=output.metrics)
        return output

    def check_eval_dataset(self) -> None:
        """Raise InputError for an evaluation set that is missing, or that the model cannot take."""
        parts = self.eval_dataset.values() if is_several(self.eval_dataset) else [self.eval_dataset]
        for part in parts:
            self.features.check(part, "eval_dataset")
            check_examples(self.model, part, "eval_dataset")

    def prediction_loop(
        self, dataset: Any, name: str, prefix: str, ignore_keys: Iterable[str] | None, loss_only: bool
    ) -> PredictionOutput:
        """Batch after batch, without dropout and without a tape; the model is afterwards in the mode it was in."""
        self.features.check(dataset, name)
        loss_only = loss_only or self.args.prediction_loss_only
        size, n = self.args.per_device_eval_batch_size, len(dataset)
        starts = range(0, n, size)
        total, counted = 0.0, 0
        predictions: list[Any] = []
        labels: list[Any] = []
        started = time.perf_counter()
        with evaluation_mode(self.model), limited_threads(kernel_thread_limit()):
            for start in starts:
                batch = self.features.batch(dataset, range(start, min(n, start + size)))
                loss, outputs, targets = self.prediction_step(batch, loss_only, ignore_keys)
                if loss is not None:
                    count = count_labels(self.model, batch)
                    total += loss * count if count else 0.0
                    counted += count
                if not loss_only:
                    predictions.append(outputs)
                    labels.append(targets)
                self.notify("on_prediction_step", eval_dataloader=starts)
        result, targets = concatenate_batches(predictions), concatenate_batches(labels)
        metrics: dict[str, Any] = {}
        if self.compute_metrics is not None and result is not None and targets is not None:
            metrics.update(self.compute_metrics(EvalPrediction(result, targets)))
        if counted:
            metrics[f"{prefix}_loss"] = total / counted
        seconds = time.perf_counter() - started
        metrics = {key if key.startswith(f"{prefix}_") else f"{prefix}_{key}": v for key, v in metrics.items()}
        metrics[f"{prefix}_runtime"] = round(seconds, 4)
        metrics[f"{prefix}_samples_per_second"] = round(n / seconds, 3)
        metrics[f"{prefix}_steps_per_second"] = round(math.ceil(n / size) / seconds, 3)
        return PredictionOutput(result, targets, plain_numbers(metrics))

    def prediction_step(
        self, batch: dict[str, Any], loss_only: bool = False, ignore_keys: Iterable[str] | None = None
    ) -> tuple[float | None, Any, Any]:
        """One batch: its mean loss (None without labels), predictions and labels as arrays. Override it to your needs."""
        given = [name for name in self.label_names if batch.get(name) is not None]
        targets = tuple(np.asarray(batch[name]) for name in given)
        moved, checked = sent(self.model, batch)
        with checked:
            if not given:
                loss, outputs = None, self.model(**moved)
            else:
                value, outputs = self.compute_loss(self.model, dict(moved), return_outputs=True)
                loss = float(value.item())
        if loss_only:
            return loss, None, None
        result = predictions_of(outputs, loss is not None, ignore_keys or ())
        if self.preprocess_logits_for_metrics is not None:
            result = arrays_of(self.preprocess_logits_for_metrics(result, targets[0] if len(targets) == 1 else targets))
        return loss, result, None if not targets else targets[0] if len(targets) == 1 else targets


def is_several(dataset: Any) -> bool:
    """Whether a dataset is a dict from names to datasets, and not one dataset in columns."""
    if not isinstance(dataset, Mapping):
        return False
    if not dataset or "input_ids" in dataset:
        raise InputError(
            "eval_dataset is a dict without datasets in it; give a list of examples, or a dict of such lists"
        )
    return True
