"""model.generate(...), for the classes that open Hugging Face folders."""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm.generation.decoding import generate_by_name


class Generates:
    """Gives a model the method generate()."""

    def generate(self, input_ids: Any = None, generator: np.random.Generator | None = None, **options: Any) -> Any:
        """Continue texts, or write from a source: minilm.generation.generate with this model and transformers' options.

        Returns (B, T) tokens, as transformers does; greedy and 20 new tokens unless something else is said.
        """
        inputs = options.pop("inputs", None)
        return generate_by_name(self, input_ids if inputs is None else inputs, generator, **options)
