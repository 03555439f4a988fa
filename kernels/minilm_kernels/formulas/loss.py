"""Softmax and cross-entropy in one step."""

from __future__ import annotations

from typing import Any, NamedTuple

from minilm_kernels.namespace import array_namespace

Array = Any


class CrossEntropyResiduals(NamedTuple):
    """What softmax_cross_entropy_backward needs: the gradient itself, but for the factor grad_loss."""

    grad_logits: Array  # (N, C)
    reduction: str


def softmax_cross_entropy(
    logits: Array,
    targets: Array,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    gradient: bool = True,
) -> tuple[Array, CrossEntropyResiduals | None]:
    r"""L_i = −Σ_c q_c log softmax(z_i)_c = log Σ_c e^(z_ic) − Σ_c q_c z_ic.    [eq:cross-entropy] [F2; 001 §4.2]

    logits z: (N, C); targets y: (N,) integers; rows whose target is `ignore_index` do not count.
    label_smoothing ε: q = (1 − ε) · one-hot(y) + ε/C.
    reduction: "mean" over the rows that count (NaN if none does), "sum", or "none".
    gradient: False for the loss alone.

    Returns the loss, a 0-dim array or (N,) for "none", and the residuals (None without gradient).
    """
    xp = array_namespace(logits)
    N, C = logits.shape
    eps = label_smoothing
    counted = targets != ignore_index
    y = xp.where(counted, targets, 0)
    i = xp.arange(N)
    zero = xp.zeros((), logits.dtype)

    shifted = logits - logits.max(axis=-1, keepdims=True) if C else logits  # CuPy's max has no `initial`
    P = xp.exp(shifted)
    total = P.sum(axis=-1, keepdims=True)
    losses = xp.log(total)[:, 0]  # log Σ e^z, up to the shift
    if C:
        losses -= (1 - eps) * shifted[i, y]
    if eps:
        losses -= (eps / C) * shifted.sum(axis=-1)
    losses = xp.where(counted, losses, zero)
    count = int(counted.sum())

    residuals = None
    if gradient:
        # ∂L_i/∂z_ic = softmax(z_i)_c − q_c
        dZ = P
        dZ /= total
        if C:
            dZ[i, y] -= 1 - eps
        if eps:
            dZ -= eps / C
        dZ = xp.where(counted[:, None], dZ, zero)
        if reduction == "mean":
            dZ /= max(count, 1)
        residuals = CrossEntropyResiduals(dZ, reduction)
    if reduction == "none":
        return losses, residuals
    loss = xp.asarray(losses.sum(dtype=logits.dtype))
    if reduction == "mean":
        loss = xp.asarray(loss / count if count else loss * xp.nan, dtype=logits.dtype)
    return loss, residuals


def softmax_cross_entropy_backward(grad_loss: Array, residuals: CrossEntropyResiduals) -> Array:
    """The cotangent of the logits: dZ = dL ⊙ (softmax(z) − q), divided by the number of rows that count for "mean".

    grad_loss: 0-dim, or (N,) for reduction "none".  Returns (N, C).
    """
    dZ, reduction = residuals
    return dZ * (grad_loss[:, None] if reduction == "none" else grad_loss)
