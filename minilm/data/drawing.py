"""What draws from a generator of its own, and goes on after a resume where it was."""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm.errors import InputError


class Drawing:
    """Has a `generator`, whose state is all there is to save."""

    generator: np.random.Generator

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


def plain(value: Any) -> Any:
    """Turn the arrays in a generator's state into lists, which JSON can write and NumPy takes back."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
