"""Measuring a language model on a text: the mean loss over all its tokens."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from minilm import functional as F
from minilm.devices import CPU, batch_to_device
from minilm.errors import InputError
from minilm.metrics.perplexity import perplexity
from minilm.nn import Module
from minilm.optional import require
from minilm.tape import no_grad
from minilm_kernels.conditions import sent_checked


class EvaluationResult(NamedTuple):
    """What evaluate_loss found: the mean loss in nats per token, and over how many tokens."""

    loss: float
    tokens: int

    @property
    def perplexity(self) -> float:
        """e^loss."""
        return perplexity(self.loss)


class evaluation_mode:  # noqa: N801  named and used like no_grad
    """Within this block `model` is in eval mode and nothing is recorded; afterwards every module is as it was.

    The modules are looked up once, so entering the same object again and again costs next to nothing.
    """

    def __init__(self, model: Module):
        self.were_training = [module for module in model.modules() if module.training]
        self.no_grad = no_grad()

    def __enter__(self) -> None:
        for module in self.were_training:
            module.training = False
        self.no_grad.__enter__()

    def __exit__(self, *exception: object) -> None:
        self.no_grad.__exit__(*exception)
        for module in self.were_training:
            module.training = True


def evaluate_loss(model: Module, windows: Iterable[tuple[Any, Any]], progress: bool = False) -> EvaluationResult:
    r"""L = −(1/N) Σ_t ln P(w_t | window before t), over all N targets of all windows.    [eq:likelihood] [F15; 000 §2.1]

    model: called with inputs (B, T), returns (logits (B, T, vocab), ...).
    windows: batches (inputs, targets), each (B, T) integers, as SequentialWindows gives them; a target of −100 does not
    count. progress: show a bar.

    Each token weighs the same, however the text was cut into batches; the sum is a float64. The model computes without
    dropout and without a tape, and is afterwards in the mode it was in.
    Raises InputError if there is no target at all.
    """
    if progress:
        windows = require("tqdm", "a progress bar").tqdm(windows, desc="evaluating", unit=" batches", leave=False)
    total: Any = 0.0  # on a GPU an array without axes: nobody waits for it before the end
    tokens = 0
    device, vocabulary = getattr(model, "device", CPU), getattr(getattr(model, "config", None), "vocab_size", None)
    with evaluation_mode(model):
        for inputs, targets in windows:
            counted = np.asarray(targets) != -100
            known = device != CPU and within(inputs, vocabulary) and within(targets, vocabulary, counted)
            moved = batch_to_device({"inputs": inputs, "targets": targets}, device)
            with sent_checked() if known else nullcontext():
                logits = model(moved["inputs"])[0]
                # [eq:likelihood]: −ln P of each target, (B, T), 0 where it does not count
                losses = F.cross_entropy(logits, moved["targets"], reduction="none")
            total = total + losses.data.sum(dtype=np.float64)
            tokens += int(counted.sum())
    if tokens == 0:
        raise InputError("there is no token to predict, so no loss to measure; give at least one window with a target")
    return EvaluationResult(float(total) / tokens, tokens)


def within(ids: Any, vocabulary: int | None, counted: np.ndarray | None = None) -> bool:
    """Whether ids of the host (those that count) are from 0 to vocabulary − 1, so that a model need not look on the device."""
    if vocabulary is None or not isinstance(ids, np.ndarray) or ids.dtype.kind not in "iu":
        return False
    values = ids if counted is None else ids[counted]
    return not values.size or 0 <= int(values.min()) <= int(values.max()) < vocabulary
