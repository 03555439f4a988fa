"""Padding: examples of unequal length in one rectangle.

input_ids  [5 6 7]  [8]   →   5 6 7      attention_mask   1 1 1
                              8 0 0                       1 0 0
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minilm.data.collators.settings import check_tensors, setting
from minilm.errors import InputError

IGNORED = -100  # a label that the loss does not count

Feature = Mapping[str, Any]
Batch = dict[str, np.ndarray]


def pad_rows(
    rows: Sequence[Any],
    value: int,
    length: int | None = None,
    side: str = "right",
    name: str = "input_ids",
    multiple_of: int | None = None,
) -> np.ndarray:
    """(B, T) int64: each row with `value` behind it ("right") or before it ("left").

    length: T; the longest row's if None, rounded up to a multiple of `multiple_of`. name: of what is padded, for errors.

    Raises InputError for no rows, a row that is no sequence of integers, a row longer than `length`, another side.
    """
    if side not in ("right", "left"):
        raise InputError(f'padding_side is {side!r}; use "right" or "left"')
    if not len(rows):
        raise InputError("the batch is empty; give at least one example")
    arrays = [_integers(row, name, n) for n, row in enumerate(rows)]
    longest = max(map(len, arrays))
    width = longest if length is None else length
    if width < longest:
        raise InputError(
            f"{name} has {longest} entries, but max_length is {width}; let the tokenizer cut: "
            f"truncation=True, max_length={width}"
        )
    if multiple_of:
        width = -(-width // multiple_of) * multiple_of
    padded = np.full((len(arrays), width), value, np.int64)
    for row, array in zip(padded, arrays):
        if side == "right":
            row[: len(array)] = array
        else:
            row[width - len(array) :] = array
    return padded


def _integers(row: Any, name: str, n: int) -> np.ndarray:
    try:
        array = np.asarray(row)
    except ValueError:
        array = np.empty((0, 0))
    if array.size == 0 and array.ndim == 1:
        return array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iub":
        raise InputError(f"{name} of example {n} is {_short(row)}; expected one sequence of integers")
    return array.astype(np.int64)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"a {type(value).__name__}"


class DataCollatorWithPadding:
    """Pads input_ids, attention_mask, token_type_ids, special_tokens_mask and, if they are sequences, labels.

    tokenizer: anything with pad_token_id (and, if they differ from the usual, pad_token_type_id and padding_side); the
    same can be given as arguments. padding: True or "longest" for the longest example, "max_length" for max_length.
    pad_to_multiple_of: round the length up. label_pad_token_id: what pads labels. return_tensors: "np".

    Called with a list of dicts, it returns a dict of int64 arrays: sequences as (B, T), numbers as (B,) ("label" and
    "label_ids" become "labels"; float labels stay float32). attention_mask is made if the examples have none.
    Raises InputError for an empty list, examples with different fields, and values that are no numbers.
    """

    PADS = ("input_ids", "attention_mask", "token_type_ids", "special_tokens_mask", "labels")

    def __init__(
        self,
        tokenizer: Any = None,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        *,
        pad_token_id: int | None = None,
        padding_side: str | None = None,
        label_pad_token_id: int = IGNORED,
        return_tensors: str | None = "np",
    ) -> None:
        check_tensors(return_tensors)
        if padding not in (True, "longest", "max_length"):
            raise InputError(f'padding is {padding!r}; use True, "longest" or "max_length"')
        if padding == "max_length" and max_length is None:
            raise InputError('padding="max_length" needs max_length; give it')
        self.tokenizer = tokenizer
        self.pad_token_id = setting(tokenizer, "pad_token_id", pad_token_id)
        self.length = max_length if padding == "max_length" else None
        self.pad_to_multiple_of = pad_to_multiple_of
        self.padding_side = padding_side or getattr(tokenizer, "padding_side", None) or "right"
        types = getattr(tokenizer, "pad_token_type_id", None) or 0
        self.fill = dict(zip(self.PADS, (self.pad_token_id, 0, types, 1, label_pad_token_id)))

    def __call__(self, features: Sequence[Feature]) -> Batch:
        columns = columns_of(features)
        if "input_ids" not in columns:
            raise InputError(f"the examples have {', '.join(columns)} but no input_ids; tokenize the texts first")
        if "attention_mask" not in columns:
            columns["attention_mask"] = [np.ones(len(row), np.int64) for row in columns["input_ids"]]
        ids = self.pad("input_ids", columns.pop("input_ids"), self.length)
        batch = {"input_ids": ids}
        for name, values in columns.items():
            if name in self.fill and np.ndim(values[0]) > 0:
                batch[name] = self.pad(name, values, ids.shape[1])
            else:
                batch[name] = stack(name, values)
        return batch

    def pad(self, name: str, rows: Sequence[Any], length: int | None) -> np.ndarray:
        return pad_rows(rows, self.fill[name], length, self.padding_side, name, self.pad_to_multiple_of)


def columns_of(features: Sequence[Feature]) -> dict[str, list[Any]]:
    """The examples field by field; "label" and "label_ids" are called "labels"."""
    if not len(features):
        raise InputError("the batch is empty; give at least one example")
    first = features[0]
    if not isinstance(first, Mapping):
        raise InputError(f"an example is a {type(first).__name__}; expected a dict with input_ids")
    names = set(first)
    for n, feature in enumerate(features):
        if set(feature) != names:
            odd = sorted(names ^ set(feature))
            raise InputError(
                f"example {n} differs from the first in the field {odd[0]!r}; give all examples the same fields"
            )
    rename = {"label": "labels", "label_ids": "labels"}
    return {rename.get(name, name): [feature[name] for feature in features] for name in first}


def stack(name: str, values: Sequence[Any]) -> np.ndarray:
    """Values of equal shape as one array: int64, or float32. Raises InputError for anything else."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise InputError(
            f"{name} has another shape in each example and is not padded; remove it or make it equal"
        ) from None
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    raise InputError(
        f"{name} holds {_short(values[0])}, which is no number; remove the field {name!r} from the examples"
    )


def default_data_collator(features: Sequence[Feature], return_tensors: str | None = "np") -> Batch:
    """Examples that already have equal shapes, field by field as arrays. Raises InputError as above."""
    check_tensors(return_tensors)
    return {name: stack(name, values) for name, values in columns_of(features).items()}
