"""T5's relative positions: a trained number for each head and each range of distances."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minilm import functional as F
from minilm.devices import beside
from minilm.nn import Embedding, Module
from minilm.tensor import Array, Tensor


def relative_position_bucket(
    distance: np.ndarray, bidirectional: bool, num_buckets: int, max_distance: int
) -> np.ndarray:
    r"""The bucket of each distance, 0 … num_buckets − 1.    [eq:relative-buckets] [Raffel et al. 2020 §2.1]

    distance: key position − query position, integers of any shape.
    With n = num_buckets and r = |distance| in the encoder (bidirectional: half of the buckets are for keys to the right,
    so n is halved and n is added where distance > 0), r = max(0, −distance) in the decoder:

        bucket = r                                                          if r < n/2
        bucket = min(n − 1, n/2 + ⌊log(r/(n/2)) / log(max_distance/(n/2)) · n/2⌋)    otherwise

    so near keys have a bucket each, far ones share buckets that grow like a logarithm, and all beyond max_distance the last.
    """
    distance = np.asarray(distance)
    first = np.zeros(distance.shape, np.int64)
    if bidirectional:
        num_buckets //= 2
        first[distance > 0] = num_buckets
        r = np.abs(distance)
    else:
        r = np.maximum(-distance, 0)
    exact = num_buckets // 2
    # in float32, as the models were trained: where a bucket begins can depend on the last bit
    ratio = np.maximum(r, exact).astype(np.float32) / np.float32(exact)
    steps = np.log(ratio) / np.float32(math.log(max_distance / exact)) * np.float32(num_buckets - exact)
    far = np.minimum(exact + steps.astype(np.int64), num_buckets - 1)
    return first + np.where(r < exact, r, far)


class RelativePositionBias(Module):
    """S_ij + b[head, bucket(j − i)]: one table for all layers of a stack."""

    def __init__(
        self,
        num_heads: int,
        num_buckets: int,
        max_distance: int,
        bidirectional: bool,
        generator: np.random.Generator | None = None,
    ):
        self.table = Embedding(num_buckets, num_heads, generator)
        self.max_distance = max_distance
        self._latest: tuple[Any, Array] = (None, None)  # the buckets of the latest call and what they were made for
        self.bidirectional = bidirectional

    def forward(self, query_length: int, key_length: int, start: int = 0) -> Tensor:
        """For queries start … start + query_length − 1 and keys 0 … key_length − 1: (1, H, query_length, key_length)."""
        buckets = self.buckets(query_length, key_length, start)  # (Tq, Tk)
        return F.unsqueeze(F.permute(self.table(buckets), 2, 0, 1), 0)

    def buckets(self, query_length: int, key_length: int, start: int) -> Array:
        """Beside the table; those of the latest call are kept: in training all batches may have one length."""
        weight = self.table.weight
        made_for = (query_length, key_length, start, weight.device)
        if self._latest[0] != made_for:
            distance = np.arange(key_length) - np.arange(start, start + query_length)[:, None]
            buckets = relative_position_bucket(distance, self.bidirectional, weight.shape[0], self.max_distance)
            self._latest = (made_for, beside(buckets, weight.data))
        return self._latest[1]

    def extra_repr(self) -> str:
        return f"to a distance of {self.max_distance}, {'both directions' if self.bidirectional else 'backwards'}"
