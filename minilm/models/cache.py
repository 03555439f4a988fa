"""Keys and values that a decoder keeps while it writes: of its own text, and of the encoder's output."""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm.devices import beside
from minilm.nn import KVCache
from minilm.tensor import Array
from minilm_kernels import array_namespace


class GrowingCache(KVCache):
    """A KVCache that takes more room when its room is full, twice as much each time."""

    def append(self, keys: Array, values: Array) -> tuple[Array, Array]:
        """As in KVCache, but there is always room."""
        needed = self.length + keys.shape[2]
        if needed > self.max_length:
            B, H, _, D = self.keys.shape
            room = max(needed, 2 * self.max_length)
            for name in ("keys", "values"):
                wider = array_namespace(self.keys).empty((B, H, room, D), self.keys.dtype)
                wider[:, :, : self.length] = getattr(self, name)[:, :, : self.length]
                setattr(self, name, wider)
        return super().append(keys, values)


class DecoderCache:
    """For each layer of a decoder the cache of its self-attention and that of its cross-attention."""

    def __init__(
        self,
        num_layers: int,
        batch_size: int,
        num_heads: int,
        head_dim: int,
        max_length: int,
        context_length: int,
        dtype: Any = np.float32,
    ):
        def caches(length: int) -> list[GrowingCache]:
            return [GrowingCache(batch_size, num_heads, length, head_dim, dtype) for _ in range(num_layers)]

        self.own, self.cross = caches(max_length), caches(context_length)

    @property
    def length(self) -> int:
        """How many of the decoder's tokens are in it."""
        return self.own[0].length

    def layers(self) -> list[tuple[KVCache, KVCache]]:
        """What each block of the decoder takes as its cache."""
        return [*zip(self.own, self.cross, strict=True)]

    def reorder(self, rows: np.ndarray) -> None:
        """Row i becomes what row rows[i] was: what beam search does when it drops some texts and splits others."""
        reorder_caches([*self.own, *self.cross], rows)


def reorder_caches(caches: list[Any], rows: np.ndarray) -> None:
    """Row i of each cache becomes what row rows[i] was; there may be more or fewer rows than before."""
    unchanged = np.array_equal(rows, np.arange(len(rows)))
    there = beside(rows, caches[0].keys) if caches else rows
    for cache in caches:
        if len(rows) != len(cache.keys):
            cache.keys, cache.values = cache.keys[there], cache.values[there]
        elif not unchanged:
            # only what is filled; the index on the right makes a copy before anything is written
            cache.keys[:, :, : cache.length] = cache.keys[there, :, : cache.length]
            cache.values[:, :, : cache.length] = cache.values[there, :, : cache.length]
