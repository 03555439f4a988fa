"""Training on a GPU: batches are looked at before they are sent, and weights come back, for files and in the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from minilm.devices import CPU, batch_to_device, beside, device_of, to_host
from minilm.errors import InputError
from minilm.nn import Module
from minilm.training.example_check import label_limit, outside
from minilm_kernels.conditions import sent_checked

IDS = ("input_ids", "decoder_input_ids")
LIMITS = {"token_type_ids": "type_vocab_size", "position_ids": "max_position_embeddings"}


def sent(model: Module, batch: Any) -> tuple[Any, AbstractContextManager]:
    """The batch where the model is, in one copy, and a context in which its ids and labels count as checked."""
    device = model.device
    if device == CPU:
        return batch, nullcontext()
    checked = sent_checked() if check_batch(model, batch) else nullcontext()
    if isinstance(batch, dict):
        return batch_to_device(batch, device), checked
    return tuple(batch_to_device(dict(enumerate(batch)), device).values()), checked


def check_batch(model: Module, batch: Any) -> bool:
    """Look at a batch of the host's arrays, which on the device would mean to wait; returns whether all was looked at.

    batch: arrays by name, or (inputs, targets) of a language model. Raises InputError for ids or labels that the model does not
    have. A model whose configuration does not say how many those are is not known well enough: it looks itself.
    """
    config = getattr(model, "config", None)
    vocabulary = getattr(config, "vocab_size", None)
    if vocabulary is None:
        return False
    if not isinstance(batch, dict):
        inputs, targets = batch
        check_range("inputs", inputs, vocabulary)
        check_range("targets", targets, vocabulary, ignored=-100)
        return True
    for name in IDS:
        check_range(name, batch.get(name), vocabulary)
    for name, limit in LIMITS.items():
        check_range(name, batch.get(name), getattr(config, limit, None))
    check_range("labels", batch.get("labels"), label_limit(model, config)[0], ignored=-100)
    return heads_may_trust(batch, config)


def heads_may_trust(batch: dict[str, Any], config: Any) -> bool:
    """Whether the labels that only the heads understand are what they ask for; if not, a head looks itself and says why."""
    for name, largest in (("start_positions", None), ("end_positions", None), ("next_sentence_label", 1)):
        values = batch.get(name)
        if not isinstance(values, np.ndarray) or not values.size:
            continue
        if values.dtype.kind not in "iu":
            return False
        counted = values if largest is None else values[values != -100]
        if (counted < 0).any() or (largest is not None and (counted > largest).any()):
            return False
    labels = batch.get("labels")
    if not isinstance(labels, np.ndarray) or labels.dtype.kind != "f":
        return True
    one = getattr(config, "num_labels", None) == 1  # a number to be predicted; else probabilities of several classes
    return bool(np.isfinite(labels).all() and (one or ((labels >= 0).all() and (labels <= 1).all())))


def check_half(model: Module, precision: str) -> None:
    """Raise InputError, in the words of TrainingArguments, if a model cannot be trained in a precision of 16 bits."""
    if precision == "float32":
        return
    option = "fp16" if precision == "float16" else "bf16"
    if model.device == CPU:
        raise InputError(
            f"{option} is True, which needs a GPU, and the model is on the CPU; call model.to('cuda') before you make the "
            f"Trainer, or leave {option} out"
        )
    wide = {str(parameter.dtype) for parameter in model.parameters()} - {"float32"}
    if wide:
        raise InputError(f"{option} is True, which starts from float32 weights, and the model has {', '.join(wide)}")


def check_range(name: str, array: Any, limit: int | None, ignored: int | None = None) -> None:
    """Raise InputError unless integers are from 0 to limit − 1, or `ignored`."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu" or not array.size or limit is None:
        return
    counted = array if ignored is None else array[array != ignored]
    if counted.size and not 0 <= int(counted.min()) <= int(counted.max()) < limit:
        raise InputError(
            f"{name} of a batch hold {outside(counted, limit)}, the model knows 0 to {limit - 1}; use the tokenizer, or the "
            "labels, that belong to the model"
        )


@contextmanager
def weights_on_host(model: Module, optimizer: Any, write_back: bool = False) -> Iterator[None]:
    """Inside `with` the model's weights are float32 arrays of the host, for files, which know no device and no precision.

    write_back: afterwards the weights are what has been written into those arrays.
    """
    flat = getattr(optimizer, "flat", None)
    if flat is None or (device_of(flat.data) == CPU and not flat.mixed):
        yield
        return
    full = flat.weights()
    parameters = [(parameter, parameter.data) for parameter in model.parameters()]
    for parameter, data in parameters:
        parameter.data = to_host(full.get(id(parameter), data))
    try:
        yield
    finally:
        for parameter, data in parameters:
            read, parameter.data = parameter.data, data
            if write_back:
                place = full.get(id(parameter), data)
                place[...] = beside(read, place)
        if write_back:
            flat.publish()
            flat.publish_untrained()


def bring_home(model: Module, optimizer: Any) -> None:
    """The end of a training: all weights are float32 and on the host, and the model's own; the optimizer is done."""
    flat = getattr(optimizer, "flat", None)
    if model.device == CPU or flat is None:
        return
    full = flat.weights()
    for parameter in model.parameters():
        parameter.data = full.get(id(parameter), parameter.data)
        parameter.grad = parameter.grad_buffer = None
    model.to(CPU)
