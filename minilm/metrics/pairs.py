"""Predictions beside references: the checks that every metric begins with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minilm.errors import InputError

References = Sequence[str | Sequence[str]]


def check_counts(predictions: int, references: int) -> None:
    """Raise InputError unless there are as many predictions as references, and at least one."""
    if predictions != references:
        raise InputError(f"{predictions} predictions for {references} references; give one prediction per reference")
    if predictions == 0:
        raise InputError("there are no predictions, so nothing to measure; give at least one")


def text_pairs(predictions: Sequence[str], references: References) -> list[tuple[str, list[str]]]:
    """Each prediction with the list of its references, which may be empty.

    predictions: N texts; references: for each one text, or a list or tuple of texts.
    Raises InputError for no prediction, unequal numbers, and what is no text.
    """
    for name, side in (("predictions", predictions), ("references", references)):
        if isinstance(side, str):
            raise InputError(f"{name} are one text, and its characters would be taken one by one; put it in a list")
    check_counts(len(predictions), len(references))
    pairs = []
    for n, (prediction, given) in enumerate(zip(predictions, references)):
        texts: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
        for text in (prediction, *texts):
            if not isinstance(text, str):
                raise InputError(f"example {n} has {type(text).__name__} where a text belongs; decode token ids first")
        pairs.append((prediction, texts))
    return pairs


def referenced_pairs(predictions: Sequence[str], references: References) -> list[tuple[str, list[str]]]:
    """`text_pairs` that have at least one reference each. Raises InputError where there is none."""
    pairs = text_pairs(predictions, references)
    for n, (_, texts) in enumerate(pairs):
        if not texts:
            raise InputError(f"example {n} has no reference; give at least one text to compare with")
    return pairs
