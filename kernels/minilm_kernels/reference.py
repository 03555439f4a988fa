"""The specification: each kernel as its NumPy formula. Faster versions repeat these signatures and these results."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from minilm_kernels.namespace import array_namespace

Array = Any


class AttentionResiduals(NamedTuple):
    """What attention_backward needs from attention."""

    query: Array
    key: Array
    value: Array
    weights: Array  # softmax(S), before dropout
    keep: Array | None  # 0 where dropout struck, else 1/(1 − dropout)
    scale: float
    bias_shape: tuple[int, ...] | None


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

    query: (B, H, Tq, D); key, value: (B, H_kv, Tk, D), where H is a multiple of H_kv: query head h uses key head
    h // (H/H_kv) (grouped queries).
    causal: query i sees key j only if j ≤ i + Tk − Tq, so the last query sees all keys.
    key_padding_mask: (B, Tk) bool, True where a key may be seen.
    bias: added to the scores, broadcast to (B, H, Tq, Tk); −∞ hides a key.
    scale: 1/√D unless given. dropout: probability with which a weight is dropped, drawn from `seed`.

    Returns the output (B, H, Tq, D) and the residuals for the backward pass. A query that sees no key gets zeros.
    """
    xp = array_namespace(query)
    B, H, Tq, D = query.shape
    H_kv, Tk = key.shape[1], key.shape[2]
    scale = 1 / math.sqrt(D) if scale is None else scale

    S = grouped(query * query.dtype.type(scale), H_kv) @ key[:, :, None].swapaxes(-1, -2)  # (B, H_kv, H/H_kv, Tq, Tk)
    S = S.reshape(B, H, Tq, Tk)
    if bias is not None:
        S += bias
    if causal and Tq > 1:
        i, j = xp.arange(Tq)[:, None], xp.arange(Tk)
        S += xp.where(j <= i + (Tk - Tq), 0, -xp.inf).astype(S.dtype)
    if key_padding_mask is not None:
        S += xp.where(key_padding_mask, 0, -xp.inf).astype(S.dtype)[:, None, None, :]

    # softmax over the keys, in place; a row of −∞ only becomes a row of zeros
    m = S.max(axis=-1, keepdims=True, initial=-xp.inf)
    S -= xp.where(m == -xp.inf, xp.zeros((), S.dtype), m)
    W = xp.exp(S, out=S)
    total = W.sum(axis=-1, keepdims=True)
    W /= xp.where(total == 0, xp.ones((), W.dtype), total)

    keep = None
    if dropout:
        drawn = np.random.Generator(np.random.Philox(key=seed or 0)).random((B, H, Tq, Tk), dtype=np.float32)
        keep = xp.asarray((drawn >= dropout) / (1 - dropout) if dropout < 1 else drawn * 0, dtype=W.dtype)
    O = (grouped(W if keep is None else W * keep, H_kv) @ value[:, :, None]).reshape(B, H, Tq, value.shape[-1])
    return O, AttentionResiduals(query, key, value, W, keep, scale, None if bias is None else bias.shape)


def attention_backward(grad_output: Array, residuals: AttentionResiduals) -> tuple[Array, Array, Array, Array | None]:
    """The cotangents of query, key, value and bias (None without a bias), from that of the output.

    O = P V, P = dropout(W), W = softmax(S), S = scale Q Kᵀ + bias  ⇒
    dV = Pᵀ dO,  dP = dO Vᵀ,  dS = W ⊙ (dW − Σ_keys dW ⊙ W),  dQ = scale dS K,  dK = scale dSᵀ Q.
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
    dbias = None if bias_shape is None else _sum_to(dS, bias_shape)
    dS = grouped(dS, H_kv)
    dQ = (dS @ K[:, :, None]).reshape(Q.shape)
    dK = (dS.swapaxes(-1, -2) @ grouped(Q, H_kv)).sum(axis=2)
    dQ *= Q.dtype.type(scale)
    dK *= K.dtype.type(scale)
    return dQ, dK, dV, dbias


def grouped(a: Array, H_kv: int) -> Array:
    """(B, H, T, D) → (B, H_kv, H/H_kv, T, D): the query heads that share a key head stand together."""
    B, H, T, D = a.shape
    return a.reshape(B, H_kv, H // H_kv, T, D)


def _sum_to(a: Array, shape: tuple[int, ...]) -> Array:
    lead = a.ndim - len(shape)
    axes = (*range(lead), *(lead + i for i, n in enumerate(shape) if n == 1 and a.shape[lead + i] != 1))
    return a.sum(axis=axes, keepdims=True).reshape(shape) if axes else a.copy()
