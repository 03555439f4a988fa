"""What a tokenizer returns: the arrays a model takes, by key or attribute, and what is known of each token.

batch = tokenizer(["a cat", "b"], padding=True, return_tensors="np")
batch["input_ids"], batch.attention_mask      (2, T)
batch.word_ids(0), batch.sequence_ids(0)      of the first text, None for what is in no text
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minilm.errors import InputError
from minilm.text.pipeline.encoding import Encoding


class BatchEncoding(UserDict):
    """A dictionary of lists or arrays with transformers' names, and the encodings that they came from."""

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        encodings: Sequence[Encoding] | None = None,
        tensor_type: str | None = None,
    ) -> None:
        super().__init__(data)
        self.encodings = list(encodings) if encodings is not None else None
        if tensor_type is not None:
            self.convert_to_tensors(tensor_type)

    def __getitem__(self, key: Any) -> Any:
        """A string gives the values of that name; a number the encoding of that row."""
        if isinstance(key, str):
            return self.data[key]
        if isinstance(key, slice):
            return {name: values[key] for name, values in self.data.items()}
        return self._encoding(key)

    def __getattr__(self, name: str) -> Any:
        if name == "data":  # while it is being made or copied
            raise AttributeError(name)
        try:
            return self.data[name]
        except KeyError:
            raise AttributeError(f"this batch has no {name!r}; it has {', '.join(self.data)}") from None

    @property
    def n_sequences(self) -> int | None:
        """1 for texts, 2 for pairs, None for a batch that no tokenizer made."""
        if not self.encodings:
            return None
        return max(1, int(self.encodings[0].sequences.max(initial=-1)) + 1)

    def convert_to_tensors(self, tensor_type: str | None = "np") -> BatchEncoding:
        """Make NumPy arrays of integers of all values. Raises InputError for rows of different lengths."""
        if tensor_type is None:
            return self
        if tensor_type != "np":
            raise InputError(
                f'return_tensors {tensor_type!r} is not available; use "np" for NumPy arrays, or None for lists'
            )
        for key, value in self.data.items():
            if isinstance(value, list) and len({len(row) for row in value if isinstance(row, list | np.ndarray)}) > 1:
                lengths = sorted({len(row) for row in value})
                raise InputError(
                    f"the rows of {key} have {lengths[0]} to {lengths[-1]} tokens, which makes no array; ask for "
                    "padding=True, and truncation=True with a max_length, or leave out return_tensors"
                )
            self.data[key] = np.asarray(value, np.int64)
        return self

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens of a row as texts."""
        return list(self._encoding(batch_index).tokens)

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """The number of the word that each token of a row belongs to, None for special tokens."""
        return _with_none(self._encoding(batch_index).words)

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """0 or 1 for the tokens of the first and second text of a row, None for special tokens."""
        return _with_none(self._encoding(batch_index).sequences)

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The number of the token that covers a character of the first (0) or second (1) text; None if none does."""
        row, position = (0, batch_or_char_index) if char_index is None else (batch_or_char_index, char_index)
        encoding = self._encoding(row)
        starts, ends = encoding.offsets.T
        hits = np.flatnonzero((encoding.sequences == sequence_index) & (starts <= position) & (position < ends))
        return int(hits[0]) if len(hits) else None

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> tuple[int, int] | None:
        """Where a token stands in its text, (start, end); None for special tokens."""
        row, n = (0, batch_or_token_index) if token_index is None else (batch_or_token_index, token_index)
        encoding = self._encoding(row)
        if encoding.sequences[n] < 0:
            return None
        start, end = encoding.offsets[n].tolist()
        return start, end

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> tuple[int, int] | None:
        """From which to before which token a word reaches; None if it has none."""
        row, word = (0, batch_or_word_index) if word_index is None else (batch_or_word_index, word_index)
        encoding = self._encoding(row)
        hits = np.flatnonzero((encoding.words == word) & (encoding.sequences == sequence_index))
        return (int(hits[0]), int(hits[-1]) + 1) if len(hits) else None

    def _encoding(self, n: int) -> Encoding:
        if self.encodings is None:
            raise InputError("this batch was not made by a tokenizer, so it knows its values only; ask by their names")
        return self.encodings[n]


def _with_none(numbers: np.ndarray) -> list[int | None]:
    return [n if n >= 0 else None for n in numbers.tolist()]
