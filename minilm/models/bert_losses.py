"""The losses of heads for classes, numbers and answers, with labels checked before anything is computed from them."""

from __future__ import annotations

from typing import Any

from minilm import functional as F
from minilm.devices import beside
from minilm.errors import InputError
from minilm.tensor import Array, Tensor, as_array
from minilm_kernels import array_namespace
from minilm_kernels.conditions import values_count


def class_loss(logits: Tensor, labels: Any, name: str = "labels") -> Tensor:
    """Mean cross-entropy over the labels that are not −100.

    logits: (..., C), labels: (...) integers. Raises InputError for labels of another shape or outside 0 … C − 1.
    """
    classes = as_array(labels)
    expected = logits.shape[:-1]
    if classes.shape == (*expected, 1):
        classes = classes.reshape(expected)
    check_labels(name, classes, expected, logits.shape[-1])
    return F.cross_entropy(logits, classes)


def sequence_loss(logits: Tensor, labels: Any, config: Any) -> Tensor:
    """The loss of a text's label or labels, of the kind that config.problem_type says; see BertForSequenceClassification.

    config: a model's configuration with num_labels and problem_type, which is set where it is None.
    """
    values = as_array(labels)
    if config.problem_type is None:
        if config.num_labels == 1:
            config.problem_type = "regression"
        else:
            single = values.dtype.kind in "iu"
            config.problem_type = "single_label_classification" if single else "multi_label_classification"
    if config.problem_type == "single_label_classification":
        return class_loss(logits, values)
    if config.problem_type == "regression" and values.shape == logits.shape[:1] and logits.shape[1] == 1:
        values = values.reshape(logits.shape)
    if values.dtype.kind not in "biuf" or values.shape != logits.shape:
        raise InputError(
            f"labels hold {values.dtype} of shape {values.shape}; problem_type {config.problem_type!r} wants numbers of "
            f"shape {logits.shape}, one per text and label (set config.problem_type if you meant another)"
        )
    if logits.dtype.itemsize == 2:
        logits = logits.float()  # squares and means soon leave the range of 16 bits
    values, seen = values.astype(logits.dtype), values_count(values)
    if seen and not bool(array_namespace(values).isfinite(values).all()):
        raise InputError("labels hold a number that is not finite; leave such examples out")
    if config.problem_type == "regression":
        return F.mse_loss(logits, values)
    if seen and (float(values.min()) < 0 or float(values.max()) > 1):
        raise InputError(
            f"labels run from {float(values.min()):g} to {float(values.max()):g}; multi_label_classification wants 0 or 1 "
            "for each class"
        )
    return binary_cross_entropy_with_logits(logits, beside(values, logits.data))


def binary_cross_entropy_with_logits(z: Tensor, y: Array) -> Tensor:
    """L = mean log(1 + exp z) − y z = mean −y log σ(z) − (1 − y) log(1 − σ(z)).

    log(1 + exp z) is the logarithm of a sum of two exponentials, of 0 and of z: so it cannot overflow.
    """
    pair = F.stack([array_namespace(y).zeros_like(y), z], dim=-1)
    return (F.logsumexp(pair, dim=-1) - z * y).mean()


def answer_loss(start: Tensor, end: Tensor, start_positions: Any, end_positions: Any) -> Tensor | None:
    """(L_start + L_end)/2, each a cross-entropy over the positions; None where no positions are given.

    start, end: (B, T). A position of T or more lies outside this window of the text and does not count.
    """
    if start_positions is None and end_positions is None:
        return None
    if start_positions is None or end_positions is None:
        raise InputError("question answering trains on both start_positions and end_positions; one of them is missing")
    B, T = start.shape
    losses = []
    for name, given, logits in (("start_positions", start_positions, start), ("end_positions", end_positions, end)):
        positions = as_array(given)
        if positions.shape == (B, 1):
            positions = positions.reshape(B)
        check_labels(name, positions, (B,), None)
        outside = positions >= T
        losses.append(F.cross_entropy(logits, array_namespace(positions).where(outside, -100, positions)))
    return (losses[0] + losses[1]) * 0.5


def check_labels(name: str, labels: Array, expected: tuple[int, ...], classes: int | None) -> None:
    """Raise InputError unless labels are integers of the expected shape from 0 to classes − 1, or −100 (with `classes`)."""
    if labels.dtype.kind not in "iu":
        raise InputError(f"{name} hold {labels.dtype}; they must be integers")
    if labels.shape != expected:
        raise InputError(f"{name} have shape {labels.shape}; this head wants {expected}")
    counted = labels[:0] if not values_count(labels) else labels if classes is None else labels[labels != -100]
    if counted.size == 0:
        return
    smallest, largest = int(counted.min()), int(counted.max())
    if classes is None and smallest < 0:
        raise InputError(f"{name} hold {smallest}; the first token is 0, and an answer outside the text has its length")
    if classes is not None and (smallest < 0 or largest >= classes):
        wrong = smallest if smallest < 0 else largest
        raise InputError(f"{name} hold {wrong}; the classes are 0 to {classes - 1}, and -100 marks what does not count")
