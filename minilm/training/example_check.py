"""A look at all examples before a training, so that a wrong one is not met after hours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minilm.errors import InputError
from minilm.nn import Module
from minilm.training.features import LABELS

HEADS = ("classifier", "score")  # layers of a model with classes for labels


def check_examples(model: Module, dataset: Any, name: str) -> None:
    """Raise InputError that names the first example whose ids, length or labels the model cannot take.

    Looks at lists only: what another dataset makes when it is asked for an example may take long.
    """
    config = getattr(model, "config", None)
    if config is None or not isinstance(dataset, (list, tuple)):
        return
    vocabulary = getattr(config, "vocab_size", None)
    longest = getattr(config, "max_position_embeddings", None)
    classes, what = label_limit(model, config)
    for n, example in enumerate(dataset):
        if not isinstance(example, Mapping):
            raise InputError(
                f"example {n} of {name} is a {type(example).__name__}; give dicts with input_ids and labels"
            )
        ids = integers(example.get("input_ids"))
        if ids is not None and ids.ndim == 1:
            if len(ids) == 0:
                raise InputError(f"example {n} of {name} has no tokens; leave it out")
            if longest is not None and len(ids) > longest:
                raise InputError(
                    f"example {n} of {name} has {len(ids)} tokens, the model has {longest} positions; let the tokenizer cut: "
                    f"truncation=True, max_length={longest}"
                )
            if vocabulary is not None and not 0 <= ids.min() <= ids.max() < vocabulary:
                raise InputError(
                    f"example {n} of {name} has the id {outside(ids, vocabulary)}, the model knows 0 to {vocabulary - 1}; use "
                    "the tokenizer that belongs to the model"
                )
        labels = integers(next((example[key] for key in ("labels", *LABELS) if key in example), None))
        if labels is not None and labels.size and classes is not None:
            counted = labels[labels != -100]
            if counted.size and not 0 <= counted.min() <= counted.max() < classes:
                raise InputError(
                    f"example {n} of {name} has the label {outside(counted, classes)}; {what} are 0 to {classes - 1}, and -100 "
                    "marks what does not count"
                )


def label_limit(model: Module, config: Any) -> tuple[int | None, str]:
    """How many values a label may have, and what they are: classes, or words. None: any."""
    if any(isinstance(getattr(model, head, None), Module) for head in HEADS):
        classes = getattr(config, "num_labels", None)
        if getattr(config, "problem_type", None) not in (None, "single_label_classification") or classes == 1:
            return None, ""
        return classes, "the classes"
    return getattr(config, "vocab_size", None), "the words"


def integers(values: Any) -> np.ndarray | None:
    """Values as an array, if they are integers."""
    if values is None:
        return None
    try:
        array = np.asarray(values)
    except ValueError:
        return None  # the collator says what is wrong with it
    return array if array.dtype.kind in "iu" or array.size == 0 else None


def outside(values: np.ndarray, limit: int) -> int:
    """The first value that is not from 0 to limit − 1."""
    return int(values[(values < 0) | (values >= limit)].reshape(-1)[0])
