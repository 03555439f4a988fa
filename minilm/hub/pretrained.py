"""What makes a model one that can be opened from a Hugging Face folder and saved as one.

A family's class in this room is the model of the room `models` with this mixin before it:

    class BertModel(Pretrained, models.bert.BertModel):
        config_class = BertConfig          # a dataclass with Hugging Face's names; see config.config_from_json
        is_base = True                     # no head: the names in its files have no prefix

        @classmethod
        def mapping(cls, config) -> Mapping:
            return BERT

The model itself is made by `cls(config, generator)` and has its configuration as `config`.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping as MappingType
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np

from minilm.devices import beside
from minilm.errors import InputError
from minilm.folders import MODEL_FILES, find_folder
from minilm.hub.config import CONFIG, GENERATION, config_from_json, config_to_json, read_config, read_generation_config
from minilm.hub.mapping import Mapping, Plan
from minilm.hub.saving import FLOATS, save_model_folder
from minilm.hub.weights import Weights, open_weights
from minilm.nn import Module

logger = logging.getLogger("minilm")


class Pretrained(Module):
    """from_pretrained and save_pretrained for a model; see the head of this file."""

    config_class: ClassVar[Any]  # a dataclass with model_type
    is_base: ClassVar[bool] = False
    generation_config: MappingType[str, Any] = MappingProxyType(
        {}
    )  # options that generate() takes if it is not told otherwise
    config: Any

    @classmethod
    def mapping(cls, config: Any) -> Mapping:
        """Which tensor of a file is which parameter."""
        raise NotImplementedError(f"{cls.__name__} has no mapping")

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path,
        *,
        config: Any = None,
        dtype: Any = None,
        generator: np.random.Generator | None = None,
        ignore_mismatched_sizes: bool = False,
        revision: str = "main",
        local_files_only: bool = False,
        **overrides: Any,
    ) -> Self:
        """Open a model: a folder with config.json and model.safetensors, or a name in the Hugging Face cache or hub.

        config: a configuration to use instead of the folder's. overrides: values that replace those of config.json, such
        as num_labels=3.
        dtype: "float32" or "float64", in which minilm computes; without it float64 for a file in float64, else float32
        (torch_dtype, its name in transformers 4, is understood with a DeprecationWarning).
        generator: where the initial weights of a new head come from, and dropout later.
        ignore_mismatched_sizes: start a head anew whose shape differs in the file.
        The model is in evaluation mode; call train() to fine-tune it. Parts that are new are named in a warning.

        Raises InputError for a folder that is missing or damaged, a model of another family, and weights that do not fit,
        with a list of all missing, unexpected and mis-shaped tensors.
        """
        if "torch_dtype" in overrides:
            warnings.warn("torch_dtype is called dtype now; use that name", DeprecationWarning, stacklevel=2)
            dtype = overrides.pop("torch_dtype")
        folder = find_folder(name_or_folder, MODEL_FILES, revision, local_files_only)
        values = read_config(folder)
        expected = cls.config_class.model_type
        if values["model_type"] != expected:
            raise InputError(
                f"{folder} holds a {values['model_type']} model, and {cls.__name__} opens {expected}; "
                "use the class of that family, or AutoModel"
            )
        weights = open_weights(folder)
        if config is None:
            config = config_from_json(cls.config_class, values, overrides)
        elif overrides:
            raise InputError(f"config and {', '.join(overrides)} were both given; change the config instead")
        check_sizes(config, weights)
        late = LateGenerator(generator)
        build: Any = cls  # its __init__ is that of the model beside this mixin
        model = build(config, late)
        plan = plan_for(model, weights, ignore_mismatched_sizes)
        late.draws = True
        if plan.new:  # and only then initial weights are needed
            del model
            model = build(config, late)
        if chosen_dtype(dtype, weights) == np.float64:
            model.double()
        load_weights(model, plan, weights)
        model.generation_config = read_generation_config(folder)
        announce(plan, cls.__name__, str(name_or_folder))
        model.eval()
        return model

    def save_pretrained(
        self, folder: str | Path, *, dtype: str | None = None, max_shard_size: int | str = "5GB"
    ) -> None:
        """Write config.json and model.safetensors, which transformers opens as well.

        dtype: "float32", "float64", "float16" or "bfloat16"; as the parameters are unless given.
        max_shard_size: in bytes, or like "500MB"; a larger model becomes several files with an index.
        All files are written under other names first and then renamed, so a failure changes nothing in the folder.
        """
        tensors = list(self.mapping(self.config).to_file(self.state_dict().items(), self.is_base))
        values = config_to_json(self.config, type(self).__name__, dtype or tensors[0][1].dtype.name)
        documents = {CONFIG: values}
        if self.generation_config:
            documents[GENERATION] = dict(self.generation_config)
        save_model_folder(Path(folder), documents, tensors, dtype, max_shard_size)


# lengths that some axis of a weight has, or numbers of parts that each have a weight, by the names of all families
SIZES = (
    "vocab_size", "n_embd", "n_inner", "n_layer", "n_head", "d_model", "d_ff", "num_layers", "num_decoder_layers", "num_heads",
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "encoder_layers", "decoder_layers",
    "encoder_ffn_dim", "decoder_ffn_dim", "encoder_attention_heads", "decoder_attention_heads",
)  # fmt: skip


def check_sizes(config: Any, weights: Weights) -> None:
    """Raise InputError if the configuration is of a far larger model, before memory is taken for one."""
    total = sum(math.prod(shape) for shape in weights.shapes.values())
    for name in SIZES:
        value = getattr(config, name, None)
        if isinstance(value, int) and value > max(total, 1):
            raise InputError(
                f"config.json has {name} = {value}, but the weights are {total} numbers in all; "
                "they are of different models, restore the folder"
            )


class LateGenerator(np.random.Generator):
    """A generator that gives zeros until it `draws`: weights that a file replaces need not be drawn, which takes a while.

    It goes on with the state of the generator that it is made from, and advances that one.
    """

    draws = False

    def __init__(self, generator: np.random.Generator | None):
        super().__init__((generator or np.random.default_rng()).bit_generator)

    def random(self, size: Any = None, *args: Any, **options: Any) -> Any:
        return super().random(size, *args, **options) if self.draws else np.zeros(size or (), options.get("dtype"))

    def standard_normal(self, size: Any = None, *args: Any, **options: Any) -> Any:
        return (
            super().standard_normal(size, *args, **options)
            if self.draws
            else np.zeros(size or (), options.get("dtype"))
        )


def plan_for(model: Pretrained, weights: Weights, ignore_mismatched_sizes: bool) -> Plan:
    """Which tensor is read into which parameter. Raises InputError that lists all that does not fit."""
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    plan = model.mapping(model.config).plan(shapes, weights.shapes, ignore_mismatched_sizes)
    names = [name for _, _, names in plan.reads for name in names]
    whole = [f"{name} ({weights.dtypes[name]})" for name in names if weights.dtypes[name] not in FLOATS.values()]
    if whole:
        raise InputError(
            f"{', '.join(whole[:5])}: these weights are no floating-point numbers, perhaps a quantized model; "
            "minilm opens the original one"
        )
    if not model.is_base:
        check_copies(plan, weights)
    return plan


def load_weights(model: Pretrained, plan: Plan, weights: Weights) -> None:
    """Copy a file's tensors into a model, one at a time; into one on a GPU by way of the host."""
    parameters = dict(model.named_parameters())
    for own, rule, names in plan.reads:
        there = parameters[own].data
        here = there if isinstance(there, np.ndarray) else np.empty(there.shape, there.dtype)
        rule.read((weights.read(name) for name in names), here)
        if here is not there:
            there[...] = beside(here, there)


