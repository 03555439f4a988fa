"""Where a token stands: sinusoidal, learned and rotary positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm import functional as F
from minilm.nn.layers import Embedding
from minilm.nn.module import Module
from minilm.tensor import Tensor


class SinusoidalPositions(Module):
    r"""x + PE with PE[t, 2i] = sin(t/10000^(2i/n)), PE[t, 2i+1] = cos(t/10000^(2i/n)).    [Vaswani et al. 2017 §3.5]

    Added, not multiplied: [F6; 002 §4.2] has a product, which would erase every word at the zeros of the sine.
    """

    def __init__(self, max_positions: int, hidden_size: int):
        if hidden_size % 2:
            raise ValueError(
                f"sinusoidal positions come in pairs of sine and cosine; hidden_size {hidden_size} must be even"
            )
        t = np.arange(max_positions)[:, None]
        angles = t / 10000 ** (np.arange(0, hidden_size, 2) / hidden_size)  # [eq:sinusoidal-positions]
        table = np.stack([np.sin(angles), np.cos(angles)], axis=-1)  # [eq:sinusoidal-positions]
        self.table = table.reshape(max_positions, hidden_size)

    def forward(self, x: Any, start: int = 0) -> Tensor:
        check_positions(start + x.shape[-2], len(self.table))
        return x + self.table[start : start + x.shape[-2]].astype(x.dtype)  # [eq:sinusoidal-positions]

    def extra_repr(self) -> str:
        return f"up to {len(self.table)}"


class LearnedPositions(Embedding):
    """x + W[t]: one trained vector per position.    [Radford et al. 2018]"""

    def forward(self, x: Any, start: int = 0) -> Tensor:
        stop = start + x.shape[-2]
        check_positions(stop, self.weight.shape[0])
        return x + self.weight[start:stop]


class RotaryPositions(Module):
    """Turn queries and keys by an angle proportional to their position (see functional.rotary).    [Su et al. 2021]"""

    def __init__(self, max_positions: int, head_dim: int, base: float = 10000.0):
        self.cos, self.sin = F.rotary_angles(np.arange(max_positions), head_dim, base, np.float64)  # cast when used

    def forward(self, x: Any, start: int = 0) -> Tensor:
        # x: (B, H, T, head_dim)
        stop = start + x.shape[-2]
        check_positions(stop, len(self.cos))
        return F.rotary(x, self.cos[start:stop].astype(x.dtype), self.sin[start:stop].astype(x.dtype))

    def extra_repr(self) -> str:
        return f"up to {len(self.cos)}, head_dim {2 * self.cos.shape[1]}"


def check_positions(needed: int, available: int) -> None:
    if needed > available:
        raise ValueError(
            f"the text has {needed} tokens, but this model knows only {available} positions; "
            "shorten the text or build the model with a larger context_length"
        )
