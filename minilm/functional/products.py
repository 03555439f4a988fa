"""Products of matrices: matmul and linear."""

from __future__ import annotations

from typing import Any

from minilm.functional._broadcast import unbroadcast
from minilm.functional.shape import squeeze, unsqueeze
from minilm.tensor import Tensor, as_tensor, record


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


def linear(x: Any, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Y = X Wᵀ + b, PyTorch's convention: one row of W per output.    [eq:linear] [F3; 004 §3.1]

    x: (..., in), weight: (out, in), bias: (out,).  Returns (..., out).
    All axes but the last are folded into one, so that it is one large product instead of many small ones.
    """
    x = as_tensor(x)
    if x.shape[-1:] != weight.shape[1:]:
        raise ValueError(f"linear: x has {x.shape[-1:]} features, the weight {weight.shape} expects {weight.shape[1:]}")
    W, shape = weight.data, x.shape
    X = x.data.reshape(-1, shape[-1])  # (rows, in)
    Y = X @ W.T  # (rows, out)
    if bias is not None:
        Y += bias.data
    x_needs, w_needs = x.requires_grad, weight.requires_grad

    def backward(dy):
        # dX = dY W, dW = dYᵀ X, db = Σ_rows dY
        dY = dy.reshape(-1, W.shape[0])
        dX = (dY @ W).reshape(shape) if x_needs else None
        dW = dY.T @ X if w_needs else None
        return (dX, dW) if bias is None else (dX, dW, dY.sum(axis=0))

    parents = (x, weight) if bias is None else (x, weight, bias)
    return record(Y.reshape(*shape[:-1], W.shape[0]), parents, backward)
