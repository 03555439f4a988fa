"""The Transformer block: attention and feed-forward, each with a residual connection and a norm; and a stack of blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minilm.nn.attention import KVCache, MultiHeadAttention
from minilm.nn.layers import FeedForward, Generator, LayerNorm, RMSNorm
from minilm.nn.module import Module
from minilm.nn.positions import RotaryPositions
from minilm.tensor import Tensor, as_array

MASKS = {"attention_mask", "context_mask", "bias"}
Caches = KVCache | tuple[KVCache, KVCache]  # of self-attention; of self- and cross-attention


class TransformerBlock(Module):
    r"""pre-norm:   h = x + Attention(Norm(x)),   y = h + FeedForward(Norm(h))       [Radford et al. 2019]
    post-norm:  h = Norm(x + Attention(x)),   y = Norm(h + FeedForward(h))       [Vaswani et al. 2017]    [eq:block]

    Two sub-layers one after the other: [F8; 003 §4.1.2] adds two attention terms side by side and leaves the
    feed-forward network out.

    cross: a decoder's block, with a third sub-layer between the two: attention from h to the encoder's output, `context`,
    which gives the keys and values [F9; 003 §4.1.3 adds it beside the others instead of after them].
    attention_options: what MultiHeadAttention takes besides (head_dim, scale, output_bias, attention_dropout).
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
        *,
        cross: bool = False,
        **attention_options: Any,
    ):
        generator = generator or np.random.default_rng()
        heads = (hidden_size, num_heads, num_kv_heads, bias, dropout)
        options = {**attention_options, "generator": generator}
        self.norm_first = norm_first
        self.cross = cross
        self.attention_norm = make_norm(norm, hidden_size, eps, bias)
        self.attention = MultiHeadAttention(*heads, rotary=rotary, **options)
        if cross:
            self.cross_attention_norm = make_norm(norm, hidden_size, eps, bias)
            self.cross_attention = MultiHeadAttention(*heads, cross=True, **options)
        self.feed_forward_norm = make_norm(norm, hidden_size, eps, bias)
        self.feed_forward = FeedForward(hidden_size, intermediate_size, activation, bias, dropout, generator)

    def forward(
        self,
        x: Tensor,
        causal: bool = False,
        attention_mask: Any = None,
        cache: Caches | None = None,
        *,
        bias: Any = None,
        context: Tensor | None = None,
        context_mask: Any = None,
        weights: bool = False,
    ) -> Tensor | tuple[Tensor, ...]:
        """x: (B, T, hidden).  Returns the same shape.

        causal, attention_mask (B, Tk), bias (B or 1, H, T, Tk): of self-attention.
        context: (B, Tc, hidden), context_mask: (B, Tc): of cross-attention, in a block made with cross=True.
        cache: of self-attention; of a cross block a pair, the second for the context's keys.
        weights: also return the weights of self-attention (B, H, T, Tk) and, in a cross block, of cross-attention.
        """
        cache, cross_cache = cache if isinstance(cache, tuple) else (cache, None)
        options = {"causal": causal, "attention_mask": attention_mask, "bias": bias, "cache": cache, "weights": weights}
        x, *seen = self._attend(self.attention, self.attention_norm, x, options)  # [eq:block] [eq:decoder-block]
        if self.cross:
            options = {
                "context": context, "attention_mask": context_mask, "cache": cross_cache, "weights": weights
            }  # fmt: skip
            # [eq:decoder-block] [eq:cross-attention]: queries from x, keys and values from the context
            x, *across = self._attend(self.cross_attention, self.cross_attention_norm, x, options)
            seen += across
        if self.norm_first:
            y = self.feed_forward(self.feed_forward_norm(x), residual=x)  # [eq:block] [eq:decoder-block]
        else:
            y = self.feed_forward_norm(self.feed_forward(x, residual=x))  # [eq:block] [eq:decoder-block]
        return (y, *seen) if weights else y

    def _attend(self, attention: Module, norm: Module, x: Tensor, options: dict[str, Any]) -> tuple[Tensor, ...]:
        """One attention sub-layer: its output, and behind it the weights where they were asked for."""
        h = attention(norm(x) if self.norm_first else x, residual=x, **options)  # [eq:block] [eq:decoder-block]
        h, *seen = h if isinstance(h, tuple) else (h,)
        return (h if self.norm_first else norm(h), *seen)  # [eq:block] [eq:decoder-block]

    def extra_repr(self) -> str:
        return ("pre-norm" if self.norm_first else "post-norm") + (", with cross-attention" if self.cross else "")


@dataclass
class StackOutput:
    """What a stack of blocks made, with the fields that were asked for.

    x: (B, T, hidden). hidden_states: what went into each block. attentions, cross_attentions: one (B, H, Tq, Tk) per block.
    """

    x: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None


def run_blocks(
    blocks: Iterable[Any],
    x: Tensor,
    caches: Sequence[Caches] | None = None,
    output_hidden_states: bool = False,
    output_attentions: bool = False,
    **options: Any,
) -> StackOutput:
    """x through all blocks, collecting what is asked for on the way.

    options: for every block (causal, attention_mask, bias, context, context_mask). hidden_states are those before each block;
    the model adds the last one itself, after its final norm if it has one.
    """
    for name in MASKS & options.keys():  # each comes to the device once, not once for each block
        if options[name] is not None and not isinstance(options[name], Tensor):
            options[name] = as_array(options[name], x.data)
    inputs: list[Tensor] = []
    seen: list[tuple[Tensor, ...]] = []
    for i, block in enumerate(blocks):
        if output_hidden_states:
            inputs.append(x)
        y = block(x, cache=None if caches is None else caches[i], weights=output_attentions, **options)
        x, *weights = y if isinstance(y, tuple) else (y,)
        seen.append(tuple(weights))
    attentions = [tuple(one) for one in zip(*seen, strict=True)] or [()]  # no blocks have no weights
    return StackOutput(
        x,
        tuple(inputs) if output_hidden_states else None,
        attentions[0] if output_attentions else None,
        attentions[1] if output_attentions and len(attentions) > 1 else None,
    )


def make_norm(kind: str, hidden_size: int, eps: float, bias: bool = True) -> Module:
    """A LayerNorm ("layer_norm") or an RMSNorm ("rms_norm")."""
    if kind == "layer_norm":
        return LayerNorm(hidden_size, eps, bias)
    if kind == "rms_norm":
        return RMSNorm(hidden_size, eps)
    raise ValueError(f"unknown norm {kind!r}; choose layer_norm or rms_norm")
