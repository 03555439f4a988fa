"""Losses: cross-entropy and mean squared error."""

from __future__ import annotations

from typing import Any

from minilm.functional.reductions import mean
from minilm.tensor import Tensor, as_array, as_float, as_tensor, record
from minilm_kernels import array_namespace


def cross_entropy(
    logits: Any, targets: Any, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    r"""L = −Σ_c q_c log softmax(logits)_c, averaged over the examples.    [eq:cross-entropy] [F2; 001 §4.2]

    logits: (N, C) or (..., C) — classes last. (PyTorch puts the classes second for more than two axes; here they stay last.)
    targets: class indices (N,) or (...), of which those equal to `ignore_index` do not count; or probabilities of
    the shape of logits ("soft targets").
    label_smoothing ε: q = (1 − ε) target + ε/C.
    reduction: "mean" (over the examples that count), "sum" or "none".

    Softmax and logarithm are one step: −log softmax(z)_c = log Σ exp(z) − z_c never overflows, and the gradient
    is simply softmax(z) − q.
    """
    logits = as_float(logits)
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction is {reduction!r}; it is one of 'mean', 'sum', 'none'")
    xp = array_namespace(logits.data)
    C = logits.shape[-1]
    Z = logits.data.reshape(-1, C)  # (N, C)
    if isinstance(targets, Tensor) and targets.requires_grad:
        raise ValueError("cross_entropy has no gradient for its targets; detach() them, or compose it from log_softmax")
    targets = as_array(targets)
    soft = targets.dtype.kind == "f"
    expected = logits.shape if soft else logits.shape[:-1]
    if targets.shape != expected:
        raise ValueError(
            f"targets have shape {targets.shape}; logits of shape {logits.shape} want targets of {expected}"
        )

    shifted = Z - Z.max(axis=-1, keepdims=True)
    P = xp.exp(shifted)
    total = P.sum(axis=-1, keepdims=True)
    log_total = xp.log(total)[:, 0]  # log Σ exp(z), up to the shift
    rows = xp.arange(len(Z))
    eps = label_smoothing
    if soft:
        Q = targets.reshape(-1, C).astype(Z.dtype, copy=False)
        mass = Q.sum(axis=-1)  # 1 for probabilities
        hit = (Q * shifted).sum(axis=-1)
        counted = xp.ones(len(Z), bool)
    else:
        y = targets.reshape(-1)
        counted = y != ignore_index
        y = xp.where(counted, y, 0)
        if y.size and not (int(y.min()) >= 0 and int(y.max()) < C):
            raise IndexError(f"targets run from {int(y.min())} to {int(y.max())}, but there are classes 0 to {C - 1}")
        mass = 1
        hit = shifted[rows, y]
    losses = mass * log_total - (1 - eps) * hit
    if eps:
        losses -= eps * mass * shifted.mean(axis=-1)
    losses = xp.where(counted, losses, xp.zeros((), Z.dtype))
    n = int(counted.sum())
    P /= total  # now softmax(z)

    def backward(dl):
        # ∂L/∂z = mass · softmax(z) − q,  with q = (1 − ε) target + ε/C
        if reduction == "none":
            per_row = dl.reshape(-1)
        else:
            per_row = xp.broadcast_to(dl / max(n, 1) if reduction == "mean" else dl, len(Z))
        per_row = xp.where(counted, per_row, xp.zeros((), Z.dtype)).astype(Z.dtype)[:, None]
        if soft:
            dZ = mass[:, None] * P
            dZ -= (1 - eps) * Q
            if eps:
                dZ -= (eps / C) * mass[:, None]
            dZ *= per_row
        else:
            dZ = P * per_row
            dZ[rows, y] -= (1 - eps) * per_row[:, 0]
            if eps:
                dZ -= (eps / C) * per_row
        return (dZ.reshape(logits.shape),)

    if reduction == "none":
        return record(losses.reshape(logits.shape[:-1]), (logits,), backward)
    loss = losses.sum(dtype=Z.dtype)
    if reduction == "mean":
        loss = loss / n if n else loss * xp.nan  # the mean of nothing is no number, as in PyTorch; the sum is 0
    return record(loss, (logits,), backward)


def mse_loss(x: Any, target: Any) -> Tensor:
    """L = mean (x − target)²."""
    difference = as_tensor(x) - as_tensor(target)
    return mean(difference * difference)
