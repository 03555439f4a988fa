"""Softmax cross-entropy: a block per row. The number of rows that count never leaves the device."""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm_kernels.formulas.loss import CrossEntropyResiduals
from minilm_kernels.gpu import plan
from minilm_kernels.gpu.arguments import dense, i32, i64
from minilm_kernels.gpu.compile import device_of, launch, real, type_name

Array = Any


def softmax_cross_entropy(
    logits: Array,
    targets: Array,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    gradient: bool = True,
) -> tuple[Array, CrossEntropyResiduals | None]:
    """See minilm_kernels.reference.softmax_cross_entropy."""
    device, Z, dtype = device_of(logits), dense(logits), type_name(logits)
    xp, (N, C) = device.xp, logits.shape
    y = dense(targets.astype(np.int64, copy=False))
    mean, ignore = i32(reduction == "mean"), i64(ignore_index)
    losses, counted = xp.empty(N, real(Z)), xp.empty(1, np.float64)
    dZ = xp.empty((N, C), Z.dtype) if gradient else None
    launch(device, plan.reduction("count_targets", "double"), y, counted, i64(N), ignore)
    launch(
        device, plan.reduction("cross_entropy", dtype, N),
        Z, y, losses, dZ, counted, i32(C), ignore, real(Z)(label_smoothing), mean,
    )  # fmt: skip
    residuals = None if dZ is None else CrossEntropyResiduals(dZ, reduction)
    if reduction == "none":
        return losses.astype(Z.dtype, copy=False), residuals
    loss = xp.empty((), Z.dtype)
    launch(device, plan.reduction("loss_sum", dtype), losses, counted, loss, i64(N), mean)
    return loss, residuals


def softmax_cross_entropy_backward(grad_loss: Array, residuals: CrossEntropyResiduals) -> Array:
    """See minilm_kernels.reference.softmax_cross_entropy_backward."""
    dZ, reduction = residuals
    device = device_of(dZ)
    result = device.xp.empty(dZ.shape, dZ.dtype)
    grad = dense(device.xp.asarray(grad_loss, dZ.dtype))
    launch(
        device, plan.elements("scale_rows", type_name(dZ), dZ.size),
        dZ, grad, result, i64(dZ.size), i32(max(dZ.shape[1], 1)), i32(reduction == "none"),
    )  # fmt: skip
    return result
