"""From examples to the batch that a model takes: columns it knows, the collator, and how many labels count."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from minilm.data.collators import DataCollatorForLanguageModeling, DataCollatorWithPadding, default_data_collator
from minilm.errors import InputError
from minilm.models.causal import CausalLM
from minilm.nn import Module

LABELS = ("label", "label_ids")  # what collators call "labels"
ANSWERS = ("start_positions", "end_positions")


def default_collator(processing_class: Any) -> Callable[[list[Any]], dict[str, Any]]:
    """Padding with the tokenizer's token; without a tokenizer the examples must have equal shapes."""
    if getattr(processing_class, "pad_token_id", None) is None:
        return default_data_collator
    return DataCollatorWithPadding(processing_class)


def arguments_of(model: Module) -> tuple[str, ...] | None:
    """The names of what the model's forward takes; None if it takes anything."""
    parameters = inspect.signature(model.forward).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return tuple(p.name for p in parameters)


def default_label_names(model: Module) -> list[str]:
    """Which of the model's arguments are labels."""
    return [name for name in arguments_of(model) or ("labels",) if "label" in name or name in ANSWERS]


class Features:
    """Turns examples into batches for `model`.

    With remove_unused_columns, what neither the model nor the collator takes is left out (texts, ids of examples, ...).
    """

    def __init__(
        self,
        model: Module,
        collator: Callable[[list[Any]], Any],
        label_names: Iterable[str],
        remove_unused_columns: bool,
    ) -> None:
        self.collator = collator
        arguments = arguments_of(model) if remove_unused_columns else None
        self.for_model = None if arguments is None else {*arguments, *label_names}
        self.for_collator = None
        if self.for_model is not None:
            self.for_collator = self.for_model | set(LABELS)
            if isinstance(collator, DataCollatorForLanguageModeling):
                self.for_collator |= {"special_tokens_mask", "word_ids"}

    def batch(self, dataset: Any, rows: Iterable[int]) -> dict[str, Any]:
        """The examples `rows` of a dataset as one batch."""
        examples = [dataset[int(i)] for i in rows]
        if self.for_collator is not None:
            examples = [{k: v for k, v in example.items() if k in self.for_collator} for example in examples]
        batch = dict(self.collator(examples).items())
        return batch if self.for_model is None else {k: v for k, v in batch.items() if k in self.for_model}

    def check(self, dataset: Any, name: str) -> None:
        """Raise InputError unless `dataset` holds examples that the model takes; looks at the first."""
        if dataset is None:
            raise InputError(f"there is no {name}; give a list of examples, each a dict with input_ids and labels")
        if isinstance(dataset, Mapping) or not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            raise InputError(
                f"{name} is a {type(dataset).__name__}; give a list, or anything with len() and [i], of examples that are dicts"
            )
        if len(dataset) == 0:
            raise InputError(f"{name} is empty; give at least one example")
        example = dataset[0]
        if not isinstance(example, Mapping):
            raise InputError(
                f"an example of {name} is a {type(example).__name__}; give dicts with input_ids and labels"
            )
        if self.for_collator is not None and not set(example) & self.for_collator:
            raise InputError(
                f"the examples of {name} have {', '.join(map(str, example))}, of which the model takes nothing; tokenize the "
                "texts first, or set remove_unused_columns=False"
            )


def count_labels(model: Module, batch: Mapping[str, Any]) -> int:
    """How many labels of a batch count in its mean loss: those that are not −100; or its examples.

    Of a causal language model's labels the first is no target.
    """
    labels = batch.get("labels")
    if labels is None:
        return count_examples(batch)
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        return len(labels)
    if isinstance(model, CausalLM):
        labels = labels[..., 1:]
    return int((labels != -100).sum())


def count_examples(batch: Mapping[str, Any]) -> int:
    """The number of rows of a batch."""
    return max((len(values) for values in batch.values() if np.ndim(values)), default=0)


def length_of(example: Mapping[str, Any]) -> int:
    """The length of an example, by which texts are grouped."""
    return len(example["input_ids"]) if "input_ids" in example else 0
