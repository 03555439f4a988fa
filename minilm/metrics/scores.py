"""Precision, recall and F1 from three counts, and their averages over classes.    [F18; 003 FAQ Q2]

Classes, entity types and ROUGE's n-grams are all judged the same way: how many were predicted, how many are right, how
many there should have been. So the arithmetic is here once.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from minilm.errors import InputError

Average = Literal["micro", "macro", "weighted"]


class Scores(NamedTuple):
    """How well one class was found, or several on average. support: how often it is in the references."""

    precision: float
    recall: float
    f1: float
    support: int


def f_score(precision: float, recall: float, beta: float = 1.0) -> float:
    r"""F_β = (1 + β²) P R / (β² P + R), the harmonic mean of P and R for β = 1.    [eq:f-score] [F18]

    beta: how many times as much recall counts as precision. Returns 0 where P and R are both 0.
    """
    if precision + recall == 0:
        return 0.0
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def scores_of(right: float, predicted: float, actual: float) -> Scores:
    r"""P = TP / (TP + FP),  R = TP / (TP + FN),  F1 = 2 P R / (P + R).    [eq:precision-recall] [F18]

    right: TP, how often the class was predicted rightly; predicted: TP + FP, how often it was predicted;
    actual: TP + FN, how often it is in the references. A ratio with nothing below the line is 0.
    """
    precision = right / predicted if predicted else 0.0
    recall = right / actual if actual else 0.0
    return Scores(float(precision), float(recall), float(f_score(precision, recall)), int(actual))


def average_scores(counts: np.ndarray, average: Average) -> Scores:
    """One line for all classes.

    counts: (classes, 3), per class the right, the predicted and the actual ones, as in `scores_of`.
    average: "micro" adds the counts up first, so each example weighs the same; "macro" is the mean over the classes, so
    a rare class weighs as much as a frequent one; "weighted" is the mean weighted by support.

    A macro F1 is the mean of the classes' F1, not the F1 of mean precision and mean recall. Without classes, or
    weighted without support, all is 0. Raises InputError for another average.
    """
    support = int(counts[:, 2].sum())
    if average == "micro":
        return scores_of(*counts.sum(0))
    if average == "macro":
        weights = np.ones(len(counts))
    elif average == "weighted":
        weights = counts[:, 2].astype(float)
    else:
        raise InputError(f"there is no average {average!r}; give 'micro', 'macro' or 'weighted'")
    if weights.sum() == 0:
        return Scores(0.0, 0.0, 0.0, support)
    per_class = np.array([scores_of(*row)[:3] for row in counts])  # (classes, 3)
    precision, recall, f1 = (weights @ per_class / weights.sum()).tolist()
    return Scores(precision, recall, f1, support)
