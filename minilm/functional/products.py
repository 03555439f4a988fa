"""Products of matrices: matmul and linear."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import minilm_kernels as kernels
from minilm.functional._broadcast import data_of, given, same_float, unbroadcast
from minilm.functional.activations import gelu, relu, silu
from minilm.functional.shape import squeeze, unsqueeze
from minilm.tensor import Tensor, as_tensor, gradient_place, record


def matmul(x: Any, y: Any) -> Tensor:
    """Z = X Y over the last two axes; axes before them are batches and broadcast.    [eq:matmul]

    x: (..., n, k), y: (..., k, m).  Returns (..., n, m). A vector (k,) counts as a row on the left, a column on the right.
    """
    x, y = as_tensor(x), as_tensor(y)
    if x.ndim == 0 or y.ndim == 0:
        raise ValueError("matmul needs at least one axis on both sides; multiply by a number with *")
    if x.ndim == 1:
        return squeeze(matmul(unsqueeze(x, 0), y), -2 if y.ndim > 1 else 0)
    if y.ndim == 1:
        return squeeze(matmul(x, unsqueeze(y, 1)), -1)
    if x.shape[-1] != y.shape[-2]:
        raise ValueError(f"matmul of {x.shape} and {y.shape}: the inner lengths {x.shape[-1]} and {y.shape[-2]} differ")
    X, Y = x.data, y.data
    x_needs, y_needs = x.requires_grad, y.requires_grad

    def backward(dZ):
        # Z = X Y  ⇒  dX = dZ Yᵀ, dY = Xᵀ dZ
        dX = unbroadcast(dZ @ Y.swapaxes(-1, -2), X.shape) if x_needs else None
        dY = unbroadcast(X.swapaxes(-1, -2) @ dZ, Y.shape) if y_needs else None
        return dX, dY

    return record(X @ Y, (x, y), backward)


def linear(
    x: Any,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    residual: Any = None,
) -> Tensor:
    """Y = act(X Wᵀ + b) + R, PyTorch's convention: one row of W per output.    [F3; 004 §3.1]

    x: (..., in), weight: (out, in), bias: (out,), residual R: (..., out).  Returns (..., out).
    activation: None, "gelu", "gelu_tanh", "relu" or "silu". All that stands behind the product is done in its last pass.

    The fused twin of linear_composed. The weight's gradient is written straight into the optimizer's array.
    """
    x, weight, bias, residual = same_float(x, weight, bias, residual)
    y, residuals = kernels.linear(x.data, weight.data, data_of(bias), activation=activation, residual=data_of(residual))
    needs = x.requires_grad, weight.requires_grad

    def backward(dy):
        place, accumulate = gradient_place(weight)
        dx, dW, *others = kernels.linear_backward(dy, residuals, needs=needs, weight_out=place, accumulate=accumulate)
        if dW is not None and dW is place:
            weight.grad, dW = place, None  # it is where it belongs, so there is nothing to hand on
        return dx, dW, *given(others)

    return record(y, (x, weight, *given((bias, residual))), backward)


def linear_composed(
    x: Any,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    residual: Any = None,
) -> Tensor:
    """The same, written as the formula reads: product, sum, activation, sum."""
    y = matmul(x, weight.transpose(0, 1))  # [eq:linear]
    if bias is not None:
        y = y + bias
    if activation is not None:
        if activation not in ACTIVATIONS:
            raise ValueError(f"linear: unknown activation {activation!r}; it is one of {', '.join(ACTIVATIONS)}")
        y = ACTIVATIONS[activation](y)
    return y if residual is None else y + residual


def feed_forward(
    x: Any,
    weight_in: Tensor,
    weight_out: Tensor,
    bias_in: Tensor | None = None,
    bias_out: Tensor | None = None,
    activation: str = "gelu",
    residual: Any = None,
) -> Tensor:
    """Y = act(X W_inᵀ + b_in) W_outᵀ + b_out + R: two linear layers as one operation.    [Vaswani et al. 2017 §3.3]

    x: (..., in), weight_in: (hidden, in), weight_out: (out, hidden), bias_in: (hidden,), bias_out: (out,),
    residual R: (..., out).  Returns (..., out). activation: "gelu", "gelu_tanh", "relu" or "silu".

    The fused twin of feed_forward_composed: H = act(…) need not be kept where the kernel computes it again. The weights'
    gradients are written straight into the optimizer's array.
    """
    x, weight_in, weight_out, bias_in, bias_out, residual = same_float(
        x, weight_in, weight_out, bias_in, bias_out, residual
    )
    biases = data_of(bias_in), data_of(bias_out)
    y, residuals = kernels.feed_forward(
        x.data, weight_in.data, weight_out.data, *biases, activation=activation, residual=data_of(residual)
    )
    weights = weight_in, weight_out
    needs = x.requires_grad, weight_in.requires_grad, weight_out.requires_grad

    def backward(dy):
        places, accumulate = zip(*map(gradient_place, weights), strict=True)
        dx, *dW, db_in, db_out, dR = kernels.feed_forward_backward(
            dy, residuals, needs=needs, out=places, accumulate=accumulate
        )
        for i, (weight, place) in enumerate(zip(weights, places, strict=True)):
            if dW[i] is not None and dW[i] is place:
                weight.grad, dW[i] = place, None  # it is where it belongs, so there is nothing to hand on
        return dx, *dW, *given((db_in, db_out, dR))

    return record(y, (x, *weights, *given((bias_in, bias_out, residual))), backward)


def feed_forward_composed(
    x: Any,
    weight_in: Tensor,
    weight_out: Tensor,
    bias_in: Tensor | None = None,
    bias_out: Tensor | None = None,
    activation: str = "gelu",
    residual: Any = None,
) -> Tensor:
    """The same, as two linear layers written as the formula reads."""
    return linear_composed(linear_composed(x, weight_in, bias_in, activation), weight_out, bias_out, residual=residual)


ACTIVATIONS: dict[str, Callable[[Any], Tensor]] = {
    "gelu": gelu,
    "gelu_tanh": partial(gelu, approximate="tanh"),
    "relu": relu,
    "silu": silu,
}
