"""Batches of a dataset, epoch after epoch, with a position that can be saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minilm.errors import InputError


class EpochBatches:
    """Which examples make up each batch: every example once per epoch.

    strategy: "random": each epoch in an order of its own, which follows from (seed, epoch) and nothing else;
    "sequential": as they stand; "group_by_length": as random, but within every 50 batches sorted by length, so that little
    is padded; length_of(i) then gives the length of example i.
    drop_last: leave out a last batch that is not full.
    """

    def __init__(
        self,
        examples: int,
        batch_size: int,
        seed: int,
        strategy: str = "random",
        drop_last: bool = False,
        length_of: Callable[[int], int] | None = None,
    ) -> None:
        self.examples, self.batch_size, self.seed, self.strategy = examples, batch_size, seed, strategy
        full, rest = divmod(examples, batch_size)
        self.batches_per_epoch = full + (rest > 0 and not drop_last)
        if self.batches_per_epoch == 0:
            raise InputError(
                f"{examples} examples are not one full batch of {batch_size}, and dataloader_drop_last leaves out the rest; "
                "give more examples, or a smaller batch size"
            )
        self.lengths = None
        if strategy == "group_by_length":
            assert length_of is not None
            self.lengths = np.array([length_of(i) for i in range(examples)])
        self.epoch, self.batch = 0, 0  # of the next batch
        self._ordered: tuple[int, np.ndarray] | None = None

    def steps_per_epoch(self, accumulation: int) -> int:
        """Steps of so many batches in an epoch; the last one may have fewer."""
        return -(-self.batches_per_epoch // accumulation)

    def next_batches(self, count: int) -> list[np.ndarray]:
        """The indices of the next `count` batches; fewer at the end of an epoch, which no step crosses."""
        if self.batch == self.batches_per_epoch:
            self.epoch, self.batch = self.epoch + 1, 0
        first, self.batch = self.batch, min(self.batch + count, self.batches_per_epoch)
        order, B = self.order(self.epoch), self.batch_size
        return [order[i * B : (i + 1) * B] for i in range(first, self.batch)]

    def order(self, epoch: int) -> np.ndarray:
        """All examples in the order of an epoch."""
        if self._ordered is None or self._ordered[0] != epoch:
            self._ordered = (epoch, self._order(epoch))
        return self._ordered[1]

    def _order(self, epoch: int) -> np.ndarray:
        if self.strategy == "sequential":
            return np.arange(self.examples)
        order = np.random.default_rng((self.seed, epoch)).permutation(self.examples)
        if self.lengths is None:
            return order
        chunk = 50 * self.batch_size
        pieces = [order[i : i + chunk] for i in range(0, len(order), chunk)]
        return np.concatenate([piece[np.argsort(-self.lengths[piece], kind="stable")] for piece in pieces])

    def state_dict(self) -> dict[str, Any]:
        own = ("examples", "batch_size", "seed", "strategy")
        return {"epoch": self.epoch, "batch": self.batch, **{name: getattr(self, name) for name in own}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken. Raises InputError if the data or their order are others."""
        for name, value in self.state_dict().items():
            if name not in ("epoch", "batch") and state[name] != value:
                raise InputError(
                    f"it was trained with {name.replace('_', ' ')} {state[name]}, not {value}; resume with the same data and "
                    "batches"
                )
        self.epoch, self.batch = state["epoch"], state["batch"]
