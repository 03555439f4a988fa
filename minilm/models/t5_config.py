"""The shape of a T5, under the names of its config.json."""

from __future__ import annotations

from dataclasses import dataclass

from minilm.errors import InputError
from minilm.models.config import ModelConfig

# what feed_forward_proj says → the activation of nn.layers. "gated-gelu" has always meant the tanh form.
ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gelu_new": "gelu_tanh", "silu": "silu"}
GATED_GELU = "gated-gelu"


@dataclass
class T5Config(ModelConfig):
    """The shape of a T5.

    Args:
        vocab_size: number of different tokens.
        d_model: the width: numbers per token.
        d_kv: numbers per attention head; num_heads · d_kv need not be d_model.
        d_ff: width inside the feed-forward network.
        num_layers: blocks of the encoder.
        num_decoder_layers: blocks of the decoder; as many as num_layers unless given.
        num_heads: attention heads per block.
        relative_attention_num_buckets: how many ranges of distances have a trained number.
        relative_attention_max_distance: from this distance on all share the last bucket.
        dropout_rate: probability with which activations are dropped in training.
        layer_norm_epsilon: ε under the root of the RMS norm.
        feed_forward_proj: relu (T5 of 2019), gated-gelu (T5 1.1, Flan, mT5), or gelu, silu, gated-relu, gated-silu.
        tie_word_embeddings: whether the output head is the embedding table.
        scale_decoder_outputs: whether the head's input is multiplied by d_model^−½; as tie_word_embeddings unless given.
        decoder_start_token_id: the token that a decoder's input begins with.
        pad_token_id: the token that fills up short rows.
        eos_token_id: the token that ends a text.
        initializer_factor: multiplies the spread of all initial weights.
    """

    vocab_size: int = 32128
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 2048
    num_layers: int = 6
    num_decoder_layers: int | None = None
    num_heads: int = 8
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    dropout_rate: float = 0.1
    layer_norm_epsilon: float = 1e-6
    feed_forward_proj: str = "relu"
    tie_word_embeddings: bool = True
    scale_decoder_outputs: bool | None = None
    decoder_start_token_id: int | None = 0
    pad_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 1
    initializer_factor: float = 1.0

    model_type = "t5"
    is_encoder_decoder = True

    def __post_init__(self) -> None:
        """Where a value follows from another one, write it down: a file then says what is meant."""
        if self.num_decoder_layers is None:
            self.num_decoder_layers = self.num_layers
        if self.scale_decoder_outputs is None:
            self.scale_decoder_outputs = self.tie_word_embeddings
        if self.pad_token_id is None:
            self.pad_token_id = 0
        if self.decoder_start_token_id is None:
            self.decoder_start_token_id = self.pad_token_id

    def check(self) -> None:
        """Raise InputError with the first value that cannot work."""
        positive = ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_decoder_layers", "num_heads")
        for name in positive:
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.dropout_rate < 1:
            raise InputError(f"dropout_rate is {self.dropout_rate}; it must be at least 0 and below 1")
        if not 0 < self.layer_norm_epsilon < 1:
            raise InputError(
                f"layer_norm_epsilon is {self.layer_norm_epsilon}; it must be between 0 and 1, such as 1e-6"
            )
        buckets = self.relative_attention_num_buckets
        if buckets < 4:
            raise InputError(
                f"relative_attention_num_buckets is {buckets}; it must be at least 4: near and far, both ways"
            )
        if self.relative_attention_max_distance <= buckets // 2:
            raise InputError(
                f"relative_attention_max_distance is {self.relative_attention_max_distance}; for {buckets} buckets it "
                f"must be above {buckets // 2}, where the exact distances end"
            )
        for name in ("decoder_start_token_id", "pad_token_id"):
            if not 0 <= getattr(self, name) < self.vocab_size:
                raise InputError(
                    f"{name} is {getattr(self, name)}; the vocabulary has tokens 0 to {self.vocab_size - 1}"
                )
        self.activation()

    def activation(self) -> tuple[str, bool]:
        """The activation under the name nn.layers has for it, and whether it is a gate."""
        name = self.feed_forward_proj
        kind = "gelu_new" if name == GATED_GELU else name.removeprefix("gated-")
        if kind not in ACTIVATIONS:
            raise InputError(
                f"feed_forward_proj is {name!r}; choose relu, gated-gelu, gelu, silu, gated-relu or gated-silu"
            )
        return ACTIVATIONS[kind], name.startswith("gated-")

    @property
    def hidden_size(self) -> int:
        return self.d_model

    @property
    def num_attention_heads(self) -> int:
        return self.num_heads

    @property
    def num_hidden_layers(self) -> int:
        return self.num_layers
