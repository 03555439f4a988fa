"""When a text ends: a token that says so, a string that says so, or no room."""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm.errors import InputError
from minilm.generation.options import GenerationOptions


class Stopping:
    """Says which texts have ended with their last token.

    A stop string ends a text when it is complete, wherever in the last token that is; the token is still written.
    tokenizer: what has decode(ids) → text; needed for stop strings only.
    Raises InputError for stop strings without a tokenizer.
    """

    def __init__(self, options: GenerationOptions, max_length: int, tokenizer: Any = None):
        self.eos = np.asarray(options.eos, np.int64)
        self.stops = options.stops
        self.max_length = max_length
        self.tokenizer = tokenizer
        # a token gives at least one byte, or it is a special one that gives nothing: look a little further back
        self.reach = 8 + 4 * max((len(stop.encode()) for stop in self.stops), default=0)
        if self.stops and not hasattr(tokenizer, "decode"):
            raise InputError(
                "stop_strings need the tokenizer, which turns tokens into text; give generate(tokenizer=...)"
            )

    def __call__(self, texts: np.ndarray) -> np.ndarray:
        """texts: (n, T).  Returns (n,) bool."""
        if texts.shape[1] >= self.max_length:
            return np.ones(len(texts), bool)
        return self.by_token(texts[:, -1]) | self.by_string(texts)

    def by_token(self, tokens: np.ndarray) -> np.ndarray:
        """Which of the tokens (B,) end their text."""
        return np.isin(tokens, self.eos)

    def by_string(self, texts: np.ndarray) -> np.ndarray:
        """Which of the texts (B, T) have a stop string that their last token makes complete."""
        if not self.stops:
            return np.zeros(len(texts), bool)
        return np.array([self._ends(text[-self.reach :].tolist()) for text in texts], bool)

    def _ends(self, ids: list[int]) -> bool:
        before, now = self.tokenizer.decode(ids[:-1]), self.tokenizer.decode(ids)
        # before its last byte came, a character may have been shown as a replacement mark
        done = len(before.rstrip("\ufffd"))
        return any(now.find(stop, max(0, done - len(stop) + 1)) >= 0 for stop in self.stops)
