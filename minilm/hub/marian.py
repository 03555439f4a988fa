"""Marian's and Pegasus' files: the names of their tensors in a Hugging Face folder, and their classes.

Both are "Attention Is All You Need", with the norms behind (Marian) or before (Pegasus) the sub-layers; see models/marian.py.
"""

from __future__ import annotations

from typing import ClassVar

from minilm.generation.mixin import Generates
from minilm.hub.mapping import Mapping, Rule
from minilm.hub.pretrained import Pretrained
from minilm.models import marian
from minilm.models.marian import MarianConfig, PegasusConfig


def marian_mapping(config: MarianConfig) -> Mapping:
    """The rules for this configuration; only pre-norm stacks end with a norm."""
    rules = [Rule("shared.weight", "shared.weight")]
    for stack, attentions in (("encoder", ("self_attn",)), ("decoder", ("self_attn", "encoder_attn"))):
        file, own = f"{stack}.layers.{{i}}", f"{stack}.blocks.{{i}}"
        for name in attentions:
            rules += _attention(f"{file}.{name}", f"{own}.{'cross_' if name == 'encoder_attn' else ''}attention")
        rules += [
            Rule(f"{file}.fc1.{{p}}", f"{own}.feed_forward.up.{{p}}"),
            Rule(f"{file}.fc2.{{p}}", f"{own}.feed_forward.down.{{p}}"),
            Rule(f"{file}.final_layer_norm.{{p}}", f"{own}.feed_forward_norm.{{p}}"),
        ]
        if config.norm_first:
            rules.append(Rule(f"{stack}.layer_norm.{{p}}", f"{stack}.final_norm.{{p}}"))
    return Mapping(
        base=tuple(rules),
        heads=(Rule("final_logits_bias", "final_logits_bias"),),
        prefix="model.",
        tied={
            f"{name}.weight": "shared.weight" for name in ("encoder.embed_tokens", "decoder.embed_tokens", "lm_head")
        },
        ignored=("encoder.embed_positions.weight", "decoder.embed_positions.weight"),  # sines, which need no file
    )


def _attention(file: str, own: str) -> list[Rule]:
    query, key, value = (f"{file}.{letter}_proj.{{p}}" for letter in "qkv")
    output = Rule(f"{file}.out_proj.{{p}}", f"{own}.output.{{p}}")
    norm = Rule(f"{file}_layer_norm.{{p}}", f"{own}_norm.{{p}}")
    if own.endswith("cross_attention"):
        rules = [Rule(query, f"{own}.query.{{p}}"), Rule((key, value), f"{own}.key_value.{{p}}", "stack")]
        return [*rules, output, norm]
    return [Rule((query, key, value), f"{own}.query_key_value.{{p}}", "stack"), output, norm]


class MarianPretrained(Pretrained):
    """What all four classes have in common."""

    config_class: ClassVar[type] = MarianConfig

    @classmethod
    def mapping(cls, config: MarianConfig) -> Mapping:
        return marian_mapping(config)


class MarianModel(MarianPretrained, marian.MarianModel):
    __doc__ = marian.MarianModel.__doc__
    is_base = True


class MarianMTModel(MarianPretrained, Generates, marian.MarianMTModel):
    __doc__ = marian.MarianMTModel.__doc__


class PegasusModel(MarianModel):
    """Encoder and decoder of a Pegasus, without a head."""

    config_class = PegasusConfig


class PegasusForConditionalGeneration(MarianMTModel):
    """A Pegasus with the head that scores every token: a MarianMTModel with its norms before the sub-layers."""

    config_class = PegasusConfig
