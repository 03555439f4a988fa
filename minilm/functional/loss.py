"""Losses: cross-entropy and mean squared error."""

from __future__ import annotations

from typing import Any

import minilm_kernels as kernels
from minilm.functional._broadcast import same_float
from minilm.functional.normalization import log_softmax
from minilm.functional.reductions import mean
from minilm.tape import grad_enabled
from minilm.tensor import Array, Tensor, as_array, as_tensor, is_float, record


def cross_entropy(
    logits: Any, targets: Any, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    r"""L = −Σ_c q_c log softmax(logits)_c, averaged over the examples.    [F2; 001 §4.2]

    logits: (N, C) or (..., C) — classes last. (PyTorch puts the classes second for more than two axes; here they stay last.)
    targets: class indices (N,) or (...), of which those equal to `ignore_index` do not count; or probabilities of
    the shape of logits ("soft targets").
    label_smoothing ε: q = (1 − ε) target + ε/C.
    reduction: "mean" (over the examples that count), "sum" or "none".

    Softmax and logarithm are one step: −log softmax(z)_c = log Σ exp(z) − z_c never overflows, and the gradient is simply
    softmax(z) − q. One kernel makes loss and gradient in one pass over the logits. 16-bit logits become float32 first: a
    probability over N rows is too small for them.
    """
    (logits,) = same_float(logits)
    if logits.dtype.itemsize == 2:
        logits = logits.float()
    if isinstance(targets, Tensor) and targets.requires_grad:
        raise ValueError("cross_entropy has no gradient for its targets; detach() them, or compose it from log_softmax")
    targets = as_array(targets, logits.data)
    soft = is_float(targets.dtype)
    expected = logits.shape if soft else logits.shape[:-1]
    if targets.shape != expected:
        raise ValueError(
            f"targets have shape {targets.shape}; logits of shape {logits.shape} want targets of {expected}"
        )
    if soft:
        return _soft_cross_entropy(logits, targets, label_smoothing, reduction)
    loss, residuals = kernels.softmax_cross_entropy(
        logits.data.reshape(-1, logits.shape[-1]), targets.reshape(-1),
        ignore_index=ignore_index, label_smoothing=label_smoothing, reduction=reduction,
        gradient=logits.requires_grad and grad_enabled(),
    )  # fmt: skip
    rows, shape = logits.shape[:-1], logits.shape

    def backward(dl):
        assert residuals is not None  # there is a backward pass only where a gradient was asked for
        dl = dl.reshape(-1) if reduction == "none" else dl
        return (kernels.softmax_cross_entropy_backward(dl, residuals).reshape(shape),)

    return record(loss.reshape(rows) if reduction == "none" else loss, (logits,), backward)


def _soft_cross_entropy(logits: Tensor, q: Array, label_smoothing: float, reduction: str) -> Tensor:
    """The same for targets that are probabilities: composed, as the formula reads."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction is {reduction!r}; it is one of 'mean', 'sum', 'none'")
    q = q.astype(logits.dtype, copy=False)
    q = (1 - label_smoothing) * q + (label_smoothing / logits.shape[-1]) * q.sum(axis=-1, keepdims=True)
    losses = -(log_softmax(logits) * q).sum(dim=-1)  # [eq:cross-entropy]
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.mean()


def mse_loss(x: Any, target: Any) -> Tensor:
    """L = mean (x − target)²."""
    x = as_tensor(x)
    difference = x - (target if isinstance(target, Tensor) else as_array(target, x.data))
    return mean(difference * difference)
