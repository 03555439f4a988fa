"""The Transformer of "Attention Is All You Need": an encoder and a decoder.    [Vaswani et al. 2017; F17, 004 §3.2]

    encoder block:  h = Norm(x + SelfAttention(x));  y = Norm(h + FeedForward(h))
    decoder block:  h = Norm(x + CausalSelfAttention(x));  u = Norm(h + CrossAttention(h, encodings));
                    y = Norm(u + FeedForward(u))

The sub-layers follow one another. [F8, F9, F11, F12; 003 §4.1 and §4.2] add them side by side, normalize twice and leave
the feed-forward network out; in the decoder, cross-attention takes its queries from the decoder and its keys and values
from the encoder's output.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from minilm import functional as F
from minilm.errors import InputError
from minilm.models.config import ModelConfig
from minilm.models.seq2seq import Seq2SeqLM, Stack
from minilm.nn import Dropout, Embedding, LayerNorm, Linear, ModuleList, SinusoidalPositions, TransformerBlock
from minilm.nn.attention import check_heads
from minilm.nn.layers import ACTIVATIONS, normal, uniform
from minilm.tensor import Tensor


@dataclass
class TransformerConfig(ModelConfig):
    """The shape of an encoder-decoder Transformer; the defaults are the paper's base model.

    Args:
        vocab_size: number of different tokens, of source and target together.
        max_positions: the longest source, and the longest target, in tokens.
        num_encoder_layers: blocks of the encoder.
        num_decoder_layers: blocks of the decoder.
        num_heads: attention heads per block; they share the width evenly.
        hidden_size: the width: numbers per token; an even number, for the sinusoidal positions.
        intermediate_size: width inside the feed-forward network; 0 means 4 × hidden_size.
        dropout: probability with which activations are dropped in training.
        activation: relu (the paper), gelu, gelu_tanh, silu or swiglu.
        norm_first: pre-norm, which trains without a warm-up, instead of the paper's post-norm.
        norm_eps: ε under the root of the layer norm.
        share_embeddings: one table for source, target and head; otherwise each has its own.
        label_smoothing: how much of the target's probability is spread over all tokens in training.
        pad_token_id: the token that fills up short rows.
        decoder_start_token_id: the token that a decoder's input begins with.
        eos_token_id: the token that ends a text.
    """

    vocab_size: int = 37000
    max_positions: int = 512
    num_encoder_layers: int = 6
    num_decoder_layers: int = 6
    num_heads: int = 8
    hidden_size: int = 512
    intermediate_size: int = 0
    dropout: float = 0.1
    activation: str = "relu"
    norm_first: bool = False
    norm_eps: float = 1e-5
    share_embeddings: bool = True
    label_smoothing: float = 0.1
    pad_token_id: int = 0
    decoder_start_token_id: int = 1
    eos_token_id: int = 2

    model_type = "transformer"
    is_encoder_decoder = True

    def check(self) -> None:
        """Raise InputError with the first value that cannot work."""
        sizes = ("vocab_size", "max_positions", "num_encoder_layers", "num_decoder_layers", "num_heads", "hidden_size")
        for name in sizes:
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.intermediate_size < 0:
            raise InputError(
                f"intermediate_size is {self.intermediate_size}; it must be positive, or 0 for the default"
            )
        if self.hidden_size % 2:
            raise InputError(
                f"hidden_size is {self.hidden_size}; sinusoidal positions come in pairs, so it must be even"
            )
        for name in ("dropout", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 0 and below 1")
        if not 0 < self.norm_eps < 1:
            raise InputError(f"norm_eps is {self.norm_eps}; it must be between 0 and 1, such as 1e-5")
        if self.activation not in ACTIVATIONS:
            raise InputError(f"activation is {self.activation!r}; choose one of {', '.join(ACTIVATIONS)}")
        for name in ("pad_token_id", "decoder_start_token_id", "eos_token_id"):
            if not 0 <= getattr(self, name) < self.vocab_size:
                raise InputError(
                    f"{name} is {getattr(self, name)}; the vocabulary has tokens 0 to {self.vocab_size - 1}"
                )
        try:
            check_heads(self.hidden_size, self.num_heads, self.num_heads)
        except ValueError as error:
            raise InputError(str(error)) from error


class TransformerStack(Stack):
    """The encoder, or the decoder: √hidden · embedding + sinusoidal positions, dropout, blocks; pre-norm ends with a norm."""

    def __init__(
        self, config: TransformerConfig, embedding: Embedding, is_decoder: bool, generator: np.random.Generator
    ):
        c = config
        self.is_decoder = is_decoder
        self.embedding = embedding
        self.positions = SinusoidalPositions(c.max_positions, c.hidden_size)
        self.dropout = Dropout(c.dropout, generator)
        self.blocks = ModuleList(
            TransformerBlock(
                c.hidden_size, c.num_heads, None, c.intermediate_size or None, activation=c.activation,
                norm_first=c.norm_first, eps=c.norm_eps, dropout=c.dropout, generator=generator, cross=is_decoder,
            )
            for _ in range(c.num_decoder_layers if is_decoder else c.num_encoder_layers)
        )  # fmt: skip
        self.final_norm = LayerNorm(c.hidden_size, c.norm_eps) if c.norm_first else None

    def embed(self, input_ids: Any, start: int) -> Tensor:
        x = self.embedding(input_ids)  # (B, T, hidden)
        x = x * math.sqrt(x.shape[-1])  # [Vaswani et al. 2017 §3.4]: as large as the positions
        return self.dropout(self.positions(x, start))

    def finish(self, x: Tensor) -> Tensor:
        return x if self.final_norm is None else self.final_norm(x)


class Transformer(Seq2SeqLM):
    """Source tokens in, scores of the next target token out; called like T5ForConditionalGeneration.

    generator: where the initial weights and the dropout masks come from.
    """

    def __init__(self, config: TransformerConfig, generator: np.random.Generator | None = None):
        config.check()
        generator = generator or np.random.default_rng()
        self.config, self.generator = config, generator
        self.label_smoothing = config.label_smoothing
        self.shared = Embedding(config.vocab_size, config.hidden_size, generator)
        own = not config.share_embeddings
        target = Embedding(config.vocab_size, config.hidden_size, generator) if own else self.shared
        self.encoder = TransformerStack(config, self.shared, False, generator)
        self.decoder = TransformerStack(config, target, True, generator)
        self.head = Linear(config.hidden_size, config.vocab_size, False, generator) if own else None
        self._initialize(generator)

    def _initialize(self, generator: np.random.Generator) -> None:
        """Embeddings: normal, σ = 1/√hidden, so that they have σ = 1 once scaled. Products: Glorot's uniform; biases 0."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.data[...] = 0
            elif "embedding" in name or name in ("shared.weight", "head.weight"):
                parameter.data[...] = normal(parameter.shape, self.config.hidden_size**-0.5, generator)
            elif parameter.ndim == 2:
                rows, columns = parameter.shape
                # stacked projections are several square matrices, each of which counts for itself
                bound = math.sqrt(6 / (columns + (columns if "attention" in name else rows)))
                parameter.data[...] = uniform(parameter.shape, bound, generator)

    def score(self, h: Tensor) -> Tensor:
        return F.linear(h, self.shared.weight) if self.head is None else self.head(h)
