"""T5: an encoder and a decoder that turn every task into text to text.    [Raffel et al. 2020]

Beside the Transformer of 2017: pre-norm with an RMS norm, no biases, scores without 1/√d, and positions that are one
trained number per head and distance, added to the scores (t5_positions.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm import functional as F
from minilm.models.seq2seq import Seq2SeqLM, Seq2SeqModel, Stack
from minilm.models.t5_config import T5Config
from minilm.models.t5_positions import RelativePositionBias
from minilm.nn import Dropout, Embedding, Linear, Module, ModuleList, RMSNorm, TransformerBlock
from minilm.nn.layers import end_of_branch, normal
from minilm.tensor import Tensor

__all__ = ["T5Config", "T5ForConditionalGeneration", "T5Model"]


class T5FeedForward(Module):
    r"""plain:  y = dropout(f(x W_upᵀ)) W_downᵀ;    gated:  y = dropout(f(x W_gateᵀ) ⊙ x W_upᵀ) W_downᵀ.    [Shazeer 2020]"""

    def __init__(self, config: T5Config, generator: np.random.Generator):
        self.activation, gated = config.activation()
        self.gate = Linear(config.d_model, config.d_ff, False, generator) if gated else None
        self.up = Linear(config.d_model, config.d_ff, False, generator)
        self.down = Linear(config.d_ff, config.d_model, False, generator)
        self.dropout = Dropout(config.dropout_rate, generator)

    def forward(self, x: Tensor, residual: Any = None) -> Tensor:
        """x: (B, T, d_model).  Returns the same shape; plus `residual`, if it is given."""
        if self.gate is None:
            h = self.up(x, activation=self.activation)  # (B, T, d_ff)
        else:
            h = self.gate(x, activation=self.activation) * self.up(x)
        return end_of_branch(self.dropout(h), self.down, self.dropout, residual)

    def extra_repr(self) -> str:
        return self.activation + (", gated" if self.gate is not None else "")


class T5Block(TransformerBlock):
    """The Transformer's block, pre-norm, with heads of d_kv numbers, scores that are not scaled, and T5's feed-forward."""

    def __init__(self, config: T5Config, is_decoder: bool, generator: np.random.Generator):
        c = config
        super().__init__(
            c.d_model, c.num_heads, intermediate_size=1, norm="rms_norm", eps=c.layer_norm_epsilon, bias=False,
            dropout=c.dropout_rate, generator=generator, cross=is_decoder, head_dim=c.d_kv, scale=1.0,
        )  # fmt: skip
        self.feed_forward = T5FeedForward(c, generator)  # type: ignore[assignment]  # called as the one it replaces


class T5Stack(Stack):
    """The encoder, or the decoder: embedding, blocks that share one table of relative positions, and a last norm."""

    def __init__(self, config: T5Config, embedding: Embedding, is_decoder: bool, generator: np.random.Generator):
        c = config
        layers = c.num_decoder_layers if is_decoder else c.num_layers
        self.is_decoder = is_decoder
        self.embed_tokens = embedding
        self.position_bias = RelativePositionBias(
            c.num_heads, c.relative_attention_num_buckets, c.relative_attention_max_distance,
            bidirectional=not is_decoder, generator=generator,
        )  # fmt: skip
        self.blocks = ModuleList(T5Block(c, is_decoder, generator) for _ in range(layers or 0))
        self.final_norm = RMSNorm(c.d_model, c.layer_norm_epsilon)
        self.dropout = Dropout(c.dropout_rate, generator)

    def embed(self, input_ids: Any, start: int) -> Tensor:
        return self.dropout(self.embed_tokens(input_ids))  # (B, T, d_model)

    def bias(self, length: int, start: int) -> Tensor:
        return self.position_bias(length, start + length, start)

    def finish(self, x: Tensor) -> Tensor:
        return self.dropout(self.final_norm(x))


class T5Model(Seq2SeqModel):
    """Encoder and decoder without a head; both read one table of embeddings, `shared`.

    generator: where the initial weights and the dropout masks come from.
    """

    def __init__(self, config: T5Config, generator: np.random.Generator | None = None):
        build(self, config, generator or np.random.default_rng())


class T5ForConditionalGeneration(Seq2SeqLM):
    """T5 with a head that scores every token of the vocabulary.

    tied:    logits = (h/√d_model) Eᵀ, with E the embeddings: their σ is 1, so h is brought down to it
    untied:  logits = h W_headᵀ
    """

    shared: Embedding
    lm_head: Linear | None

    def __init__(self, config: T5Config, generator: np.random.Generator | None = None):
        build(self, config, generator or np.random.default_rng(), with_head=True)

    def score(self, h: Tensor) -> Tensor:
        """(B, T, d_model) → logits (B, T, vocabulary), tied or not as above."""
        if self.config.scale_decoder_outputs:
            h = h * self.config.d_model**-0.5
        return F.linear(h, self.shared.weight) if self.lm_head is None else self.lm_head(h)


def build(model: Any, config: T5Config, generator: np.random.Generator, with_head: bool = False) -> None:
    """Give a model its parts and their initial weights."""
    config.check()
    model.config, model.generator = config, generator
    model.shared = Embedding(config.vocab_size, config.d_model, generator)
    model.encoder = T5Stack(config, model.shared, False, generator)
    model.decoder = T5Stack(config, model.shared, True, generator)
    if with_head:
        untied = not config.tie_word_embeddings
        model.lm_head = Linear(config.d_model, config.vocab_size, False, generator) if untied else None
    initialize(model)


def initialize(model: Any) -> None:
    """T5's start: normal, σ = 1/√inputs; for queries also 1/√d_kv, which stands in for the missing scale of the scores."""
    c = model.config
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            continue
        if name in ("shared.weight", "lm_head.weight"):
            std = 1.0
        elif name.endswith("position_bias.table.weight"):
            std = c.d_model**-0.5
        else:
            std = parameter.shape[1] ** -0.5
        parameter.data[...] = normal(parameter.shape, std * c.initializer_factor, model.generator)
        if name.endswith(("attention.query_key_value.weight", "attention.query.weight")):
            parameter.data[: c.num_heads * c.d_kv] *= c.d_kv**-0.5
