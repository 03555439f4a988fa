"""Calls that are wrong: the kernel, what is wrong, the error, and words of its message. Every backend must say the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class BadCall(NamedTuple):
    kernel: str
    what: str
    error: type[Exception]
    words: str  # of the message
    call: Callable[[Any], Any]


def ones(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.ones(shape, dtype)


def frozen(a: np.ndarray) -> np.ndarray:
    a.flags.writeable = False
    return a


Q, K = ones(2, 4, 3, 8), ones(2, 2, 5, 8)
ROWS, TABLE, IDS = ones(6, 8), ones(10, 8), np.arange(6)
LOGITS, TARGETS = ones(4, 7), np.array([0, 6, -100, 3])
ADAMW: dict[str, Any] = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1, "step": 1}


def attention(**options: Any) -> Callable[[Any], Any]:
    return lambda k: k.attention(**({"query": Q, "key": K, "value": K} | options))


def adamw(*arrays: np.ndarray, **options: Any) -> Callable[[Any], Any]:
    arrays = arrays or tuple(ones(5) for _ in range(4))
    return lambda k: k.adamw_step(*arrays, **(ADAMW | options))


def feed_forward(k: Any) -> Any:
    return k.feed_forward(ROWS, ones(3, 8), ones(8, 3), activation="relu")


BAD_CALLS = [
    BadCall("attention", "three axes", ValueError, "(batch, heads, positions, head_dim)", attention(query=ones(4, 3, 8))),
    BadCall("attention", "other batch", ValueError, "batch", attention(query=ones(3, 4, 3, 8))),
    BadCall("attention", "other head_dim", ValueError, "head_dim must agree", attention(query=ones(2, 4, 3, 7))),
    BadCall("attention", "other keys than values", ValueError, "key positions", attention(value=ones(2, 2, 4, 8))),
    BadCall("attention", "uneven heads", ValueError, "cannot share 2 key heads evenly", attention(query=ones(2, 3, 3, 8))),
    BadCall("attention", "no key heads", ValueError, "cannot share", attention(key=ones(2, 0, 5, 8), value=ones(2, 0, 5, 8))),
    BadCall("attention", "no features", ValueError, "head_dim of at least 1",
            attention(query=ones(2, 4, 3, 0), key=ones(2, 2, 5, 0))),
    BadCall("attention", "mask's length", ValueError, "(2, 5)", attention(key_padding_mask=np.ones((2, 3), bool))),
    BadCall("attention", "mask of ints", TypeError, "booleans", attention(key_padding_mask=np.ones((2, 5), int))),
    BadCall("attention", "mask of floats", TypeError, "booleans", attention(key_padding_mask=ones(2, 5))),
    BadCall("attention", "bias does not broadcast", ValueError, "(2, 4, 3, 5)", attention(bias=ones(3, 4))),
    BadCall("attention", "bias has too many axes", ValueError, "broadcast", attention(bias=ones(1, 2, 4, 3, 5))),
    BadCall("attention", "bias for more heads", ValueError, "broadcast", attention(query=ones(2, 2, 1, 8), bias=ones(2, 3, 5))),
    BadCall("attention", "bias of ints", TypeError, "booleans", attention(bias=np.ones((3, 5), int))),
    BadCall("attention", "bias in float64", TypeError, "bias is float64", attention(bias=ones(3, 5, dtype=np.float64))),
    BadCall("attention", "float16", TypeError, "float16", attention(query=Q.astype(np.float16))),
    BadCall("attention", "ints", TypeError, "int64", attention(query=Q.astype(np.int64))),
    BadCall("attention", "other byte order", TypeError, ">f4", attention(query=Q.astype(">f4"))),
    BadCall("attention", "two dtypes", TypeError, "key is float64 but query is float32", attention(key=K.astype(np.float64))),
    BadCall("attention", "a list", TypeError, "query is a list", attention(query=Q.tolist())),
    BadCall("attention", "bias is a number", TypeError, "bias is a float32", attention(bias=np.float32(0))),
    BadCall("attention", "mask is a number", TypeError, "booleans", attention(key_padding_mask=np.True_)),
    BadCall("attention", "no value", TypeError, "value is a NoneType", attention(value=None)),
    BadCall("attention", "dropout above 1", ValueError, "between 0 and 1", attention(dropout=1.5, seed=1)),
    BadCall("attention", "dropout below 0", ValueError, "between 0 and 1", attention(dropout=-0.1, seed=1)),
    BadCall("attention", "dropout without a seed", ValueError, "needs a seed", attention(dropout=0.5)),
    BadCall("attention", "negative seed", ValueError, "2**64", attention(dropout=0.5, seed=-1)),
    BadCall("attention", "seed of 65 bits", ValueError, "2**64", attention(dropout=0.5, seed=1 << 64)),
    BadCall("attention", "seed is no int", ValueError, "whole number", attention(dropout=0.5, seed=1.5)),
    BadCall("attention_decode", "other head_dim", ValueError, "head_dim", lambda k: k.attention_decode(Q[..., :4], K, K)),
    BadCall("attention_decode", "two dtypes", TypeError, "float64", lambda k: k.attention_decode(Q, K, K.astype(float))),
    BadCall("attention_backward", "cotangent's shape", ValueError, "(2, 4, 3, 8)",
            lambda k: k.attention_backward(ones(2, 4, 3, 7), k.attention(Q, K, K)[1])),
    BadCall("attention_backward", "cotangent's dtype", TypeError, "float32",
            lambda k: k.attention_backward(ones(2, 4, 3, 8, dtype=np.float64), k.attention(Q, K, K)[1])),
    BadCall("attention_backward", "residuals of another kernel", TypeError, "residuals that attention returned",
            lambda k: k.attention_backward(Q, k.gelu(Q)[1])),
    BadCall("linear", "features", ValueError, "features", lambda k: k.linear(ROWS, ones(3, 7))),
    BadCall("linear", "weight of one axis", ValueError, "(out, in)", lambda k: k.linear(ROWS, ones(8))),
    BadCall("linear", "x without axes", ValueError, "features", lambda k: k.linear(ones(), ones(3, 8))),
    BadCall("linear", "bias", ValueError, "bias", lambda k: k.linear(ROWS, ones(3, 8), ones(8))),
    BadCall("linear", "residual", ValueError, "residual", lambda k: k.linear(ROWS, ones(3, 8), residual=ROWS)),
    BadCall("linear", "activation", ValueError, "'gelu'", lambda k: k.linear(ROWS, ones(3, 8), activation="swish")),
    BadCall("linear", "two dtypes", TypeError, "weight is float64", lambda k: k.linear(ROWS, ones(3, 8, dtype=np.float64))),
    BadCall("linear_backward", "cotangent's shape", ValueError, "(6, 3)",
            lambda k: k.linear_backward(ROWS, k.linear(ROWS, ones(3, 8))[1])),
    BadCall("linear_backward", "weight_out's shape", ValueError, "(3, 8)",
            lambda k: k.linear_backward(ones(6, 3), k.linear(ROWS, ones(3, 8))[1], weight_out=ones(8, 3))),
    BadCall("linear_backward", "weight_out's dtype", TypeError, "weight_out is float64",
            lambda k: k.linear_backward(ones(6, 3), k.linear(ROWS, ones(3, 8))[1], weight_out=np.ones((3, 8)))),
    BadCall("linear_backward", "nothing to add to", ValueError, "weight_out",
            lambda k: k.linear_backward(ones(6, 3), k.linear(ROWS, ones(3, 8))[1], accumulate=True)),
    BadCall("linear_backward", "weight_out is read-only", ValueError, "read-only",
            lambda k: k.linear_backward(ones(6, 3), k.linear(ROWS, ones(3, 8))[1], weight_out=frozen(ones(3, 8)))),
    BadCall("feed_forward", "features", ValueError, "features",
            lambda k: k.feed_forward(ROWS, ones(3, 7), ones(8, 3), activation="gelu")),
    BadCall("feed_forward", "weights that do not fit", ValueError, "(hidden, in) and (out, hidden)",
            lambda k: k.feed_forward(ROWS, ones(3, 8), ones(8, 4), activation="gelu")),
    BadCall("feed_forward", "first bias", ValueError, "bias_in",
            lambda k: k.feed_forward(ROWS, ones(3, 8), ones(8, 3), ones(8), activation="gelu")),
    BadCall("feed_forward", "second bias", ValueError, "bias_out",
            lambda k: k.feed_forward(ROWS, ones(3, 8), ones(8, 3), None, ones(3), activation="gelu")),
    BadCall("feed_forward", "residual", ValueError, "residual",
            lambda k: k.feed_forward(ROWS, ones(3, 8), ones(8, 3), activation="gelu", residual=ones(6, 3))),
    BadCall("feed_forward", "activation", ValueError, "'gelu'",
            lambda k: k.feed_forward(ROWS, ones(3, 8), ones(8, 3), activation=None)),
    BadCall("feed_forward", "two dtypes", TypeError, "weight_out is float64",
            lambda k: k.feed_forward(ROWS, ones(3, 8), ones(8, 3, dtype=np.float64), activation="gelu")),
    BadCall("feed_forward_backward", "cotangent's shape", ValueError, "(6, 8)",
            lambda k: k.feed_forward_backward(ones(6, 3), feed_forward(k)[1])),
    BadCall("feed_forward_backward", "out's shape", ValueError, "out[1] has shape (3, 8)",
            lambda k: k.feed_forward_backward(ROWS, feed_forward(k)[1], out=(None, ones(3, 8)))),
    BadCall("feed_forward_backward", "out's dtype", TypeError, "out[0] is float64",
            lambda k: k.feed_forward_backward(ROWS, feed_forward(k)[1], out=(np.ones((3, 8)), None))),
    BadCall("feed_forward_backward", "nothing to add to", ValueError, "out[0]",
            lambda k: k.feed_forward_backward(ROWS, feed_forward(k)[1], accumulate=(True, False))),
    BadCall("feed_forward_backward", "one place", ValueError, "weight_in and one for weight_out",
            lambda k: k.feed_forward_backward(ROWS, feed_forward(k)[1], out=(ones(3, 8),))),
    BadCall("feed_forward_backward", "out is read-only", ValueError, "read-only",
            lambda k: k.feed_forward_backward(ROWS, feed_forward(k)[1], out=(frozen(ones(3, 8)), None))),
    BadCall("matmul", "inner lengths", ValueError, "one K", lambda k: k.matmul(ROWS, ROWS)),
    BadCall("matmul", "three axes", ValueError, "(M, K)", lambda k: k.matmul(ones(2, 3, 4), ones(4, 3))),
    BadCall("matmul", "out's shape", ValueError, "out has shape", lambda k: k.matmul(ROWS, ROWS.T, out=ones(6, 5))),
    BadCall("matmul", "out's dtype", TypeError, "out is float64", lambda k: k.matmul(ROWS, ROWS.T, out=np.ones((6, 6)))),
    BadCall("matmul", "nothing to add to", ValueError, "accumulate", lambda k: k.matmul(ROWS, ROWS.T, accumulate=True)),
    BadCall("matmul", "out is read-only", ValueError, "read-only", lambda k: k.matmul(ROWS, ROWS.T, out=frozen(ones(6, 6)))),
    BadCall("matmul", "out is an input", ValueError, "shares memory", lambda k: k.matmul(a := ones(6, 6), ones(6, 6), out=a)),
    BadCall("layer_norm", "weight", ValueError, "weight", lambda k: k.layer_norm(ROWS, ones(6))),
    BadCall("layer_norm", "bias", ValueError, "bias", lambda k: k.layer_norm(ROWS, ones(8), ones(8, 1))),
    BadCall("layer_norm", "no features", ValueError, "features", lambda k: k.layer_norm(ones(3, 0))),
    BadCall("layer_norm", "negative eps", ValueError, "negative", lambda k: k.layer_norm(ROWS, eps=-1e-5)),
    BadCall("layer_norm", "ints", TypeError, "int64", lambda k: k.layer_norm(ROWS.astype(np.int64))),
    BadCall("layer_norm_backward", "cotangent's shape", ValueError, "(6, 8)",
            lambda k: k.layer_norm_backward(ones(8), k.layer_norm(ROWS)[1])),
    BadCall("layer_norm_backward", "add's shape", ValueError, "(6, 8)",
            lambda k: k.layer_norm_backward(ROWS, k.layer_norm(ROWS)[1], add=ones(8))),
    BadCall("layer_norm_backward", "add's dtype", TypeError, "add is float64",
            lambda k: k.layer_norm_backward(ROWS, k.layer_norm(ROWS)[1], add=np.ones((6, 8)))),
    BadCall("rms_norm_backward", "add is a list", TypeError, "add is a list",
            lambda k: k.rms_norm_backward(ROWS, k.rms_norm(ROWS)[1], add=[1.0])),
    BadCall("rms_norm", "weight", ValueError, "weight", lambda k: k.rms_norm(ROWS, ones(1))),
    BadCall("rms_norm", "eps is no number", ValueError, "eps", lambda k: k.rms_norm(ROWS, eps=float("nan"))),
    BadCall("gelu", "approximation", ValueError, "'tanh'", lambda k: k.gelu(ROWS, approximate="erf")),
    BadCall("gelu", "bools", TypeError, "bool", lambda k: k.gelu(ROWS > 0)),
    BadCall("gelu_backward", "cotangent's shape", ValueError, "(6, 8)", lambda k: k.gelu_backward(ones(6), k.gelu(ROWS)[1])),
    BadCall("silu_mul", "shapes", ValueError, "one shape", lambda k: k.silu_mul(ROWS, ones(8))),
    BadCall("softmax_cross_entropy", "axes", ValueError, "(rows, classes)",
            lambda k: k.softmax_cross_entropy(ones(2, 2, 7), TARGETS)),
    BadCall("softmax_cross_entropy", "targets' shape", ValueError, "(4,)",
            lambda k: k.softmax_cross_entropy(LOGITS, TARGETS[:3])),
    BadCall("softmax_cross_entropy", "targets of floats", TypeError, "integers",
            lambda k: k.softmax_cross_entropy(LOGITS, ones(4))),
    BadCall("softmax_cross_entropy", "target too large", IndexError, "target 7",
            lambda k: k.softmax_cross_entropy(LOGITS, TARGETS + np.array([0, 1, 0, 0]))),
    BadCall("softmax_cross_entropy", "negative target", IndexError, "target -1",
            lambda k: k.softmax_cross_entropy(LOGITS, np.array([0, 1, -1, 0]))),
    BadCall("softmax_cross_entropy", "other ignore_index", IndexError, "target -100",
            lambda k: k.softmax_cross_entropy(LOGITS, TARGETS, ignore_index=-1)),
    BadCall("softmax_cross_entropy", "smoothing", ValueError, "label_smoothing",
            lambda k: k.softmax_cross_entropy(LOGITS, TARGETS, label_smoothing=1.1)),
    BadCall("softmax_cross_entropy", "reduction", ValueError, "'mean', 'sum', 'none'",
            lambda k: k.softmax_cross_entropy(LOGITS, TARGETS, reduction="max")),
    BadCall("softmax_cross_entropy_backward", "no residuals", TypeError, "with a gradient asked for",
            lambda k: k.softmax_cross_entropy_backward(ones(), k.softmax_cross_entropy(LOGITS, TARGETS, gradient=False)[1])),
    BadCall("softmax_cross_entropy_backward", "cotangent's shape", ValueError, "grad_loss",
            lambda k: k.softmax_cross_entropy_backward(ones(4), k.softmax_cross_entropy(LOGITS, TARGETS)[1])),
    BadCall("rotary", "odd features", ValueError, "even", lambda k: k.rotary(ones(3, 7), ones(3, 3), ones(3, 3))),
    BadCall("rotary", "positions", ValueError, "(3, 4)", lambda k: k.rotary(ones(3, 8), ones(4, 4), ones(4, 4))),
    BadCall("rotary", "one axis", ValueError, "positions", lambda k: k.rotary(ones(8), ones(1, 4), ones(1, 4))),
    BadCall("rotary_backward", "angles", ValueError, "sin", lambda k: k.rotary_backward(ones(3, 8), ones(3, 4), ones(3, 8))),
    BadCall("bias_residual_dropout", "bias", ValueError, "bias", lambda k: k.bias_residual_dropout(ROWS, ones(6))),
    BadCall("bias_residual_dropout", "residual", ValueError, "residual",
            lambda k: k.bias_residual_dropout(ROWS, None, ones(8))),
    BadCall("bias_residual_dropout", "no axes", ValueError, "last axis", lambda k: k.bias_residual_dropout(ones())),
    BadCall("bias_residual_dropout", "dropout without a seed", ValueError, "needs a seed",
            lambda k: k.bias_residual_dropout(ROWS, dropout=0.1)),
    BadCall("embedding_backward", "id too large", IndexError, "rows 0 to 9",
            lambda k: k.embedding_backward(ROWS, IDS + 5, TABLE.copy())),
    BadCall("embedding_backward", "negative id", IndexError, "rows 0 to 9",
            lambda k: k.embedding_backward(ROWS, IDS - 1, TABLE.copy())),
    BadCall("embedding_backward", "ids of floats", TypeError, "integers",
            lambda k: k.embedding_backward(ROWS, ones(6), TABLE.copy())),
    BadCall("embedding_backward", "shape", ValueError, "(6, 8)", lambda k: k.embedding_backward(ones(6, 7), IDS, TABLE.copy())),
    BadCall("embedding_backward", "out is read-only", ValueError, "read-only",
            lambda k: k.embedding_backward(ROWS, IDS, frozen(TABLE.copy()))),
    BadCall("adamw_step", "lengths", ValueError, "one length", adamw(ones(5), ones(5), ones(5), ones(4))),
    BadCall("adamw_step", "two axes", ValueError, "one axis", adamw(ROWS, ROWS, ROWS, ROWS)),
    BadCall("adamw_step", "two dtypes", TypeError, "g is float64", adamw(ones(5), np.ones(5), ones(5), ones(5))),
    BadCall("adamw_step", "read-only parameters", ValueError, "read-only", adamw(frozen(ones(5)), ones(5), ones(5), ones(5))),
    BadCall("adamw_step", "step 0", ValueError, "the first step is 1", adamw(step=0)),
    BadCall("adamw_step", "beta", ValueError, "below 1", adamw(betas=(0.9, 1.0))),
    BadCall("adamw_step", "negative lr", ValueError, "lr", adamw(lr=-0.1)),
    BadCall("clip_by_norm", "one array", TypeError, "a list of arrays", lambda k: k.clip_by_norm(ones(3), 1.0)),
    BadCall("clip_by_norm", "negative limit", ValueError, "max_norm", lambda k: k.clip_by_norm([ones(3)], -1.0)),
    BadCall("clip_by_norm", "ints", TypeError, "int64", lambda k: k.clip_by_norm([np.ones(3, np.int64)], 1.0)),
    BadCall("clip_by_norm", "read-only", ValueError, "read-only", lambda k: k.clip_by_norm([frozen(ones(3))], 1.0)),
]  # fmt: skip
