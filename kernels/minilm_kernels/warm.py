"""Small calls of every kernel in the ways that models call them: whoever makes them all has compiled everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import minilm_kernels as kernels


def calls(dtype: Any = np.float32) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Pairs of a name and a function to call."""
    x = np.ones((4, 8), dtype)
    w, b = np.ones((8, 8), dtype), np.ones(8, dtype)
    heads = np.ones((1, 4, 2, 8), dtype).transpose(0, 2, 1, 3)  # (B, H, T, D), as a projection leaves it
    targets = np.zeros(4, np.int64)

    def both(name: str, *args: Any, **options: Any) -> Callable[[], Any]:
        """Forward, then backward with a cotangent of ones."""

        def call() -> None:
            y, residuals = getattr(kernels, name)(*args, **options)
            getattr(kernels, name + "_backward")(np.ones_like(y), residuals)

        return call

    yield "attention", both("attention", heads, heads, heads, causal=True)
    yield (
        "attention with masks",
        both("attention", heads, heads, heads, key_padding_mask=np.ones((1, 4), bool), bias=np.zeros((4, 4), dtype)),
    )
    yield "attention with dropout", both("attention", heads, heads, heads, causal=True, dropout=0.1, seed=0)
    yield "attention_decode", lambda: kernels.attention_decode(heads[:, :, :1], heads, heads)
    yield "linear", both("linear", x, w, b)
    yield "linear, one row", lambda: kernels.linear(x[:1], w, b)
    for activation in ("gelu", "gelu_tanh", "relu", "silu"):
        yield f"linear with {activation}", both("linear", x, w, b, activation=activation)
    yield "linear with a residual", both("linear", x, w, b, residual=x)
    for activation in ("gelu", "gelu_tanh", "relu", "silu"):
        yield f"feed_forward with {activation}", both("feed_forward", x, w, w, activation=activation)
    # so many rows of whole panels that the matrix unit takes them, where there is one
    rows, square = np.ones((256, 32), dtype), np.ones((32, 32), dtype)
    yield "feed_forward, many rows", both("feed_forward", rows, square, square, activation="gelu")
    yield "matmul", lambda: kernels.matmul(x, w, out=x.copy(), accumulate=True)
    yield "layer_norm", both("layer_norm", x, b, b)
    yield "rms_norm", both("rms_norm", x, b)
    yield "gelu", both("gelu", x)
    yield "gelu tanh", both("gelu", x, approximate="tanh")
    yield "silu_mul", both("silu_mul", x, x)
    yield "softmax_cross_entropy", both("softmax_cross_entropy", x, targets)
    yield "softmax_cross_entropy, loss only", lambda: kernels.softmax_cross_entropy(x, targets, gradient=False)
    yield "rotary", lambda: kernels.rotary(heads, np.ones((4, 4), dtype), np.ones((4, 4), dtype))
    yield "bias_residual_dropout", both("bias_residual_dropout", x, None, x, dropout=0.1, seed=0)
    yield "embedding_backward", lambda: kernels.embedding_backward(x, targets, w.copy())
    flat = np.ones(16, dtype)
    yield (
        "adamw_step",
        lambda: kernels.adamw_step(
            flat, flat.copy(), flat.copy(), flat.copy(), lr=0.1, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1, step=1
        ),
    )
    yield "clip_by_norm", lambda: kernels.clip_by_norm([flat], 1.0)