def announce(plan: Plan, architecture: str, source: str) -> None:
    """Say which parts of a model are new, and which tensors of the file it does not have."""
    if plan.left_out:
        logger.info("%s: not used by %s: %s", source, architecture, ", ".join(plan.left_out))
    if plan.new:
        logger.warning(
            "%s has no weights for %s of %s: they are new; train the model before you use it",
            source, ", ".join(plan.new), architecture,
        )  # fmt: skip


def check_copies(plan: Plan, weights: Weights) -> None:
    """Raise InputError if a tensor that the configuration calls a copy of another is none."""
    for name, other in plan.copies:
        if weights.shapes[name] != weights.shapes[other] or not np.array_equal(weights.read(name), weights.read(other)):
            raise InputError(
                f"{name} and {other} are different in the file, but config.json ties them to one; open the model with "
                "tie_word_embeddings=False to use both"
            )


def chosen_dtype(dtype: Any, weights: Weights) -> np.dtype:
    """float32 or float64. Raises InputError for anything else: minilm computes in these two."""
    if dtype is None or dtype == "auto":
        kinds = set(weights.dtypes.values()) & set(FLOATS.values())
        return np.dtype(np.float64 if kinds == {"F64"} else np.float32)
    name = str(dtype).removeprefix("torch.")
    name = (
        name if name in ("float32", "float64") else np.dtype(dtype).name if isinstance(dtype, type | np.dtype) else name
    )
    if name not in ("float32", "float64"):
        raise InputError(
            f"dtype is {dtype!r}; minilm computes in float32 or float64 (files in float16 and bfloat16 are converted)"
        )
    return np.dtype(name)
