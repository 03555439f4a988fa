"""What the tasks' judgements share: confidence intervals, the majority baseline, classes that training has not seen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from minilm.errors import InputError
from minilm.finetuning.task import PARTS, Judgement, Parts
from minilm.metrics import Interval, bootstrap_interval, classification_report

BOOTSTRAP_SEED = 0  # the same examples and predictions give the same intervals
_IDEOGRAPH = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_LETTER = re.compile(r"[^\W\d_]")


def intervals(
    metrics: Mapping[str, Callable[[np.ndarray], float]], examples: int, resamples: int
) -> dict[str, Interval]:
    """Each metric with its 95 % interval over the same resampled test sets.    [eq:bootstrap]"""
    return {
        name: bootstrap_interval(metric, examples, np.random.default_rng(BOOTSTRAP_SEED), resamples)
        for name, metric in metrics.items()
    }


def refuse_unseen(parts: Parts, known: Iterable[str], labels_of: Callable[[Any], Iterable[str]], what: str) -> None:
    """Raise InputError for a class that validation or test has and training has not: nothing could learn it."""
    seen = set(known)
    for name in PARTS[1:]:
        counts = Counter(label for example in getattr(parts, name) for label in labels_of(example))
        unseen = [label for label in counts if label not in seen]
        if unseen:
            raise InputError(
                f"the {name} part has the {what} {unseen[0]!r} ({counts[unseen[0]]} times), which no training example has; "
                "give training examples of it, leave it out, or split the file another way with --split_seed"
            )


def add_majority(judgement: Judgement, majority: int, actual: np.ndarray, classes: Sequence[str], unit: str) -> None:
    """Say what answering always the most frequent class of the training part would get."""
    report = classification_report(np.full_like(actual, majority), actual, np.arange(len(classes)))
    judgement.baseline = (
        f"Majority baseline: answering {classes[majority]!r}, the most frequent class of the training part, for every {unit} "
        f"would get accuracy {report.accuracy:.3f} and macro F1 {report.macro.f1:.3f}."
    )
    judgement.baseline_scores = {"word accuracy" if unit == "word" else "accuracy": report.accuracy}
    if unit != "word":
        judgement.baseline_scores["macro F1"] = report.macro.f1
    judgement.majority = classes[majority]


def language_of(texts: Iterable[str], chosen: str = "auto") -> str:
    """ "zh" if more than a third of the letters are Chinese characters, else "en"; or what was chosen."""
    if chosen != "auto":
        return chosen
    chinese = letters = 0
    for text in texts:
        chinese += len(_IDEOGRAPH.findall(text))
        letters += len(_LETTER.findall(text))
    return "zh" if chinese > letters / 3 else "en"
