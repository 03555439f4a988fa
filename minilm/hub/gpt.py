"""GPT-2's and Llama's files: the names of their tensors in a Hugging Face folder, and their classes."""

from __future__ import annotations

from typing import ClassVar

from minilm.generation import Generates
from minilm.hub.mapping import Mapping, Rule
from minilm.hub.pretrained import Pretrained
from minilm.models import causal
from minilm.models.causal_config import GPT2Config, LlamaConfig

# GPT-2 was written with a layer whose weights lie the other way round, (in, out), and with q, k, v in one of them.
GPT2 = Mapping(
    prefix="transformer.",
    own_prefix="transformer.",
    base=(
        Rule("wte.weight", "token_embedding.weight"),
        Rule("wpe.weight", "position_embedding.weight"),
        Rule("h.{i}.ln_1.{p}", "blocks.{i}.attention_norm.{p}"),
        Rule("h.{i}.attn.c_attn.{p}", "blocks.{i}.attention.query_key_value.{p}", "transpose"),
        Rule("h.{i}.attn.c_proj.{p}", "blocks.{i}.attention.output.{p}", "transpose"),
        Rule("h.{i}.ln_2.{p}", "blocks.{i}.feed_forward_norm.{p}"),
        Rule("h.{i}.mlp.c_fc.{p}", "blocks.{i}.feed_forward.up.{p}", "transpose"),
        Rule("h.{i}.mlp.c_proj.{p}", "blocks.{i}.feed_forward.down.{p}", "transpose"),
        Rule("ln_f.{p}", "final_norm.{p}"),
    ),
    heads=(Rule("lm_head.weight", "lm_head.weight"), Rule("score.weight", "score.weight")),
    tied={"lm_head.weight": "wte.weight"},
    ignored=("h.*.attn.bias", "h.*.attn.masked_bias"),  # the triangle of ones that older files carry
)


def llama_mapping(config: LlamaConfig) -> Mapping:
    """Llama's rules; how queries, keys and values share the rows depends on the number of key heads."""
    heads = config.num_attention_heads
    key_heads = config.num_key_value_heads or heads
    layer, block = "layers.{i}", "blocks.{i}"
    return Mapping(
        prefix="model.",
        own_prefix="model.",
        base=(
            Rule("embed_tokens.weight", "token_embedding.weight"),
            Rule(f"{layer}.input_layernorm.weight", f"{block}.attention_norm.weight"),
            Rule(
                (
                    f"{layer}.self_attn.q_proj.weight",
                    f"{layer}.self_attn.k_proj.weight",
                    f"{layer}.self_attn.v_proj.weight",
                ),
                f"{block}.attention.query_key_value.weight",
                "stack",
                (heads, key_heads, key_heads),
            ),
            Rule(f"{layer}.self_attn.o_proj.weight", f"{block}.attention.output.weight"),
            Rule(f"{layer}.post_attention_layernorm.weight", f"{block}.feed_forward_norm.weight"),
            Rule(f"{layer}.mlp.gate_proj.weight", f"{block}.feed_forward.gate.weight"),
            Rule(f"{layer}.mlp.up_proj.weight", f"{block}.feed_forward.up.weight"),
            Rule(f"{layer}.mlp.down_proj.weight", f"{block}.feed_forward.down.weight"),
            Rule("norm.weight", "final_norm.weight"),
        ),
        heads=(Rule("lm_head.weight", "lm_head.weight"), Rule("score.weight", "score.weight")),
        tied={"lm_head.weight": "embed_tokens.weight"},
        ignored=("layers.*.self_attn.rotary_emb.inv_freq", "rotary_emb.inv_freq"),
    )


class GPT2Pretrained(Pretrained):
    """What all GPT-2 classes have in common."""

    config_class: ClassVar[type] = GPT2Config

    @classmethod
    def mapping(cls, config: GPT2Config) -> Mapping:
        return GPT2


class LlamaPretrained(Pretrained):
    """What all Llama classes have in common."""

    config_class: ClassVar[type] = LlamaConfig

    @classmethod
    def mapping(cls, config: LlamaConfig) -> Mapping:
        return llama_mapping(config)


class GPT2Model(GPT2Pretrained, causal.GPT2Model):
    __doc__ = causal.GPT2Model.__doc__
    is_base = True


class GPT2LMHeadModel(Generates, GPT2Pretrained, causal.GPT2LMHeadModel):
    __doc__ = causal.GPT2LMHeadModel.__doc__


class GPT2ForSequenceClassification(GPT2Pretrained, causal.GPT2ForSequenceClassification):
    __doc__ = causal.GPT2ForSequenceClassification.__doc__


class LlamaModel(LlamaPretrained, causal.LlamaModel):
    __doc__ = causal.LlamaModel.__doc__
    is_base = True


class LlamaForCausalLM(Generates, LlamaPretrained, causal.LlamaForCausalLM):
    __doc__ = causal.LlamaForCausalLM.__doc__


class LlamaForSequenceClassification(LlamaPretrained, causal.LlamaForSequenceClassification):
    __doc__ = causal.LlamaForSequenceClassification.__doc__
