"""Scaled dot-product attention: the composed formula that one reads, and the fused kernel that one runs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import minilm_kernels as kernels
from minilm.functional._broadcast import data_of, given, same_float
from minilm.functional.embedding import dropout
from minilm.functional.normalization import softmax
from minilm.functional.products import matmul
from minilm.functional.shape import masked_fill, reshape
from minilm.tape import grad_enabled
from minilm.tensor import Array, Tensor, as_array, as_tensor, is_float, record
from minilm_kernels import array_namespace

DECODE_QUERIES = 8  # so few queries wait for the keys to come from memory: a kernel of its own serves them


def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    *,
    key_padding_mask: Any = None,
    generator: np.random.Generator | None = None,
) -> Tensor:
    r"""Attention(Q, K, V) = softmax(Q Kᵀ/√d_k + mask) V.    [eq:attention] [F1; 000 §4.2, 001 §4.1, 003 §2.1]

    query: (B, H, Tq, D); key, value: (B, H_kv, Tk, D), H a multiple of H_kv (grouped queries).
    attn_mask: broadcast to (B, H, Tq, Tk); bool, True where a key may be seen, or float, added to the scores.
    is_causal: query i sees the keys up to i + Tk − Tq: aligned to the end, as a cache needs it. (For Tq = Tk
    that is PyTorch's meaning; for Tq ≠ Tk PyTorch aligns to the start.)
    key_padding_mask: (B, Tk) bool, True where a key may be seen.
    A query that sees no key gets zeros. Raises ValueError for shapes that do not fit.

    The fused twin of attention_composed: one kernel forward, one backward.
    """
    query, key, value = same_float(query, key, value)
    mask, options = _options(query, attn_mask, key_padding_mask, is_causal, scale)
    arrays = query.data, key.data, value.data
    if not grad_enabled() and not dropout_p and query.shape[-2] <= DECODE_QUERIES:
        return Tensor(kernels.attention_decode(*arrays, **options))
    output, residuals = kernels.attention(*arrays, **options, dropout=dropout_p, seed=_seed(dropout_p, generator))

    def backward(dO):
        return given(kernels.attention_backward(dO, residuals, bias_gradient=mask is not None))

    return record(output, given((query, key, value, mask)), backward)


def self_attention(
    x: Any,
    num_heads: int,
    num_kv_heads: int | None = None,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    *,
    key_padding_mask: Any = None,
    generator: np.random.Generator | None = None,
) -> Tensor:
    """The same for queries, keys and values that one product made: split, heads, attention and merged heads in one.

    x: (B, T, (H + 2 H_kv) D): for each position all queries, then all keys, then all values.  Returns (B, T, H · D).

    Splitting copies nothing, and the cotangents are written where they belong in that of x: as three operations,
    each would be added to an array of zeros.
    """
    (x,) = same_float(x)
    q, k, v = packed_heads(x.data, num_heads, num_kv_heads or num_heads)  # (B, H, T, D) each  [eq:self-attention]
    mask, options = _options(x, attn_mask, key_padding_mask, is_causal, scale)
    # [eq:self-attention]
    output, residuals = kernels.attention(q, k, v, **options, dropout=dropout_p, seed=_seed(dropout_p, generator))
    B, H, T, D = output.shape

    def backward(dy):
        dO = dy.reshape(B, T, H, D).swapaxes(1, 2)
        dx = array_namespace(dy).empty_like(x.data, order="C")
        places = packed_heads(dx, num_heads, num_kv_heads or num_heads)
        *_, dmask = kernels.attention_backward(dO, residuals, bias_gradient=mask is not None, out=places)
        return given((dx, dmask))

    return record(output.swapaxes(1, 2).reshape(B, T, H * D), given((x, mask)), backward)  # [eq:self-attention]


def packed_heads(x: Array, num_heads: int, num_kv_heads: int) -> tuple[Array, Array, Array]:
    """(B, T, (H + 2 H_kv) D) → views (B, H, T, D) and twice (B, H_kv, T, D)."""
    heads = num_heads + 2 * num_kv_heads
    if x.ndim != 3 or x.shape[2] % heads:
        raise ValueError(
            f"self_attention wants (batch, positions, {heads} · head_dim) for {num_heads} query and {num_kv_heads} key "
            f"heads; got {x.shape}"
        )
    by_head = x.reshape(*x.shape[:2], heads, x.shape[2] // heads).swapaxes(1, 2)
    first, second = num_heads, num_heads + num_kv_heads
    return by_head[:, :first], by_head[:, first:second], by_head[:, second:]


def _options(
    like: Tensor, attn_mask: Any, key_padding_mask: Any, is_causal: bool, scale: float | None
) -> tuple[Tensor | None, dict[str, Any]]:
    """The mask if it wants a gradient, and what all attention kernels are told."""
    mask = None if attn_mask is None else as_mask(attn_mask, like)
    if mask is not None and mask.dtype.kind != "b":
        mask = _additive(mask, like)
    padding = None if key_padding_mask is None else as_array(key_padding_mask, like.data).astype(bool, copy=False)
    options = {"causal": is_causal, "scale": scale, "key_padding_mask": padding, "bias": data_of(mask)}
    return mask if mask is not None and mask.requires_grad else None, options


def _seed(dropout_p: float, generator: np.random.Generator | None) -> int | None:
    return int((generator or np.random.default_rng()).integers(2**63)) if dropout_p else None


def attention_composed(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    *,
    key_padding_mask: Any = None,
    generator: np.random.Generator | None = None,
) -> Tensor:
    """The same attention, written as the formula reads: matmul, mask, softmax, dropout, matmul."""
    Q, K, V = as_tensor(query), as_tensor(key), as_tensor(value)
    check_attention_shapes(Q.shape, K.shape, V.shape)
    xp = array_namespace(Q.data)
    B, H, Tq, D = Q.shape
    H_kv, Tk = K.shape[1], K.shape[2]
    Q = reshape(Q, B, H_kv, H // H_kv, Tq, D)
    K, V = reshape(K, B, H_kv, 1, Tk, D), reshape(V, B, H_kv, 1, Tk, V.shape[-1])

    # [eq:attention] [eq:attention-weights]: (B, H_kv, H/H_kv, Tq, Tk), a score for each query and key
    S = matmul(Q, K.transpose(-2, -1)) * (1 / math.sqrt(D) if scale is None else scale)
    S = reshape(S, B, H, Tq, Tk)
    if attn_mask is not None:
        S = S + _additive(as_mask(attn_mask, S), S)
    if is_causal:
        S = masked_fill(S, xp.arange(Tk) > xp.arange(Tq)[:, None] + (Tk - Tq), -xp.inf)
    if key_padding_mask is not None:
        S = masked_fill(S, ~as_array(key_padding_mask, S.data).astype(bool)[:, None, None, :], -xp.inf)
    # [eq:attention] [eq:attention-weights]: (B, H, Tq, Tk), each row sums to 1
    W = dropout(softmax(S, dim=-1), dropout_p, generator=generator)
    # [eq:attention] [eq:weighted-sum]: (B, H_kv, H/H_kv, Tq, Dv)
    O = matmul(reshape(W, B, H_kv, H // H_kv, Tq, Tk), V)
    return reshape(O, B, H, Tq, V.shape[-1])


def check_attention_shapes(query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...]) -> None:
    """Raise ValueError unless (B, H, Tq, D), (B, H_kv, Tk, D), (B, H_kv, Tk, Dv) fit together."""
    shapes = f"query {query}, key {key}, value {value}"
    if not len(query) == len(key) == len(value) == 4:
        raise ValueError(f"attention wants arrays (batch, heads, positions, head_dim); got {shapes}")
    if query[0] != key[0] or key[:3] != value[:3] or query[3] != key[3]:
        raise ValueError(f"attention: batch, key heads, key positions and head_dim must agree; got {shapes}")
    if key[1] == 0 or query[1] % key[1]:
        raise ValueError(f"attention: {query[1]} query heads cannot share {key[1]} key heads evenly; got {shapes}")


def as_mask(mask: Any, like: Tensor) -> Tensor:
    """A mask as a tensor; one that is no tensor yet comes to where `like` is."""
    return mask if isinstance(mask, Tensor) else Tensor(as_array(mask, like.data))


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    """A bool mask (True = see) as 0 and −∞; a float mask as it is, in the dtype of the scores."""
    if mask.dtype.kind != "b" and not is_float(mask.dtype):
        raise ValueError(
            f"attn_mask is {mask.dtype}; give booleans (True where a key may be seen) or floats (added to the scores)"
        )
    if mask.dtype.kind != "b":
        return mask.astype(like.dtype)
    xp = array_namespace(mask.data)
    return Tensor(xp.where(mask.data, 0, -xp.inf).astype(like.dtype))
