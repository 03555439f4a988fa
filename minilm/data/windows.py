"""Windows on a row of tokens: the batches a language model learns from, and those it is measured on.

In a window of length T the target of every position is the token after it:

    inputs  = x_i     x_(i+1) ... x_(i+T-1)
    targets = x_(i+1) x_(i+2) ... x_(i+T)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minilm.data.drawing import Drawing
from minilm.errors import InputError

Batch = tuple[np.ndarray, np.ndarray]


def check_length(tokens: np.ndarray, context_length: int, split_name: str) -> None:
    """Raise InputError unless `tokens` has at least context_length + 1 tokens: one window with its last target."""
    count = len(tokens)
    if count > context_length:
        return
    shorter = f", or --model.context_length {count - 1}" if count > 1 else ""
    raise InputError(
        f"the {split_name} split has {count} tokens, but context_length {context_length} needs at least"
        f" {context_length + 1}; use a longer text{shorter}"
    )


def check_sizes(batch_size: int, context_length: int) -> None:
    for name, value in (("batch_size", batch_size), ("context_length", context_length)):
        if value < 1:
            raise InputError(f"{name} is {value}; it must be at least 1")


class RandomWindows(Drawing):
    """Endless batches of windows that begin anywhere: the training batches of nanoGPT.

    tokens          (n,) integers, in memory or memory-mapped; n > context_length
    batch_size      B, context_length: T
    generator       where the starts come from: B integers, uniform in [0, n - T), drawn for every batch

    Iterating, or `next_batch()`, gives (inputs, targets), each (B, T) int64.
    """

    def __init__(self, tokens: np.ndarray, batch_size: int, context_length: int, generator: np.random.Generator):
        check_sizes(batch_size, context_length)
        check_length(tokens, context_length, "training")
        self.tokens = np.asarray(tokens)  # a view: of a memory map only the windows are ever read
        self.batch_size, self.context_length, self.generator = batch_size, context_length, generator
        self.offsets = np.arange(context_length + 1)

    def next_batch(self) -> Batch:
        """Draw B starts and return their windows: inputs (B, T) and targets (B, T), int64."""
        starts = self.generator.integers(0, len(self.tokens) - self.context_length, size=self.batch_size)
        windows = self.tokens[starts[:, None] + self.offsets].astype(np.int64)  # (B, T + 1)
        return np.ascontiguousarray(windows[:, :-1]), np.ascontiguousarray(windows[:, 1:])

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return self.next_batch()


class SequentialWindows:
    """Windows side by side, for measuring: every token but the first is a target exactly once, in order.

    tokens, batch_size B, context_length T as in RandomWindows; any n ≥ 2.

    Iterating gives (inputs, targets), each (B, T) int64; after the last whole batch a smaller one, and for the tokens
    left over one window of its own, shorter than T. Every iteration begins at the beginning. Weigh a mean over batches
    by `targets.size`; the sizes add up to `target_count`, n - 1.
    """

    def __init__(self, tokens: np.ndarray, batch_size: int, context_length: int):
        check_sizes(batch_size, context_length)
        if len(tokens) < 2:
            raise InputError(f"{len(tokens)} tokens have no target to measure; use a longer text")
        self.tokens = np.asarray(tokens)
        self.batch_size, self.context_length = batch_size, context_length
        self.target_count = len(tokens) - 1

    def __len__(self) -> int:
        """The number of batches."""
        windows, rest = divmod(self.target_count, self.context_length)
        return -(-windows // self.batch_size) + (rest > 0)

    def __iter__(self) -> Iterator[Batch]:
        T = self.context_length
        windows = self.target_count // T
        for first in range(0, windows, self.batch_size):
            yield self.rows(first * T, min(self.batch_size, windows - first), T)
        rest = self.target_count % T
        if rest:
            yield self.rows(windows * T, 1, rest)

    def rows(self, start: int, count: int, length: int) -> Batch:
        """`count` windows of `length` beginning at token `start`, one after the other."""
        span = self.tokens[start : start + count * length + 1].astype(np.int64)
        return span[:-1].reshape(count, length), span[1:].reshape(count, length)
