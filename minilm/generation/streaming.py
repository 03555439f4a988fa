"""Text while it is being written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minilm.errors import InputError

CUT = "\ufffd"  # what decode() gives for a character whose last bytes have not come yet


class TextStreamer:
    """Prints a text as generate(streamer=...) writes it, under transformers' names.

    tokenizer: what has decode(ids). skip_prompt: do not print the prompt. write: takes each new piece of text, instead of
    printing it. decode_options: for decode, such as skip_special_tokens=True.

    A piece is printed when it cannot change any more: a character of several bytes comes when its last byte is there.
    """

    def __init__(
        self,
        tokenizer: Any,
        skip_prompt: bool = False,
        write: Callable[[str], Any] | None = None,
        **decode_options: Any,
    ):
        self.tokenizer = tokenizer
        self.skip_prompt = skip_prompt
        self.write = write or (lambda text: print(text, end="", flush=True))
        self.decode_options = decode_options
        self._begin()

    def _begin(self) -> None:
        self.ids: list[int] = []
        self.printed = 0  # characters of decode(ids)
        self.is_prompt = True

    def put(self, tokens: Any) -> None:
        """The prompt at first, then the tokens that are new. Raises InputError for more than one text."""
        tokens = np.asarray(tokens)
        rows = len(tokens) if tokens.ndim > 1 or not self.is_prompt else 1
        if rows > 1:
            raise InputError(f"a stream is one text, and these are {rows}; give one prompt")
        if self.is_prompt and self.skip_prompt:
            self.is_prompt = False
            return
        self.is_prompt = False
        self.ids += tokens.reshape(-1).tolist()
        text = self.tokenizer.decode(self.ids, **self.decode_options)
        if not text.endswith(CUT):
            self._print(text)

    def end(self) -> None:
        """Print what is left, and be ready for another text."""
        if self.ids:
            self._print(self.tokenizer.decode(self.ids, **self.decode_options))
        self._begin()

    def _print(self, text: str) -> None:
        if len(text) > self.printed:
            self.write(text[self.printed :])
            self.printed = len(text)
        if text.endswith("\n"):  # what comes cannot change the line before, so it need not be decoded again
            self.ids, self.printed = [], 0
