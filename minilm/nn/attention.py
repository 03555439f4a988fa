"""Multi-head attention, for itself and across, and the cache that makes decoding cheap."""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm import functional as F
from minilm.nn.layers import Dropout, Generator, Linear, end_of_branch
from minilm.nn.module import Module
from minilm.nn.positions import RotaryPositions
from minilm.tensor import Array, Tensor
from minilm_kernels import array_namespace


class KVCache:
    """The keys and values of all positions decoded so far, for one attention layer.

    Room for `max_length` positions is taken once; `append` writes the new ones behind the old and returns views of all.
    The first keys decide on which device.
    """

    def __init__(self, batch_size: int, num_kv_heads: int, max_length: int, head_dim: int, dtype: Any = np.float32):
        shape = (batch_size, num_kv_heads, max_length, head_dim)
        self.keys: Array = np.empty(shape, dtype)
        self.values: Array = np.empty(shape, dtype)
        self.length = 0

    @property
    def max_length(self) -> int:
        return self.keys.shape[2]

    def append(self, keys: Array, values: Array) -> tuple[Array, Array]:
        """keys, values: (B, H_kv, T, D) of the new positions.  Returns all (B, H_kv, length, D)."""
        B, H, _, D = self.keys.shape
        if keys.shape != values.shape or (keys.shape[0], keys.shape[1], keys.shape[3]) != (B, H, D):
            raise ValueError(
                f"this cache takes keys and values of shape ({B}, {H}, new positions, {D}), not {keys.shape} and {values.shape}"
            )
        start, stop = self.length, self.length + keys.shape[2]
        if stop > self.max_length:
            raise ValueError(f"the cache holds {self.max_length} positions, {stop} were asked for; start a new one")
        if type(keys) is not type(self.keys) and start == 0:
            empty = array_namespace(keys).empty
            self.keys, self.values = (empty(a.shape, a.dtype) for a in (self.keys, self.values))
        self.keys[:, :, start:stop] = keys
        self.values[:, :, start:stop] = values
        self.length = stop
        return self.keys[:, :, :stop], self.values[:, :, :stop]


