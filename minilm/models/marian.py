"""Marian and Pegasus: "Attention Is All You Need" as transformers has it, post-norm and pre-norm.    [Vaswani et al. 2017]

    x_0 = √d E[ids] + PE,    blocks of models/transformer.py's kind,    logits = h Eᵀ + b

Marian [Junczys-Dowmunt et al. 2018] is the paper's model: each norm behind its sub-layer. Pegasus [Zhang et al. 2020] has each
norm before it, and one more at the end of either stack, which trains without a warm-up. One table E serves source, target and
head. Beside models/transformer.py the sines of the positions all come before the cosines, which is the same up to the order
of the columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from minilm import functional as F
from minilm.errors import InputError
from minilm.models.config import ModelConfig
from minilm.models.seq2seq import Seq2SeqLM, Seq2SeqModel, Stack
from minilm.nn import Dropout, Embedding, LayerNorm, ModuleList, SinusoidalPositions, TransformerBlock
from minilm.nn.attention import check_heads
from minilm.nn.layers import normal, uniform
from minilm.tensor import Parameter, Tensor

# what activation_function says → the activation of nn.layers
ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gelu_new": "gelu_tanh", "silu": "silu", "swish": "silu"}
MOST_POSITIONS = 1 << 20
EPS = 1e-5  # ε under the root of every norm; no file says it


@dataclass
class MarianConfig(ModelConfig):
    """The shape of a Marian: an encoder-decoder with each norm behind its sub-layer, as in the paper.

    Args:
        vocab_size: number of different tokens, of source and target together.
        max_position_embeddings: the longest source, and the longest target, in tokens.
        d_model: the width: numbers per token; even, for the sinusoidal positions.
        encoder_layers: blocks of the encoder.
        decoder_layers: blocks of the decoder.
        encoder_attention_heads: heads per block of the encoder; they share the width evenly.
        decoder_attention_heads: heads per block of the decoder.
        encoder_ffn_dim: width inside the encoder's feed-forward networks.
        decoder_ffn_dim: the same in the decoder.
        activation_function: relu (the paper), gelu, gelu_new, silu or swish.
        dropout: probability with which outputs of sub-layers are dropped in training.
        attention_dropout: the same for attention weights.
        scale_embedding: whether embeddings are multiplied by √d_model.
        pad_token_id: the token that fills up short rows.
        decoder_start_token_id: the token that a decoder's input begins with.
        eos_token_id: the token that ends a text.
        bos_token_id: a token that begins a text; None for none.
        forced_eos_token_id: the token that ends a text which has become too long; None to end it without.
    """

    vocab_size: int = 58101
    max_position_embeddings: int = 1024
    d_model: int = 1024
    encoder_layers: int = 12
    decoder_layers: int = 12
    encoder_attention_heads: int = 16
    decoder_attention_heads: int = 16
    encoder_ffn_dim: int = 4096
    decoder_ffn_dim: int = 4096
    activation_function: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.0
    scale_embedding: bool = False
    pad_token_id: int | None = 58100
    decoder_start_token_id: int | None = 58100
    eos_token_id: int | list[int] | None = 0
    bos_token_id: int | None = None
    forced_eos_token_id: int | list[int] | None = 0

    model_type = "marian"
    norm_first: ClassVar[bool] = False
    is_encoder_decoder = True
    supported: ClassVar[dict[str, tuple[Any, ...]]] = {
        "share_encoder_decoder_embeddings": (True,), "tie_word_embeddings": (True,), "static_position_embeddings": (True,),
        "activation_dropout": (0.0, 0), "normalize_embedding": (False,), "add_final_layer_norm": (False,),
    }  # fmt: skip

    def __post_init__(self) -> None:
        if self.pad_token_id is None:
            self.pad_token_id = 0
        if self.decoder_start_token_id is None:
            self.decoder_start_token_id = self.pad_token_id

    def check(self) -> None:
        """Raise InputError with the first value that cannot work."""
        for name in (
            "vocab_size", "max_position_embeddings", "d_model", "encoder_layers", "decoder_layers", "encoder_attention_heads",
            "decoder_attention_heads", "encoder_ffn_dim", "decoder_ffn_dim",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.max_position_embeddings > MOST_POSITIONS:
            raise InputError(
                f"max_position_embeddings is {self.max_position_embeddings}; there can be at most {MOST_POSITIONS:,}"
            )
        if self.d_model % 2:
            raise InputError(f"d_model is {self.d_model}; sinusoidal positions come in pairs, so it must be even")
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 0 and below 1")
        if self.activation_function not in ACTIVATIONS:
            raise InputError(
                f"activation_function is {self.activation_function!r}; choose one of {', '.join(ACTIVATIONS)}"
            )
        for name in ("pad_token_id", "decoder_start_token_id"):
            if not 0 <= getattr(self, name) < self.vocab_size:
                raise InputError(
                    f"{name} is {getattr(self, name)}; the vocabulary has tokens 0 to {self.vocab_size - 1}"
                )
        try:
            for heads in (self.encoder_attention_heads, self.decoder_attention_heads):
                check_heads(self.d_model, heads, heads)
        except ValueError as error:
            raise InputError(str(error)) from error

    @property
    def hidden_size(self) -> int:
        return self.d_model

    @property
    def num_attention_heads(self) -> int:
        return self.encoder_attention_heads

    @property
    def num_hidden_layers(self) -> int:
        return self.encoder_layers


@dataclass
class PegasusConfig(MarianConfig):
    """The shape of a Pegasus: a Marian with each norm before its sub-layer, and one more at the end of either stack.

    Args: as for MarianConfig.
    """

    vocab_size: int = 50265
    pad_token_id: int | None = 0
    decoder_start_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 1
    forced_eos_token_id: int | list[int] | None = 1

    model_type = "pegasus"
    norm_first = True
    supported: ClassVar[dict[str, tuple[Any, ...]]] = {
        **MarianConfig.supported,
        "add_final_layer_norm": (True,),
    }


class HalvedPositions(SinusoidalPositions):
    """x + PE, with the sines in the first half of the columns and the cosines in the second."""

    def __init__(self, max_positions: int, hidden_size: int):
        super().__init__(max_positions, hidden_size)
        self.table = np.concatenate([self.table[:, 0::2], self.table[:, 1::2]], axis=1)


class MarianStack(Stack):
    """The encoder, or the decoder: embedding + sinusoidal positions, dropout, blocks; pre-norm ends with a norm."""

    def __init__(self, config: MarianConfig, embedding: Embedding, is_decoder: bool, generator: np.random.Generator):
        c = config
        kind = "decoder" if is_decoder else "encoder"
        self.is_decoder = is_decoder
        self.padding = c.pad_token_id
        self.scale = math.sqrt(c.d_model) if c.scale_embedding else 1.0
        self.embedding = embedding
        self.positions = HalvedPositions(c.max_position_embeddings, c.d_model)
        self.dropout = Dropout(c.dropout, generator)
        self.blocks = ModuleList(
            TransformerBlock(
                c.d_model, getattr(c, f"{kind}_attention_heads"), None, getattr(c, f"{kind}_ffn_dim"),
                activation=ACTIVATIONS[c.activation_function], norm_first=c.norm_first, eps=EPS, dropout=c.dropout,
                generator=generator, cross=is_decoder, attention_dropout=c.attention_dropout,
            )
            for _ in range(getattr(c, f"{kind}_layers"))
        )  # fmt: skip
        self.final_norm = LayerNorm(c.d_model, EPS) if c.norm_first else None

    def embed(self, input_ids: Any, start: int) -> Tensor:
        # the padding token, with which a decoder begins as well, is not trained as an input, as in transformers
        x = F.embedding(input_ids, self.embedding.weight, self.padding)  # (B, T, d_model)
        if self.scale != 1.0:
            x = x * self.scale
        return self.dropout(self.positions(x, start))

    def finish(self, x: Tensor) -> Tensor:
        return x if self.final_norm is None else self.final_norm(x)


class MarianModel(Seq2SeqModel):
    """Encoder and decoder without a head; a Marian or, with a PegasusConfig, a Pegasus.

    generator: where the initial weights and the dropout masks come from.
    """

    def __init__(self, config: MarianConfig, generator: np.random.Generator | None = None):
        build(self, config, generator or np.random.default_rng())


class MarianMTModel(Seq2SeqLM):
    """With a head that scores every token: logits = h Eᵀ + b, E the embeddings, b a vector of a file that is not trained."""

    shared: Embedding

    def __init__(self, config: MarianConfig, generator: np.random.Generator | None = None):
        build(self, config, generator or np.random.default_rng())
        self.final_logits_bias = Parameter(np.zeros((1, config.vocab_size), np.float32), requires_grad=False)

    def score(self, h: Tensor) -> Tensor:
        """(B, T, d_model) → logits (B, T, vocabulary)."""
        return F.linear(h, self.shared.weight, self.final_logits_bias[0])


def build(model: Any, config: MarianConfig, generator: np.random.Generator) -> None:
    """Give a model its parts and their initial weights: embeddings normal, σ = 1/√d; products Glorot's uniform; biases 0."""
    config.check()
    model.config, model.generator = config, generator
    model.shared = Embedding(config.vocab_size, config.d_model, generator)
    model.encoder = MarianStack(config, model.shared, False, generator)
    model.decoder = MarianStack(config, model.shared, True, generator)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data[...] = 0
        elif name == "shared.weight":
            parameter.data[...] = normal(parameter.shape, config.d_model**-0.5, generator)
        elif parameter.ndim == 2:
            rows, columns = parameter.shape
            # stacked projections are several square matrices, each of which counts for itself
            parameter.data[...] = uniform(
                parameter.shape, math.sqrt(6 / (columns + (columns if "attention" in name else rows))), generator
            )
