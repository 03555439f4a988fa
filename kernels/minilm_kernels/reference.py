"""The specification: each kernel as its NumPy formula. Faster versions repeat these signatures and these results.

Attention stands here; the other kernels, imported below, stand by subject in minilm_kernels.formulas. A forward function
returns (result, residuals); its backward takes the residuals and returns one cotangent for each differentiable argument.
All arrays of a call have one dtype, float32 or float64 (ids and targets are integers, masks booleans).

minilm_kernels.checks says what is wrong about a call before any kernel runs; called here directly, a function trusts its
arguments.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from minilm_kernels.formulas.activations import gelu, gelu_backward, silu_mul, silu_mul_backward
from minilm_kernels.formulas.dropout import bias_residual_dropout, bias_residual_dropout_backward
from minilm_kernels.formulas.loss import softmax_cross_entropy, softmax_cross_entropy_backward
from minilm_kernels.formulas.norms import layer_norm, layer_norm_backward, rms_norm, rms_norm_backward
from minilm_kernels.formulas.positions import rotary, rotary_backward
from minilm_kernels.formulas.products import feed_forward, feed_forward_backward, linear, linear_backward, matmul
from minilm_kernels.formulas.update import adamw_step, clip_by_norm, embedding_backward
from minilm_kernels.namespace import array_namespace
from minilm_kernels.random import dropout_mask

__all__ = [
    "adamw_step", "attention", "attention_backward", "attention_decode", "bias_residual_dropout",
    "bias_residual_dropout_backward", "clip_by_norm", "embedding_backward", "feed_forward", "feed_forward_backward", "gelu",
    "gelu_backward", "layer_norm", "layer_norm_backward", "linear", "linear_backward", "matmul", "rms_norm",
    "rms_norm_backward", "rotary", "rotary_backward", "silu_mul", "silu_mul_backward", "softmax_cross_entropy",
    "softmax_cross_entropy_backward",
]  # fmt: skip

Array = Any


class AttentionResiduals(NamedTuple):
    """What attention_backward needs from attention."""

    query: Array
    key: Array
    value: Array
    weights: Array  # softmax(S), before dropout
    keep: Array | None  # 0 where dropout struck, else 1/(1 − dropout)
    scale: float
    bias_shape: tuple[int, ...] | None  # of a bias of floats


def attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    causal: bool = False,
    key_padding_mask: Array | None = None,
    bias: Array | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: int | None = None,
) -> tuple[Array, AttentionResiduals]:
    r"""O = softmax(Q Kᵀ/√d_k + bias) V.    [eq:attention] [F1; 000 §4.2, 001 §4.1]

    query: (B, H, Tq, D); key: (B, H_kv, Tk, D); value: (B, H_kv, Tk, Dv), where H is a multiple of H_kv: query head h uses
    key head h // (H/H_kv) (grouped queries).
    causal: query i sees key j only if j ≤ i + Tk − Tq, so the last query sees all keys.
    key_padding_mask: (B, Tk) bool, True where a key may be seen.
    bias: broadcast to (B, H, Tq, Tk); floats are added to the scores (−∞ hides a key), booleans say where a key may be seen.
    scale: 1/√D unless given.
    dropout: the probability with which a weight is dropped; the others are scaled by 1/(1 − dropout). Drawn from `seed` with
    the flat number (b·H + h)·Tq + i as row r and the key as column j (minilm_kernels.random).

    Returns the output (B, H, Tq, Dv) and the residuals for the backward pass. A query that sees no key gets zeros. A NaN in
    what a query sees makes its output NaN.
    """
    xp = array_namespace(query)
    B, H, Tq, D = query.shape
    H_kv, Tk = key.shape[1], key.shape[2]
    scale = 1 / math.sqrt(D) if scale is None else scale

    S = grouped(query * query.dtype.type(scale), H_kv) @ key[:, :, None].swapaxes(-1, -2)  # (B, H_kv, H/H_kv, Tq, Tk)
    S = S.reshape(B, H, Tq, Tk)
    if bias is not None:
        S += xp.where(bias, 0, -xp.inf).astype(S.dtype) if bias.dtype == bool else bias
    if causal and Tq > 1:
        i, j = xp.arange(Tq)[:, None], xp.arange(Tk)
        S += xp.where(j <= i + (Tk - Tq), 0, -xp.inf).astype(S.dtype)
    if key_padding_mask is not None:
        S += xp.where(key_padding_mask, 0, -xp.inf).astype(S.dtype)[:, None, None, :]

    # softmax over the keys, in place; a row of −∞ only becomes a row of zeros
    m = row_max(S)
    S -= xp.where(m == -xp.inf, xp.zeros((), S.dtype), m)
    W = xp.exp(S, out=S)
    total = W.sum(axis=-1, keepdims=True)
    W /= xp.where(total == 0, xp.ones((), W.dtype), total)

    keep = dropout_mask(W, W.shape, dropout, seed or 0) if dropout else None
    O = (grouped(W if keep is None else W * keep, H_kv) @ value[:, :, None]).reshape(B, H, Tq, value.shape[-1])
    bias_shape = None if bias is None or bias.dtype == bool else bias.shape
    return O, AttentionResiduals(query, key, value, W, keep, scale, bias_shape)


def attention_backward(
    grad_output: Array,
    residuals: AttentionResiduals,
    *,
    bias_gradient: bool = True,
    out: tuple[Array, Array, Array] | None = None,
) -> tuple[Array, Array, Array, Array | None]:
    """The cotangents of query, key, value and bias (None without a bias of floats), from that of the output.

    O = P V, P = dropout(W), W = softmax(S), S = scale Q Kᵀ + bias  ⇒
    dV = Pᵀ dO,  dP = dO Vᵀ,  dS = W ⊙ (dW − Σ_keys dW ⊙ W),  dQ = scale dS K,  dK = scale dSᵀ Q.

    bias_gradient: False leaves that of the bias out (None): a mask that nobody trains. out: arrays, or views, in
    which the cotangents of query, key and value are written (their features contiguous); they are then what is returned.
    """
    xp = array_namespace(grad_output)
    Q, K, V, W, keep, scale, bias_shape = residuals
    B, H, Tq, _ = Q.shape
    H_kv, Tk = K.shape[1], K.shape[2]
    dO = grouped(grad_output, H_kv)
    P = W if keep is None else W * keep

    dV = (grouped(P, H_kv).swapaxes(-1, -2) @ dO).sum(axis=2)
    dW = (dO @ V[:, :, None].swapaxes(-1, -2)).reshape(B, H, Tq, Tk)
    if keep is not None:
        dW *= keep
    delta = xp.einsum("bhqk,bhqk->bhq", dW, W)[..., None]
    dS = dW
    dS -= delta
    dS *= W
    dbias = None if bias_shape is None or not bias_gradient else _sum_to(dS, bias_shape)
    dS = grouped(dS, H_kv)
    dQ = (dS @ K[:, :, None]).reshape(Q.shape)
    dK = (dS.swapaxes(-1, -2) @ grouped(Q, H_kv)).sum(axis=2)
    dQ *= Q.dtype.type(scale)
    dK *= K.dtype.type(scale)
    if out is not None:
        for place, gradient in zip(out, (dQ, dK, dV), strict=True):
            place[...] = gradient
        dQ, dK, dV = out
    return dQ, dK, dV, dbias


def attention_decode(
    query: Array,
    key: Array,
    value: Array,
    *,
    causal: bool = True,
    key_padding_mask: Array | None = None,
    bias: Array | None = None,
    scale: float | None = None,
) -> Array:
    """attention for a few new queries against the keys and values of a cache: the output alone, nothing kept.

    Arguments as in attention. Causal by default: the last query sees the whole cache, the one before it one key less.
    """
    return attention(query, key, value, causal=causal, key_padding_mask=key_padding_mask, bias=bias, scale=scale)[0]


def row_max(a: Array) -> Array:
    """max(a) over the last axis, (..., 1); −∞ where that has no elements. (CuPy's max has no `initial`.)"""
    xp = array_namespace(a)
    return a.max(axis=-1, keepdims=True) if a.shape[-1] else xp.full((*a.shape[:-1], 1), -xp.inf, a.dtype)


def grouped(a: Array, H_kv: int) -> Array:
    """(B, H, T, D) → (B, H_kv, H/H_kv, T, D): the query heads that share a key head stand together."""
    B, H, T, D = a.shape
    return a.reshape(B, H_kv, H // H_kv, T, D)


def _sum_to(a: Array, shape: tuple[int, ...]) -> Array:
    lead = a.ndim - len(shape)
    axes = (*range(lead), *(lead + i for i, n in enumerate(shape) if n == 1 and a.shape[lead + i] != 1))
    return a.sum(axis=axes, keepdims=True).reshape(shape) if axes else a.copy()
