"""Judging a classifier: accuracy, the confusion matrix, precision, recall and F1 of each class.    [F18; 003 FAQ Q2]

Predictions come first and references second, here and in all of minilm.metrics.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minilm.errors import InputError
from minilm.metrics.pairs import check_counts
from minilm.metrics.scores import Average, Scores, average_scores, scores_of

Labels = Sequence[Any] | np.ndarray


class ConfusionMatrix(NamedTuple):
    """counts[i, j]: how many examples of class labels[i] were predicted as labels[j]."""

    labels: tuple[Hashable, ...]
    counts: np.ndarray

    @property
    def class_counts(self) -> np.ndarray:
        """(classes, 3): how often each class was right, predicted and actual; see `average_scores`."""
        return np.stack([self.counts.diagonal(), self.counts.sum(0), self.counts.sum(1)], axis=1)


@dataclass(frozen=True)
class ClassificationReport:
    """All that `classification_report` counts: of each class, and of all together."""

    accuracy: float
    per_class: dict[Hashable, Scores]
    micro: Scores
    macro: Scores
    weighted: Scores
    confusion: ConfusionMatrix


def accuracy(predictions: Labels, references: Labels) -> float:
    """accuracy = (number of i with ŷ_i = y_i) / N.    [eq:accuracy] [F18; 003 FAQ Q2]

    predictions, references: N labels each, integers or strings. Returns a share from 0 to 1.
    Raises InputError if there are none, or not as many of the one as of the other.
    """
    predicted, actual = label_arrays(predictions, references)
    return float((predicted == actual).mean())


def confusion_matrix(predictions: Labels, references: Labels, labels: Labels | None = None) -> ConfusionMatrix:
    """C_ij = number of examples with y = i and ŷ = j.    [eq:confusion-matrix]

    predictions, references: N labels each. labels: the classes and their order; by default those that occur, sorted.
    Raises InputError as `accuracy` does, and for a label that is not in `labels`.
    """
    predicted, actual = label_arrays(predictions, references)
    present, codes = np.unique(np.concatenate([actual, predicted]), return_inverse=True)
    names = present.tolist() if labels is None else np.asarray(labels).tolist()
    place = {name: n for n, name in enumerate(names)}
    if len(place) < len(names):
        raise InputError("a label is named twice; give each class once")
    unknown = [name for name in present.tolist() if name not in place]
    if unknown:
        raise InputError(f"the label {unknown[0]!r} is not among the {len(names)} given; give all labels that occur")
    codes = np.array([place[name] for name in present.tolist()])[codes]  # the place of each example's label in `names`
    rows, columns = codes[: len(actual)], codes[len(actual) :]
    counts = np.bincount(rows * len(names) + columns, minlength=len(names) ** 2).reshape(len(names), len(names))
    return ConfusionMatrix(tuple(names), counts)


def precision_recall_f1(
    predictions: Labels, references: Labels, average: Average = "macro", labels: Labels | None = None
) -> Scores:
    """Precision, recall and F1 over all classes; see `average_scores` for the three averages, `scores_of` for one class.

    Each class in turn is taken for the positive one. With every class counted, micro precision, recall and F1 are all
    the accuracy. Raises InputError as `confusion_matrix` does.
    """
    return average_scores(confusion_matrix(predictions, references, labels).class_counts, average)


def classification_report(
    predictions: Labels, references: Labels, labels: Labels | None = None
) -> ClassificationReport:
    """Accuracy, the scores of each class, their averages and the confusion matrix, in one.

    predictions, references, labels: as for `confusion_matrix`. Raises InputError as that does.
    """
    confusion = confusion_matrix(predictions, references, labels)
    counts = confusion.class_counts
    return ClassificationReport(
        accuracy=float(counts[:, 0].sum() / counts[:, 2].sum()),
        per_class={label: scores_of(*row) for label, row in zip(confusion.labels, counts)},
        micro=average_scores(counts, "micro"),
        macro=average_scores(counts, "macro"),
        weighted=average_scores(counts, "weighted"),
        confusion=confusion,
    )


def label_arrays(predictions: Labels, references: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays of N labels, or the InputError that says why they are not that."""
    predicted, actual = np.asarray(predictions), np.asarray(references)
    for name, array in (("predictions", predicted), ("references", actual)):
        if array.ndim != 1:
            raise InputError(f"{name} have shape {array.shape}; give one label per example (of scores: argmax(-1))")
        if array.size and array.dtype.kind not in "biuUS":
            raise InputError(f"{name} are {array.dtype}; give labels, integers or strings (of scores: argmax(-1))")
    check_counts(len(predicted), len(actual))
    if (predicted.dtype.kind in "US") != (actual.dtype.kind in "US"):
        raise InputError(
            f"predictions are {predicted.dtype} and references {actual.dtype}, so none would be equal; give both as"
            " strings or both as numbers"
        )
    return predicted, actual
