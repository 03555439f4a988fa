"""A model's files in a checkpoint and after training: a Hugging Face folder, an adapter, or plain weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from minilm.errors import CheckpointError, InputError
from minilm.files import atomic_path
from minilm.hub.pretrained import Pretrained, load_weights, plan_for
from minilm.hub.saving import write_safetensors
from minilm.hub.weights import open_weights
from minilm.nn import Module
from minilm.nn.lora import has_adapters
from minilm.training.adapters import load_adapter, save_adapter


def write_model(folder: Path, model: Module, processing_class: Any = None) -> None:
    """Write a model, and its tokenizer, into `folder`: of a model with LoRA only the adapter."""
    folder.mkdir(parents=True, exist_ok=True)
    if has_adapters(model):
        save_adapter(model, folder)
    elif isinstance(model, Pretrained):
        model.save_pretrained(folder)
    else:
        with atomic_path(folder / "model.safetensors") as temporary:
            write_safetensors(temporary, list(model.state_dict().items()))
    if hasattr(processing_class, "save_pretrained"):
        processing_class.save_pretrained(folder)


def read_model(folder: Path, model: Module) -> None:
    """Put what write_model wrote into a model of the same shape. Raises InputError if it does not fit."""
    if has_adapters(model):
        load_adapter(model, folder)
        return
    weights = open_weights(folder)
    if not isinstance(model, Pretrained):
        model.load_state_dict({name: weights.read(name) for name in weights.shapes})
        return
    plan = plan_for(model, weights, ignore_mismatched_sizes=False)
    if plan.new:
        raise CheckpointError(f"{folder} has no weights for {', '.join(plan.new)}; it is of another model")
    load_weights(model, plan, weights)


def config_of(model: Module) -> dict[str, Any] | None:
    """A model's configuration as JSON has it, without what training itself settles."""
    config = getattr(model, "config", None)
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        return None
    values = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    values.pop("problem_type", None)  # the first labels set it
    return values


def check_folder(folder: Path) -> None:
    """Raise InputError if nothing can be written into `folder` (which is made)."""
    probe = folder / ".minilm-can-write"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}; choose another output_dir") from error
