"""Differentiable functions, a formula and its derivative side by side, under PyTorch's names.

from minilm import functional as F
loss = F.cross_entropy(F.linear(F.gelu(x), W, b), targets)
"""

from minilm.functional.activations import gelu, gelu_tanh_composed, relu, sigmoid, silu, silu_mul, tanh
from minilm.functional.arithmetic import abs, add, div, exp, log, maximum, minimum, mul, neg, pow, sqrt, sub
from minilm.functional.attention import attention_composed, scaled_dot_product_attention, self_attention
from minilm.functional.embedding import bias_residual_dropout, dropout, embedding
from minilm.functional.loss import cross_entropy, mse_loss
from minilm.functional.methods import attach
from minilm.functional.normalization import (
    layer_norm,
    layer_norm_composed,
    log_softmax,
    rms_norm,
    rms_norm_composed,
    softmax,
)
from minilm.functional.positions import rotary, rotary_angles
from minilm.functional.products import feed_forward, feed_forward_composed, linear, linear_composed, matmul
from minilm.functional.reductions import argmax, logsumexp, max, mean, min, sum, var
from minilm.functional.shape import (
    broadcast_to,
    concatenate,
    flatten,
    gather,
    getitem,
    masked_fill,
    permute,
    reshape,
    split,
    squeeze,
    stack,
    transpose,
    unsqueeze,
    where,
)

cat = concatenate  # PyTorch's short name

attach()

__all__ = [
    "abs", "add", "argmax", "attention_composed", "bias_residual_dropout", "broadcast_to", "cat", "concatenate",
    "cross_entropy", "div", "dropout", "embedding", "exp", "feed_forward", "feed_forward_composed", "flatten",
    "gather", "gelu", "gelu_tanh_composed", "getitem", "layer_norm", "layer_norm_composed", "linear",
    "linear_composed", "log", "log_softmax", "logsumexp", "masked_fill", "matmul", "max", "maximum", "mean", "min",
    "minimum", "mse_loss", "mul", "neg", "permute", "pow", "relu", "reshape", "rms_norm", "rms_norm_composed",
    "rotary", "rotary_angles", "scaled_dot_product_attention", "self_attention", "sigmoid", "silu", "silu_mul",
    "softmax", "split", "sqrt", "squeeze", "stack", "sub", "sum", "tanh", "transpose", "unsqueeze", "var", "where",
]  # fmt: skip
