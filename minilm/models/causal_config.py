"""The shapes of GPT-2 and Llama, under the names that Hugging Face's config.json uses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from minilm.errors import InputError
from minilm.models.gpt import BatchRotaryPositions, GPTConfig

ACTIVATION_NAMES = {  # what config.json calls them → what nn.FeedForward calls them
    "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu": "gelu", "relu": "relu",
    "silu": "silu", "swish": "silu", "tanh": "tanh",
}  # fmt: skip


@dataclass
class GPT2Config:
    """The shape of a GPT-2. The defaults are those of the smallest, with 124 million parameters.

    Args:
        vocab_size: number of different tokens.
        n_positions: the longest text, in tokens.
        n_embd: the width: numbers per token.
        n_layer: Transformer blocks.
        n_head: attention heads per block; they share the width evenly.
        n_inner: width inside the feed-forward network; 4 × n_embd unless given.
        activation_function: gelu_new (the tanh form), gelu (erf), relu, silu or tanh.
        resid_pdrop, embd_pdrop, attn_pdrop: probability with which the end of a branch, embeddings and attention weights are
            dropped in training.
        layer_norm_epsilon: ε under the root of the normalization.
        initializer_range: standard deviation of the initial weights.
        bos_token_id, eos_token_id, pad_token_id: special tokens.
        tie_word_embeddings: whether the output head is the embedding table.
        num_labels, id2label, label2id, problem_type: of a classifier.
    """

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    bos_token_id: int | None = 50256
    eos_token_id: int | list | None = 50256
    pad_token_id: int | None = None
    tie_word_embeddings: bool = True
    num_labels: int = 2
    id2label: dict | None = None
    label2id: dict | None = None
    problem_type: str | None = None

    model_type: ClassVar[str] = "gpt2"
    is_encoder_decoder: ClassVar[bool] = False
    supported: ClassVar[dict[str, tuple]] = {  # entries of config.json that have no field here, and what they may be
        "scale_attn_weights": (None, True),
        "scale_attn_by_inverse_layer_idx": (None, False),
        "add_cross_attention": (None, False),
    }
    renamed: ClassVar[dict[str, str]] = {  # names that all families understand
        "hidden_size": "n_embd", "max_position_embeddings": "n_positions", "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    }  # fmt: skip

    def __post_init__(self) -> None:
        name_classes(self)

    def check(self) -> None:
        """Raise InputError with the first value that cannot work."""
        for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 0 and below 1")
        self.engine().check()

    def engine(self) -> GPTConfig:
        """The same shape in minilm's own words."""
        return GPTConfig(
            vocab_size=self.vocab_size, context_length=self.n_positions, num_layers=self.n_layer, num_heads=self.n_head,
            hidden_size=self.n_embd, intermediate_size=self.n_inner or 0, dropout=self.resid_pdrop, bias=True,
            activation=activation(self.activation_function), norm_eps=self.layer_norm_epsilon,
            tie_embeddings=self.tie_word_embeddings,
        )  # fmt: skip

    @property
    def hidden_size(self) -> int:
        return self.n_embd

    @property
    def num_hidden_layers(self) -> int:
        return self.n_layer

    @property
    def num_attention_heads(self) -> int:
        return self.n_head

    @property
    def max_position_embeddings(self) -> int:
        return self.n_positions

    @property
    def context_length(self) -> int:
        return self.n_positions


