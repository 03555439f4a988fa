"""Optimizers, schedules and clipping, under PyTorch's names, all on one flat array."""

from minilm.optim.flat import FlatParameters, clip_grad_norm_
from minilm.optim.optimizers import SGD, Adam, AdamW, Optimizer, decay_groups
from minilm.optim.precision import PRECISIONS, LossScaler, check_precision
from minilm.optim.schedules import LRScheduler, constant, make_schedule, warmup_cosine, warmup_linear

__all__ = [
    "PRECISIONS",
    "SGD",
    "Adam",
    "AdamW",
    "FlatParameters",
    "LRScheduler",
    "LossScaler",
    "Optimizer",
    "check_precision",
    "clip_grad_norm_",
    "constant",
    "decay_groups",
    "make_schedule",
    "warmup_cosine",
    "warmup_linear",
]
