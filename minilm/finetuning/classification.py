"""Classification: a text, or a pair of texts, into one of several classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from minilm.data import TextExample, read_snips_intents, read_text_examples, sign_label
from minilm.data.collators import DataCollatorWithPadding
from minilm.errors import InputError
from minilm.finetuning.encoding import encode_texts
from minilm.finetuning.judging import add_majority, intervals, refuse_unseen
from minilm.finetuning.task import Encoded, Judgement, Parts, Table, Task
from minilm.finetuning.task_options import ClassificationOptions
from minilm.functional.normalization import softmax_array
from minilm.metrics import ConfusionMatrix, average_scores, classification_report
from minilm.training import EvalPrediction


class Classification(Task):
    """Rows: the ids of a text and the number of its class. Predictions: a score for each class, (N, C)."""

    auto_class = "AutoModelForSequenceClassification"
    options: ClassificationOptions
    classes: tuple[str, ...] = ()
    majority: str = ""  # the most frequent class of the training part

    def read(self, path: str) -> list[TextExample]:
        o = self.options
        if o.format == "snips":
            return read_snips_intents(path)
        convert = None if o.rating_threshold is None else sign_label(o.rating_threshold)
        return read_text_examples(
            path, text=o.text, label=o.label, second=o.second, columns=o.column_names(), convert=convert,
            format=o.format,
        )  # fmt: skip

    def learn(self, parts: Parts) -> Parts:
        counts = Counter(str(example.label) for example in parts.training)
        self.classes, self.majority = tuple(sorted(counts)), counts.most_common(1)[0][0]
        if len(self.classes) < 2:
            raise InputError(
                f"all {len(parts.training)} training examples have the class {self.classes[0]!r}; give examples of two "
                "classes or more, or another --label column"
            )
        if len(self.classes) > max(10, len(parts.training) // 2):
            raise InputError(
                f"{len(parts.training)} training examples have {len(self.classes)} different classes, the first of them "
                f"{', '.join(map(repr, self.classes[:3]))}; that is hardly a column of classes, choose another --label"
                " (for ratings give --rating_threshold)"
            )
        refuse_unseen(parts, self.classes, lambda example: [str(example.label)], "class")
        return parts

    @property
    def labels(self) -> tuple[str, ...]:
        return self.classes

    def texts(self, examples: Sequence[TextExample]) -> Iterator[str]:
        for example in examples:
            yield example.text
            if example.second is not None:
                yield example.second

    def encode(self, examples: list[TextExample], part: str, tokenizer: Any, max_length: int) -> Encoded:
        seconds = [str(example.second) for example in examples] if self.options.second else None
        texts = [example.text for example in examples]
        encoded = encode_texts(examples, texts, seconds, tokenizer, max_length, self.options.too_long, part)
        number = {name: n for n, name in enumerate(self.classes)}
        for row, example in zip(encoded.rows, examples):
            row["labels"] = number[str(example.label)]
        return encoded

    def collator(self, tokenizer: Any, model: Any) -> DataCollatorWithPadding:
        return DataCollatorWithPadding(tokenizer)

    def metrics(self, part: Encoded, tokenizer: Any) -> Callable[[EvalPrediction], dict[str, float]]:
        def compute(evaluation: EvalPrediction) -> dict[str, float]:
            report = classification_report(evaluation.predictions.argmax(-1), evaluation.label_ids)
            return {"accuracy": report.accuracy, "macro_f1": report.macro.f1}

        return compute

    def judge(self, part: Encoded, predictions: Any, tokenizer: Any) -> Judgement:
        probabilities = softmax_array(np.asarray(predictions, np.float64))
        predicted = probabilities.argmax(-1)
        actual = np.array([row["labels"] for row in part.rows])
        C, N = len(self.classes), len(actual)
        report = classification_report(predicted, actual, np.arange(C))
        cells = actual * C + predicted  # of the confusion matrix

        def macro_f1(rows: np.ndarray) -> float:
            counts = np.bincount(cells[rows], minlength=C * C).reshape(C, C)
            return average_scores(ConfusionMatrix(self.classes, counts).class_counts, "macro").f1

        def share_right(rows: np.ndarray) -> float:
            return float((predicted[rows] == actual[rows]).mean())

        scores = intervals({"accuracy": share_right, "macro F1": macro_f1}, N, self.options.resamples)
        answers = [
            {
                "text": example.text if example.second is None else f"{example.text} / {example.second}",
                "expected": self.classes[a],
                "predicted": self.classes[p],
                "probability": float(row[p]),
                "right": bool(a == p),
            }
            for example, a, p, row in zip(part.examples, actual, predicted, probabilities)
        ]
        per_class = [(name, *line) for name, line in zip(self.classes, report.per_class.values())]
        judgement = Judgement(
            scores, answers, [Table("Each class", ("class", "precision", "recall", "F1", "examples"), per_class)],
            ConfusionMatrix(self.classes, report.confusion.counts),
        )  # fmt: skip
        add_majority(judgement, self.classes.index(self.majority), actual, self.classes, "text")
        return judgement
