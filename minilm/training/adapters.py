"""LoRA with peft's names: LoraConfig, get_peft_model, and an adapter saved alone, as peft writes and reads it.

adapter_config.json          rank, α, and which layers, by their Hugging Face names
adapter_model.safetensors    base_model.model.<layer>.lora_A.weight, ....lora_B.weight, and modules that were trained whole
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minilm.devices import beside
from minilm.errors import InputError
from minilm.files import atomic_path, write_text
from minilm.hub.pretrained import Pretrained
from minilm.hub.saving import write_safetensors
from minilm.hub.weights import read_header
from minilm.nn import Linear, Module
from minilm.nn.lora import LowRank, Rows, adapted_layers, add_lora, ends_with, find, has_adapters, remove_lora

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."
TARGETS = {
    "bert": ["query", "value"], "gpt2": ["c_attn"], "llama": ["q_proj", "v_proj"], "t5": ["q", "v"],
    "marian": ["q_proj", "v_proj"], "pegasus": ["q_proj", "v_proj"],
}  # fmt: skip
VARIANTS = (  # of LoRA, which would compute something else with the same arrays
    "alora_invocation_tokens", "alpha_pattern", "arrow_config", "bias", "kasa_config", "layer_replication", "lora_bias",
    "monteclora_config", "rank_pattern", "target_parameters", "trainable_token_indices", "use_bdlora", "use_dora",
    "use_qalora", "use_rslora",
)  # fmt: skip
HEADS = ("classifier", "qa_outputs", "score")  # they are new when a model is fine-tuned, so they are trained whole


@dataclass
class LoraConfig:
    """Which layers get low-rank updates, and of what size.

    r: the rank. lora_alpha: α; the update is multiplied by α/r. lora_dropout: of the update's input.
    target_modules: ends of layers' names as Hugging Face has them, such as ["query", "value"]; None: queries and values.
    modules_to_save: modules that are trained whole; None: the head of a classifier or of question answering.
    """

    r: int = 8
    lora_alpha: float = 8
    lora_dropout: float = 0.0
    target_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = None

    def check(self) -> None:
        """Raise InputError for the first value that cannot work."""
        if type(self.r) is not int or self.r < 1:
            raise InputError(f"r is {self.r!r}; the rank must be a whole number, at least 1")
        for name, most in (("lora_alpha", math.inf), ("lora_dropout", 1.0)):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= most:
                limit = " to 1" if most == 1 else " on"
                raise InputError(f"{name} is {value!r}; it must be a number from 0{limit}")
        for name in ("target_modules", "modules_to_save"):
            value = getattr(self, name)
            if not (value is None or isinstance(value, str) or all(isinstance(each, str) for each in value)):
                raise InputError(f"{name} is {value!r}; give a list of layers' names")


def get_peft_model(model: Module, config: LoraConfig, generator: np.random.Generator | None = None) -> Module:
    """Put LoRA adapters into `model`, freeze the rest, and return it. Raises InputError for layers that are not there."""
    config.check()
    targets = [config.target_modules] if isinstance(config.target_modules, str) else config.target_modules
    targets = targets or TARGETS.get(model_type(model))
    if not targets:
        raise InputError(f"LoraConfig has no target_modules, and {type(model).__name__} has no usual ones; name layers")
    layers = [name for name, module in model.named_modules() if isinstance(module, Linear)]
    chosen: dict[str, list[Rows]] = {}
    known = set()
    for layer in layers:
        for file_name, rows in file_rows(model, layer):
            known.add(file_name.rpartition(".")[2])
            if ends_with(file_name, targets):
                chosen.setdefault(layer, []).append(rows)
    for target in targets:
        if not any(ends_with(name, [target]) for layer in layers for name, _ in file_rows(model, layer)):
            raise InputError(f"the model has no linear layer {target!r}; it has {', '.join(sorted(known))}")
    whole = list(HEADS) if config.modules_to_save is None else list(config.modules_to_save)
    add_lora(model, chosen, config.r, config.lora_alpha, config.lora_dropout, whole, generator)
    return model


def save_adapter(model: Module, folder: str | Path) -> None:
    """Write the adapter of a model, and the modules that are trained whole, into `folder`."""
    folder = Path(folder)
    parts = [part for _, layer in adapted_layers(model) for part in layer.lora]
    if not parts:
        raise InputError("this model has no LoRA adapter; get_peft_model(model, LoraConfig(...)) first")
    tensors = list(adapter_arrays(model))
    layers = sorted({name.rpartition(".lora_")[0] for name, _ in tensors if ".lora_A." in name})
    whole = sorted({name.rpartition(".")[0] for name, _ in tensors if ".lora_" not in name})
    dropout = next(layer.lora_dropout.p for _, layer in adapted_layers(model))
    config = LoraConfig(
        parts[0].A.shape[0], parts[0].alpha, dropout,
        [name.removeprefix(PREFIX) for name in layers], [name.removeprefix(PREFIX) for name in whole] or None,
    )  # fmt: skip
    values = {
        **asdict(config), "peft_type": "LORA", "bias": "none", "task_type": None, "inference_mode": True,
        "base_model_name_or_path": None, "fan_in_fan_out": model_type(model) == "gpt2",
    }  # fmt: skip
    with atomic_path(folder / WEIGHTS) as temporary:
        write_safetensors(temporary, tensors)
    write_text(folder / CONFIG, json.dumps(values, indent=2, sort_keys=True) + "\n")


def load_adapter(model: Module, folder: str | Path) -> Module:
    """Put a saved adapter into `model`; one without adapters gets them as adapter_config.json says.

    Raises InputError for a missing file, and for an adapter that does not fit; the model is then as it was.
    """
    folder = Path(folder)
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        known = {name: values[name] for name in asdict(LoraConfig()) if name in values}
        if values.get("peft_type") != "LORA":
            raise ValueError(f"peft_type is {values.get('peft_type')!r}, not LORA")
        for name in VARIANTS:
            if values.get(name) not in (None, False, "none", 0, [], {}):
                raise ValueError(f"{name} is {values[name]!r}, and minilm has plain LoRA only")
    except OSError as error:
        raise InputError(f"cannot read {folder / CONFIG}: {error.strerror}; give the folder of an adapter") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / CONFIG} is no adapter's configuration ({error}); give another adapter") from error
    saved = {name: entry.read(name) for name, entry in read_header(folder / WEIGHTS).items()}
    new = not has_adapters(model)
    if new:
        config = LoraConfig(**known)
        config.modules_to_save = config.modules_to_save or []
        get_peft_model(model, config, np.random.default_rng(0))
    wanted = list(adapter_arrays(model))
    shapes = {name: array.shape for name, array in wanted}
    problems = [f"missing: {name}" for name in shapes if name not in saved]
    problems += [f"unexpected: {name}" for name in saved if name not in shapes]
    problems += [
        f"shape of {name}: {saved[name].shape} in the file, {shape} in the model"
        for name, shape in shapes.items()
        if name in saved and saved[name].shape != shape
    ]
    if problems:
        if new:
            remove_lora(model)
        shown = "; ".join(problems[:6]) + (f"; and {len(problems) - 6} more" if len(problems) > 6 else "")
        raise InputError(
            f"the adapter in {folder} does not fit the model ({shown}); open it on the model it was made for"
        )
    for name, place in wanted:
        place[...] = beside(saved[name], place)
    return model


def adapter_arrays(model: Module) -> Iterator[tuple[str, np.ndarray]]:
    """(name in the file, the model's own memory) of all that an adapter consists of."""
    inside = set()
    for layer_name, layer in adapted_layers(model):
        places = file_rows(model, layer_name)
        for part in layer.lora:
            inside |= {id(part.A), id(part.B)}
            name = place_of(part, places)
            yield f"{PREFIX}{name}.lora_A.weight", part.A.data
            yield f"{PREFIX}{name}.lora_B.weight", part.B.data
    for own_name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in inside:
            for name, array in file_arrays(model, own_name, parameter.data):
                yield f"{PREFIX}{name}", array


def place_of(part: LowRank, places: list[tuple[str, Rows]]) -> str:
    """The Hugging Face layer that a low-rank update is for."""
    for name, rows in places:
        if rows == part.rows:
            return name
    raise InputError(
        f"the update of rows {part.rows} is for no single layer of ({', '.join(name for name, _ in places)}); make "
        "adapters with get_peft_model, which gives each layer its own"
    )


def file_rows(model: Module, layer: str) -> list[tuple[str, Rows]]:
    """The layers of a Hugging Face file that a linear layer is made from, and the rows of its weight that each gives."""
    linear = find(model, layer)
    assert isinstance(linear, Linear)
    rows = np.arange(linear.weight.shape[0])[:, None]
    places = []
    for name, view in file_arrays(model, f"{layer}.weight", rows):
        numbers = view.reshape(-1)
        places.append((name.removesuffix(".weight"), (int(numbers[0]), int(numbers[-1]) + 1)))
    return places


def file_arrays(model: Module, own_name: str, array: Any) -> list[tuple[str, Any]]:
    """The tensors of a Hugging Face file that a parameter is stored as; under its own name in other models."""
    if isinstance(model, Pretrained):
        try:
            return list(model.mapping(model.config).to_file([(own_name, array)], model.is_base))
        except LookupError:
            pass
    return [(own_name, array)]


def model_type(model: Module) -> str:
    """The family's name as Hugging Face has it; "" for other models."""
    return getattr(getattr(model, "config", None), "model_type", "")
