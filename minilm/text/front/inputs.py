"""What a tokenizer's front is given: texts alone or in pairs, in words or not, and rows of ids."""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm.errors import InputError
from minilm.text.pipeline.encoding import SIDES


def as_batch(text: Any, pair: Any, split: bool) -> tuple[list[tuple[Any, ...]], bool]:
    """Every example as (text,) or (text, pair), and whether several were given."""
    listed = isinstance(text, list | tuple)
    batched = listed and (not split or (len(text) > 0 and isinstance(text[0], list | tuple)))
    if not batched:
        examples = [(text,)] if pair is None or (isinstance(pair, list | str) and not pair) else [(text, pair)]
    elif pair is not None:
        if not isinstance(pair, list | tuple) or len(pair) != len(text):
            found = f"a list of {len(pair)}" if isinstance(pair, list | tuple) else f"one {type(pair).__name__}"
            raise InputError(
                f"{len(text)} texts need a list of as many for text_pair, which is {found}; give one for each"
            )
        examples = list(zip(text, pair))
    elif split:
        examples = [tuple(one) if one and isinstance(one[0], list | tuple) else (one,) for one in text]
    else:
        examples = [tuple(one) if isinstance(one, list | tuple) else (one,) for one in text]
    if not examples:
        raise InputError("the batch is empty; give at least one text")
    for number, example in enumerate(examples):
        for one in example:
            words = one if split else [one]
            good = isinstance(words, list | tuple) and all(isinstance(word, str) for word in words)
            if not good or len(example) > 2:
                expected = "a list of words" if split else "a text or a pair of texts"
                raise InputError(
                    f"example {number} is {example!r:.80} where {expected} was expected; give str throughout"
                )
    return examples, batched


def check_counts(**values: Any) -> None:
    """Raise InputError for a value that is neither None nor a whole number from 0."""
    for name, value in values.items():
        if value is not None and (not isinstance(value, int | np.integer) or value < 0):
            raise InputError(f"{name} is {value!r}; give a whole number from 0")


def check_side(name: str, side: str) -> str:
    if side not in SIDES:
        raise InputError(f'{name} {side!r} is unknown; use "right" or "left"')
    return side


def or_default(value: bool | None, default: bool) -> bool:
    return default if value is None else value


def whole_numbers(ids: Any) -> list[int]:
    """One sequence of ids as a list. Raises InputError for what is none."""
    array = np.atleast_1d(np.asarray(ids))
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(
            f"ids of shape {array.shape} and type {array.dtype} are no sequence of whole numbers; give one list of ids"
        )
    return array.astype(np.int64).tolist()


def is_batch(ids: Any) -> bool:
    if isinstance(ids, np.ndarray):
        return ids.ndim > 1
    return (
        isinstance(ids, list | tuple)
        and len(ids) > 0
        and isinstance(ids[0], list | tuple | np.ndarray)
        and np.ndim(ids[0]) > 0
    )
