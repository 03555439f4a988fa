"""What a collator must know of its tokenizer, and where its randomness comes from."""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm.data.windows import plain
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


class RandomCollator:
    """A collator that draws. generator: where from; without one, a generator of its own that starts with `seed`."""

    def __init__(self, generator: np.random.Generator | None, seed: int) -> None:
        if generator is not None and not isinstance(generator, np.random.Generator):
            raise InputError(f"generator is a {type(generator).__name__}; pass numpy.random.default_rng(seed)")
        self.generator = np.random.default_rng(seed) if generator is None else generator

    def state_dict(self) -> dict[str, Any]:
        """The generator's state, ready for JSON: after load_state_dict the same draws follow."""
        return {"generator": plain(self.generator.bit_generator.state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken. Raises InputError if that was another kind of generator."""
        try:
            self.generator.bit_generator.state = state["generator"]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"the saved state does not fit the generator {type(self.generator.bit_generator).__name__} ({error}); "
                "resume from a checkpoint that this version of minilm wrote"
            ) from error


def check_share(name: str, value: float) -> None:
    """Raise InputError unless `value` is a probability."""
    if not 0 <= value <= 1:
        raise InputError(f"{name} is {value}; it must lie between 0 and 1")
