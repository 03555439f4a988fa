"""T5's files: the names of its tensors in a Hugging Face folder, and its classes with from_pretrained and save_pretrained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from minilm.folders import MODEL_FILES, find_folder
from minilm.generation.mixin import Generates
from minilm.hub.config import read_config
from minilm.hub.mapping import Mapping, Rule
from minilm.hub.pretrained import Pretrained
from minilm.hub.weights import Weights, open_weights
from minilm.models import t5
from minilm.models.t5_config import T5Config


def t5_mapping(config: T5Config) -> Mapping:
    """The rules for this configuration: a gated feed-forward has other names than a plain one."""
    _, gated = config.activation()
    rules = [Rule("shared.weight", "shared.weight")]
    for stack, sub_layers in (("encoder", ("attention",)), ("decoder", ("attention", "cross_attention"))):
        rules += [
            Rule(
                f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                f"{stack}.position_bias.table.weight",
            ),
            Rule(f"{stack}.final_layer_norm.weight", f"{stack}.final_norm.weight"),
        ]
        for number, own in enumerate((*sub_layers, "feed_forward")):
            file, own = f"{stack}.block.{{i}}.layer.{number}", f"{stack}.blocks.{{i}}.{own}"
            rules.append(Rule(f"{file}.layer_norm.weight", f"{own}_norm.weight"))
            if own.endswith("feed_forward"):
                rules += _feed_forward(f"{file}.DenseReluDense", own, gated)
            elif own.endswith("cross_attention"):
                rules += _cross_attention(f"{file}.EncDecAttention", own)
            else:
                rules += _self_attention(f"{file}.SelfAttention", own)
    return Mapping(
        base=tuple(rules),
        heads=(Rule("lm_head.weight", "lm_head.weight"),),
        tied={
            f"{name}.weight": "shared.weight" for name in ("encoder.embed_tokens", "decoder.embed_tokens", "lm_head")
        },
        # of T5's first files: cross-attention has no positions
        ignored=("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",),
    )


def _self_attention(file: str, own: str) -> list[Rule]:
    names = tuple(f"{file}.{letter}.weight" for letter in "qkv")
    return [Rule(names, f"{own}.query_key_value.weight", "stack"), Rule(f"{file}.o.weight", f"{own}.output.weight")]


def _cross_attention(file: str, own: str) -> list[Rule]:
    return [
        Rule(f"{file}.q.weight", f"{own}.query.weight"),
        Rule((f"{file}.k.weight", f"{file}.v.weight"), f"{own}.key_value.weight", "stack"),
        Rule(f"{file}.o.weight", f"{own}.output.weight"),
    ]


def _feed_forward(file: str, own: str, gated: bool) -> list[Rule]:
    rules = [Rule(f"{file}.wo.weight", f"{own}.down.weight")]
    if not gated:
        return [*rules, Rule(f"{file}.wi.weight", f"{own}.up.weight")]
    return [*rules, Rule(f"{file}.wi_0.weight", f"{own}.gate.weight"), Rule(f"{file}.wi_1.weight", f"{own}.up.weight")]


def has_own_head(weights: Weights) -> bool:
    """Whether a file has a head that is not the embedding table, whatever its config.json says.

    transformers 5 writes tie_word_embeddings: true for every T5 and ties the two only where they are equal; this asks the
    same question.
    """
    if not {"lm_head.weight", "shared.weight"} <= set(weights.shapes):
        return False
    return not np.array_equal(weights.read("lm_head.weight"), weights.read("shared.weight"))


class T5Pretrained(Pretrained):
    """What both T5 classes have in common. Their files have no prefix, with and without a head."""

    config_class: ClassVar[type] = T5Config
    is_base = True

    @classmethod
    def mapping(cls, config: T5Config) -> Mapping:
        return t5_mapping(config)


class T5Model(T5Pretrained, t5.T5Model):
    __doc__ = t5.T5Model.__doc__


class T5ForConditionalGeneration(T5Pretrained, Generates, t5.T5ForConditionalGeneration):
    __doc__ = t5.T5ForConditionalGeneration.__doc__

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path, *, config: Any = None, **options: Any) -> Self:
        """As for all models; whether the head is tied is decided by the weights."""
        if config is None:
            where = {name: options[name] for name in ("revision", "local_files_only") if name in options}
            folder = find_folder(name_or_folder, MODEL_FILES, **where)
            values = read_config(folder)
            says_tied = values["model_type"] == T5Config.model_type and values.get("tie_word_embeddings", True)
            if says_tied and has_own_head(open_weights(folder)):
                scaled = values.get("scale_decoder_outputs", True)
                options = {"tie_word_embeddings": False, "scale_decoder_outputs": scaled, **options}
        return super().from_pretrained(name_or_folder, config=config, **options)
