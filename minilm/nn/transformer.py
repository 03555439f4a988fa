"""The Transformer block: attention and feed-forward, each with a residual connection and a normalization."""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm.nn.attention import KVCache, MultiHeadAttention
from minilm.nn.layers import FeedForward, Generator, LayerNorm, RMSNorm
from minilm.nn.module import Module
from minilm.nn.positions import RotaryPositions
from minilm.tensor import Tensor


class TransformerBlock(Module):
    r"""pre-norm:   h = x + Attention(Norm(x)),   y = h + FeedForward(Norm(h))       [Radford et al. 2019]
    post-norm:  h = Norm(x + Attention(x)),   y = Norm(h + FeedForward(h))       [Vaswani et al. 2017]    [eq:block]

    Two sub-layers one after the other: [F8; 003 §4.1.2] adds two attention terms side by side and leaves the
    feed-forward network out.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        intermediate_size: int | None = None,
        activation: str = "gelu",
        norm: str = "layer_norm",
        norm_first: bool = True,
        eps: float = 1e-5,
        bias: bool = True,
        dropout: float = 0.0,
        rotary: RotaryPositions | None = None,
        generator: Generator | None = None,
    ):
        generator = generator or np.random.default_rng()
        self.norm_first = norm_first
        self.attention_norm = make_norm(norm, hidden_size, eps, bias)
        self.attention = MultiHeadAttention(
            hidden_size, num_heads, num_kv_heads, bias, dropout, rotary=rotary, generator=generator
        )
        self.feed_forward_norm = make_norm(norm, hidden_size, eps, bias)
        self.feed_forward = FeedForward(hidden_size, intermediate_size, activation, bias, dropout, generator)

    def forward(
        self, x: Tensor, causal: bool = False, attention_mask: Any = None, cache: KVCache | None = None
    ) -> Tensor:
        """x: (B, T, hidden).  Returns the same shape."""
        options = {"causal": causal, "attention_mask": attention_mask, "cache": cache}
        if self.norm_first:
            h = self.attention(self.attention_norm(x), residual=x, **options)
            return self.feed_forward(self.feed_forward_norm(h), residual=h)
        h = self.attention_norm(self.attention(x, residual=x, **options))
        return self.feed_forward_norm(self.feed_forward(h, residual=h))

    def extra_repr(self) -> str:
        return "pre-norm" if self.norm_first else "post-norm"


def make_norm(kind: str, hidden_size: int, eps: float, bias: bool = True) -> Module:
    """A LayerNorm ("layer_norm") or an RMSNorm ("rms_norm")."""
    if kind == "layer_norm":
        return LayerNorm(hidden_size, eps, bias)
    if kind == "rms_norm":
        return RMSNorm(hidden_size, eps)
    raise ValueError(f"unknown norm {kind!r}; choose layer_norm or rms_norm")