class MultiHeadAttention(Module):
    r"""MultiHead(X) = Concat(head_1, …, head_h) W_Oᵀ,  head_i = Attention(X W_Qᵢᵀ, X W_Kᵢᵀ, X W_Vᵢᵀ).

    [eq:multi-head] [F17; 004 §3.2]

    head_dim: numbers per head; hidden_size / num_heads unless given (then num_heads · head_dim may be another width, as in
    T5). num_heads must be a multiple of num_kv_heads (fewer key heads: grouped queries).
    Self-attention makes queries, keys and values in one product, stacked in that order; with cross=True queries come from x
    and keys and values from `context`.
    bias: whether the projections add one; output_bias: the last one, as the others unless given.
    dropout: of the result; attention_dropout: of the weights, the same unless given.
    scale: what multiplies the scores, 1/√head_dim unless given. rotary: positions that turn queries and keys, or None.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        cross: bool = False,
        rotary: RotaryPositions | None = None,
        generator: Generator | None = None,
        *,
        head_dim: int | None = None,
        scale: float | None = None,
        output_bias: bool | None = None,
        attention_dropout: float | None = None,
    ):
        num_kv_heads = num_kv_heads or num_heads
        check_heads(hidden_size if head_dim is None else num_heads * head_dim, num_heads, num_kv_heads)
        generator = generator or np.random.default_rng()
        self.num_heads, self.num_kv_heads = num_heads, num_kv_heads
        self.head_dim = hidden_size // num_heads if head_dim is None else head_dim
        inner_size, kv_size = num_heads * self.head_dim, num_kv_heads * self.head_dim
        self.cross = cross
        if cross:
            self.query = Linear(hidden_size, inner_size, bias, generator)
            self.key_value = Linear(hidden_size, 2 * kv_size, bias, generator)
        else:
            self.query_key_value = Linear(hidden_size, inner_size + 2 * kv_size, bias, generator)
        self.output = Linear(inner_size, hidden_size, bias if output_bias is None else output_bias, generator)
        self.attention_dropout = dropout if attention_dropout is None else attention_dropout
        self.output_dropout = Dropout(dropout, generator)
        self.rotary = rotary
        self.scale = scale

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        causal: bool = False,
        attention_mask: Any = None,
        bias: Any = None,
        cache: KVCache | None = None,
        residual: Tensor | None = None,
        weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """x: (B, Tq, hidden); context: (B, Tk, hidden) for cross-attention.  Returns (B, Tq, hidden).

        residual: added to the result, as a block does.

        attention_mask: (B, Tk), 1 or True where a key may be seen. bias: added to the scores, or a bool mask.
        cache: keys and values of earlier positions; the new ones are appended to it (no gradient flows through a cache).
        weights: also return the attention weights (B, H, Tq, Tk), before dropout: each row sums to 1.
        """
        masks: dict[str, Any] = {
            "attn_mask": bias, "key_padding_mask": attention_mask, "is_causal": causal, "scale": self.scale
        }  # fmt: skip
        drops: dict[str, Any] = {
            "dropout_p": self.attention_dropout if self.training else 0.0, "generator": self.output_dropout.generator
        }  # fmt: skip
        packed = None if self.cross else self.query_key_value(x)
        if packed is not None and cache is None and self.rotary is None:
            y = F.self_attention(packed, self.num_heads, self.num_kv_heads, **masks, **drops)
            y = end_of_branch(y, self.output, self.output_dropout, residual)
            return (y, attention_weights(*self._split(packed)[:2], **masks)) if weights else y
        if packed is None:
            q = self._heads(self.query(x), self.num_heads)
            k, v = self._context_keys(context, cache)
        else:
            q, k, v = self._self_keys(packed, cache)
        y = F.scaled_dot_product_attention(q, k, v, **masks, **drops)  # (B, H, Tq, head_dim)
        y = F.reshape(y.transpose(1, 2), *x.shape[:2], self.num_heads * self.head_dim)
        y = end_of_branch(y, self.output, self.output_dropout, residual)
        return (y, attention_weights(q, k, **masks)) if weights else y

    def _split(self, packed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, (H + 2 H_kv) · head_dim) → queries, keys and values (B, heads, T, head_dim); views."""
        kv_size = self.num_kv_heads * self.head_dim
        q, k, v = F.split(packed, [self.num_heads * self.head_dim, kv_size, kv_size], dim=-1)
        return self._heads(q, self.num_heads), self._heads(k, self.num_kv_heads), self._heads(v, self.num_kv_heads)

    def _self_keys(self, packed: Tensor, cache: KVCache | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of x, and keys and values of x behind those in the cache."""
        q, k, v = self._split(packed)
        if self.rotary is not None:
            start = cache.length if cache is not None else 0
            q, k = self.rotary(q, start), self.rotary(k, start)
        if cache is not None:
            keys, values = cache.append(k.data, v.data)
            k, v = Tensor(keys), Tensor(values)
        return q, k, v

    def _context_keys(self, context: Tensor | None, cache: KVCache | None) -> tuple[Tensor, Tensor]:
        """Keys and values of the context; a cache keeps them, since the context is the same at every step."""
        if cache is not None and cache.length:
            return Tensor(cache.keys[:, :, : cache.length]), Tensor(cache.values[:, :, : cache.length])
        if context is None:
            raise ValueError("cross-attention needs `context`, the sequence to attend to")
        k, v = F.split(self.key_value(context), self.num_kv_heads * self.head_dim, dim=-1)
        k, v = self._heads(k, self.num_kv_heads), self._heads(v, self.num_kv_heads)
        if cache is not None:
            keys, values = cache.append(k.data, v.data)
            k, v = Tensor(keys), Tensor(values)
        return k, v

    def _heads(self, x: Tensor, heads: int) -> Tensor:
        """(B, T, heads · head_dim) → (B, heads, T, head_dim); a view."""
        return x.reshape(*x.shape[:2], heads, self.head_dim).transpose(1, 2)

    def extra_repr(self) -> str:
        return f"{self.num_heads} heads of {self.head_dim}" + (
            f", {self.num_kv_heads} key heads" if self.num_kv_heads != self.num_heads else ""
        )


def attention_weights(query: Tensor, key: Tensor, **masks: Any) -> Tensor:
    """W = softmax(Q Kᵀ · scale + mask), (B, H, Tq, Tk), from the composed formula.

    The fused kernel never holds W, so it is asked for here: what attention makes of the identity matrix, W I = W.
    """
    xp = array_namespace(key.data)
    B, H, Tk = key.shape[:3]
    identity = xp.broadcast_to(xp.eye(Tk, dtype=key.dtype), (B, H, Tk, Tk))
    return F.attention_composed(query, key, identity, **masks)


def check_heads(hidden_size: int, num_heads: int, num_kv_heads: int) -> None:
    """Raise ValueError with numbers that would fit, unless the heads divide the width evenly."""
    if num_heads < 1 or num_kv_heads < 1:
        raise ValueError(f"num_heads {num_heads} and num_kv_heads {num_kv_heads} must be at least 1")
    if hidden_size % num_heads:
        below = hidden_size // num_heads * num_heads
        fits = [str(n) for n in (below, below + num_heads) if n > 0]
        raise ValueError(
            f"hidden_size {hidden_size} is not a multiple of num_heads {num_heads}; use {' or '.join(fits)}"
        )
    if num_heads % num_kv_heads:
        fits = [str(n) for n in range(1, num_heads + 1) if num_heads % n == 0]
        raise ValueError(
            f"num_heads {num_heads} is not a multiple of num_kv_heads {num_kv_heads}; use one of {', '.join(fits)}"
        )
