"""What the Trainer makes of its arguments: the optimizer, the source of dropout, smoothed labels."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from minilm import functional as F
from minilm.errors import InputError
from minilm.models.causal import CausalLM
from minilm.nn import Dropout, Module
from minilm.optim import SGD, AdamW, Optimizer
from minilm.tensor import Parameter, Tensor, as_array
from minilm.training.arguments import TrainingArguments

UNDECAYED = re.compile(r"bias|norm")


def make_optimizer(model: Module, args: TrainingArguments) -> Optimizer:
    """AdamW (or SGD) over the parameters that require a gradient; what decays() is False for has weight decay 0."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not trained:
        raise InputError("no parameter of the model requires a gradient; unfreeze some with requires_grad_()")
    groups = [
        {"params": [p for name, p in trained if decays(name, p)], "weight_decay": args.weight_decay},
        {"params": [p for name, p in trained if not decays(name, p)], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if args.optim == "sgd":
        return SGD(groups, lr=args.learning_rate)
    return AdamW(groups, lr=args.learning_rate, betas=(args.adam_beta1, args.adam_beta2), eps=args.adam_epsilon)


def decays(name: str, parameter: Parameter) -> bool:
    """Whether weight decay pulls on a parameter: on matrices and tables, not on biases and norms."""
    return parameter.ndim >= 2 and not UNDECAYED.search(name)


def seed_dropout(model: Module, seed: int) -> np.random.Generator:
    """Let all dropout of the model draw from one new generator, which is returned, so that a training follows from its seed.

    A generator that the model was made with is left as it is.
    """
    generator = np.random.default_rng(seed)
    for module in model.modules():
        if isinstance(module, Dropout) or isinstance(getattr(module, "generator", None), np.random.Generator):
            module.generator = generator  # type: ignore[attr-defined]  # not every Module has one; these do
    return generator


def smoothed_loss(model: Module, outputs: Any, labels: Any, smoothing: float) -> Tensor:
    """Cross-entropy with smoothed labels; a causal language model's are one place further on."""
    logits, labels = outputs["logits"], as_array(labels)
    if isinstance(model, CausalLM):
        logits, labels = logits[:, :-1], labels[:, 1:]
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)
