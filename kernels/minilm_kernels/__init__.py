"""Kernels of minilm: arrays in, arrays out. This package knows no Tensor and no model.

from minilm_kernels import attention, use_kernels

Each kernel is specified in minilm_kernels.reference; dispatch.py says which backend serves a call.
"""

from minilm_kernels import reference
from minilm_kernels.dispatch import (
    KERNELS,
    active,
    adamw_step,
    attention,
    attention_backward,
    attention_decode,
    bias_residual_dropout,
    bias_residual_dropout_backward,
    clip_by_norm,
    embedding_backward,
    feed_forward,
    feed_forward_backward,
    gelu,
    gelu_backward,
    layer_norm,
    layer_norm_backward,
    linear,
    linear_backward,
    matmul,
    rms_norm,
    rms_norm_backward,
    rotary,
    rotary_backward,
    silu_mul,
    silu_mul_backward,
    softmax_cross_entropy,
    softmax_cross_entropy_backward,
    use_kernels,
)
from minilm_kernels.namespace import array_namespace

__all__ = [
    "KERNELS", "active", "adamw_step", "array_namespace", "attention", "attention_backward", "attention_decode",
    "bias_residual_dropout", "bias_residual_dropout_backward", "clip_by_norm", "embedding_backward", "feed_forward",
    "feed_forward_backward", "gelu", "gelu_backward", "layer_norm", "layer_norm_backward", "linear",
    "linear_backward", "matmul", "reference", "rms_norm", "rms_norm_backward", "rotary", "rotary_backward",
    "silu_mul", "silu_mul_backward", "softmax_cross_entropy", "softmax_cross_entropy_backward", "use_kernels",
]  # fmt: skip
