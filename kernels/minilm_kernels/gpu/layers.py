"""A feed-forward layer: two linear layers one after the other."""

from __future__ import annotations

from typing import Any

from minilm_kernels.formulas.products import FeedForwardResiduals
from minilm_kernels.gpu.activations import linear, linear_backward

Array = Any


def feed_forward(
    x: Array,
    weight_in: Array,
    weight_out: Array,
    bias_in: Array | None = None,
    bias_out: Array | None = None,
    *,
    activation: str,
    residual: Array | None = None,
) -> tuple[Array, FeedForwardResiduals]:
    """See minilm_kernels.reference.feed_forward."""
    H, up = linear(x, weight_in, bias_in, activation=activation)
    Y, down = linear(H, weight_out, bias_out, residual=residual)
    return Y, FeedForwardResiduals(up, down)


def feed_forward_backward(
    grad_output: Array,
    residuals: FeedForwardResiduals,
    *,
    needs: tuple[bool, bool, bool] = (True, True, True),
    out: tuple[Array | None, Array | None] = (None, None),
    accumulate: tuple[bool, bool] = (False, False),
) -> tuple[Array | None, ...]:
    """See minilm_kernels.reference.feed_forward_backward."""
    up, down = residuals
    need_x, need_in, need_out = needs
    dH, dW_out, db_out, dR = linear_backward(
        grad_output, down, needs=(True, need_out), weight_out=out[1], accumulate=accumulate[1]
    )
    dX, dW_in, db_in, _ = linear_backward(dH, up, needs=(need_x, need_in), weight_out=out[0], accumulate=accumulate[0])
    return dX, dW_in, dW_out, db_in, db_out, dR