@dataclass
class LlamaConfig:
    """The shape of a Llama: RMS norm, rotary positions, SwiGLU, grouped queries. The defaults are those of the first 7B.

    Args:
        vocab_size: number of different tokens.
        hidden_size: the width: numbers per token.
        intermediate_size: width inside the feed-forward network.
        num_hidden_layers: Transformer blocks.
        num_attention_heads: attention heads per block.
        num_key_value_heads: key and value heads; as many as heads unless given.
        head_dim: numbers per head; hidden_size / num_attention_heads unless given.
        hidden_act: silu, the gate of SwiGLU.
        max_position_embeddings: the longest text, in tokens.
        initializer_range: standard deviation of the initial weights.
        rms_norm_eps: ε under the root of the normalization.
        rope_theta: base of the rotary angles. rope_scaling, rope_parameters: how they are stretched for longer texts
            ("linear" or "llama3"), under the name that files before and since 2025 use.
        attention_dropout: probability with which attention weights are dropped in training.
        bos_token_id, eos_token_id, pad_token_id: special tokens.
        tie_word_embeddings: whether the output head is the embedding table.
    """

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: dict | None = None
    rope_parameters: dict | None = None
    attention_dropout: float = 0.0
    bos_token_id: int | None = 1
    eos_token_id: int | list | None = 2
    pad_token_id: int | None = None
    tie_word_embeddings: bool = False
    num_labels: int = 2
    id2label: dict | None = None
    label2id: dict | None = None
    problem_type: str | None = None

    model_type: ClassVar[str] = "llama"
    is_encoder_decoder: ClassVar[bool] = False
    supported: ClassVar[dict[str, tuple]] = {
        "attention_bias": (None, False),
        "mlp_bias": (None, False),
        "pretraining_tp": (None, 1),
    }

    def __post_init__(self) -> None:
        name_classes(self)
        # one truth, in the form of today: {"rope_type": ..., "rope_theta": ...}
        rope = {**(self.rope_scaling or {}), **(self.rope_parameters or {})}
        rope.setdefault("rope_type", rope.pop("type", "default"))
        rope.setdefault("rope_theta", self.rope_theta)
        self.rope_parameters, self.rope_theta = rope, rope["rope_theta"]
        self.rope_scaling = None if rope["rope_type"] == "default" else rope

    def check(self) -> None:
        """Raise InputError with the first value that cannot work."""
        if self.hidden_act not in ("silu", "swish"):
            raise InputError(f"hidden_act is {self.hidden_act!r}; minilm's Llama has silu only")
        if not 0 <= self.attention_dropout < 1:
            raise InputError(f"attention_dropout is {self.attention_dropout}; it must be at least 0 and below 1")
        if self.head_dim is not None and (self.head_dim < 2 or self.head_dim % 2):
            raise InputError(f"head_dim is {self.head_dim}; rotary positions need an even number")
        self.engine().check(self.head_dim)
        self.rotary_frequencies()

    def engine(self) -> GPTConfig:
        """The same shape in minilm's own words."""
        return GPTConfig(
            vocab_size=self.vocab_size, context_length=self.max_position_embeddings, num_layers=self.num_hidden_layers,
            num_heads=self.num_attention_heads, num_kv_heads=self.num_key_value_heads or 0, hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size, bias=False, activation="swiglu", norm="rms_norm",
            positions="rotary", tie_embeddings=self.tie_word_embeddings, norm_eps=self.rms_norm_eps,
        )  # fmt: skip

    @property
    def context_length(self) -> int:
        return self.max_position_embeddings

    @property
    def dim_per_head(self) -> int:
        """head_dim, once it is known."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    def rotary_frequencies(self) -> np.ndarray:
        r"""θ_i = base^(−2i/D), i = 0 … D/2 − 1, stretched for longer texts as the configuration says.

        linear: θ_i / factor. llama3: slow turns (a wavelength above original/low_freq_factor) are divided by the factor,
        fast ones (below original/high_freq_factor) stay, and between the two it is a mixture.    [Dubey et al. 2024]
        """
        rope = self.rope_parameters or {}
        kind = rope["rope_type"]
        if kind not in ("default", "linear", "llama3"):
            raise InputError(f"rope_type is {str(kind)!r}; minilm can do default, linear and llama3")
        try:
            with np.errstate(divide="raise", invalid="raise", over="raise"):
                return self._stretched(kind, rope)
        except (KeyError, TypeError, ValueError, OverflowError, ArithmeticError) as error:
            raise InputError(
                f"rope parameters {rope} are incomplete or no numbers that can be used ({error}); restore config.json"
            ) from error

    def _stretched(self, kind: str, rope: dict[str, Any]) -> np.ndarray:
        theta = float(rope["rope_theta"]) ** (-np.arange(0, self.dim_per_head, 2) / self.dim_per_head)
        if kind == "default":
            return theta
        if kind == "linear":
            return theta / float(rope["factor"])
        factor, low, high = (float(rope[n]) for n in ("factor", "low_freq_factor", "high_freq_factor"))
        # in the original context
        turns = float(rope["original_max_position_embeddings"]) * theta / (2 * math.pi)
        mixture = np.clip((turns - low) / (high - low), 0, 1)
        return mixture * theta + (1 - mixture) * theta / factor

    def rotary(self) -> BatchRotaryPositions:
        """cos and sin of t θ_i for all positions t."""
        positions = BatchRotaryPositions(0, self.dim_per_head)
        angles = np.arange(self.max_position_embeddings)[:, None] * self.rotary_frequencies()
        positions.cos, positions.sin = np.cos(angles), np.sin(angles)
        return positions


def activation(name: str) -> str:
    """An activation's name in nn.FeedForward. Raises InputError for one that minilm does not have."""
    if name not in ACTIVATION_NAMES:
        raise InputError(f"the activation is {name!r}; minilm has {', '.join(ACTIVATION_NAMES)}")
    return ACTIVATION_NAMES[name]


def name_classes(config: Any) -> None:
    """Fill in id2label and label2id of a classifier, LABEL_0, LABEL_1, … unless they are given."""
    if config.id2label is None:
        config.id2label = {i: f"LABEL_{i}" for i in range(config.num_labels)}
    config.id2label = {int(i): label for i, label in config.id2label.items()}  # JSON's keys are text
    config.num_labels = len(config.id2label)
    config.label2id = {label: i for i, label in config.id2label.items()}
