"""Packing: many texts one after the other, cut into blocks of equal length, so that no place is padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from minilm.errors import InputError


def pack_sequences(
    sequences: Iterable[Sequence[int] | np.ndarray],
    block_size: int,
    eos_token_id: int | None = None,
    drop_last: bool = True,
) -> Iterator[dict[str, np.ndarray]]:
    """Blocks for a causal language model: {"input_ids", "attention_mask", "labels"}, each (block_size,) int64.

    eos_token_id: written after every text, so that the model learns where one ends. labels equal input_ids: the model
    shifts them. The rest at the end, shorter than a block, is dropped unless drop_last is False. The texts are read one
    by one, so there may be more of them than fit into memory.

    Raises InputError for a block_size below 2.
    """
    if block_size < 2:
        raise InputError(f"block_size is {block_size}; a block needs 2 tokens to have one to predict")
    return _blocks(sequences, block_size, eos_token_id, drop_last)


def _blocks(
    sequences: Iterable[Sequence[int] | np.ndarray], block_size: int, eos_token_id: int | None, drop_last: bool
) -> Iterator[dict[str, np.ndarray]]:
    held: list[np.ndarray] = []  # texts that do not fill a block yet
    count = 0
    for sequence in sequences:
        ids = np.asarray(sequence, np.int64)
        held.append(ids if eos_token_id is None else np.append(ids, eos_token_id))
        count += len(held[-1])
        if count >= block_size:
            row = np.concatenate(held)
            for start in range(0, count - block_size + 1, block_size):
                yield _block(row[start : start + block_size])
            held = [row[count - count % block_size :]]
            count %= block_size
    if count and not drop_last:
        yield _block(np.concatenate(held))


def _block(ids: np.ndarray) -> dict[str, np.ndarray]:
    return {"input_ids": ids.copy(), "attention_mask": np.ones_like(ids), "labels": ids.copy()}
