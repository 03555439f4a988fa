"""What a collator must know of its tokenizer, and where its randomness comes from."""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm.data.drawing import Drawing
from minilm.errors import InputError


def setting(tokenizer: Any, name: str, given: int | None, default: int | None = None) -> int:
    """A number such as pad_token_id: the one `given`, or the tokenizer's attribute of that name, or the default.

    Raises InputError if there is none.
    """
    value = given if given is not None else getattr(tokenizer, name, None)
    if value is None:
        value = default
    if value is None:
        role = name.removesuffix("_id")
        whose = "the tokenizer has none" if tokenizer is not None else "no tokenizer was given either"
        raise InputError(f"{name} is needed and {whose}; give {name}=..., or a tokenizer with a {role}")
    return int(value)


def vocabulary_size(tokenizer: Any, given: int | None) -> int:
    """The number of ids: as given, or len(tokenizer), which counts added tokens, too."""
    if given is None and tokenizer is not None and hasattr(tokenizer, "__len__"):
        given = len(tokenizer)
    return setting(tokenizer, "vocab_size", given)


class RandomCollator(Drawing):
    """A collator that draws. generator: where from; without one, a generator of its own that starts with `seed`."""

    def __init__(self, generator: np.random.Generator | None, seed: int) -> None:
        if generator is not None and not isinstance(generator, np.random.Generator):
            raise InputError(f"generator is a {type(generator).__name__}; pass numpy.random.default_rng(seed)")
        self.generator = np.random.default_rng(seed) if generator is None else generator


def check_share(name: str, value: float) -> None:
    """Raise InputError unless `value` is a probability."""
    if not 0 <= value <= 1:
        raise InputError(f"{name} is {value}; it must lie between 0 and 1")


def check_tensors(return_tensors: str | None) -> None:
    """Raise InputError unless NumPy's arrays are asked for, which is all that collators make."""
    if return_tensors not in ("np", None):
        raise InputError(
            f'return_tensors is {return_tensors!r}; collators make NumPy arrays: use "np", or leave it out'
        )
