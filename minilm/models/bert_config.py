"""The shape of a BERT, under the names that Hugging Face's config.json uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from minilm.errors import InputError
from minilm.models.config import ModelConfig
from minilm.nn.attention import check_heads

ACTIVATION_NAMES = {  # what config.json calls them → what nn.FeedForward calls them
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu", "silu": "silu",
    "swish": "silu", "tanh": "tanh",
}  # fmt: skip
PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")


@dataclass
class BertConfig(ModelConfig):
    """The shape of a BERT. The defaults are those of bert-base-uncased.

    Args:
        vocab_size: number of different tokens.
        hidden_size: the width: numbers per token.
        num_hidden_layers: Transformer blocks.
        num_attention_heads: attention heads per block; they share the width evenly.
        intermediate_size: width inside the feed-forward network.
        hidden_act: gelu (erf), gelu_new (tanh), relu, silu or tanh.
        hidden_dropout_prob: probability with which activations are dropped in training.
        attention_probs_dropout_prob: the same for attention weights.
        classifier_dropout: the same before a classifier; hidden_dropout_prob unless given.
        max_position_embeddings: the longest text, in tokens.
        type_vocab_size: number of segments (sentence A and sentence B: two).
        initializer_range: standard deviation of the initial weights.
        layer_norm_eps: ε under the root of the normalization.
        pad_token_id: the id that fills short texts up; its embedding is not trained.
        tie_word_embeddings: whether the masked-language-model head scores with the embedding table.
        num_labels: classes of a classifier; as many as id2label has, or 2.
        id2label, label2id: the names of the classes.
        problem_type: single_label_classification, multi_label_classification or regression; None: told from the first labels.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    classifier_dropout: float | None = None
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    tie_word_embeddings: bool = True
    num_labels: int | None = None
    id2label: dict[int, str] | None = None
    label2id: dict[str, int] | None = None
    problem_type: str | None = None

    model_type = "bert"
    supported: ClassVar = {  # entries of config.json that have no field here, and what they may be
        "position_embedding_type": (None, "absolute"),
        "is_decoder": (None, False),
        "add_cross_attention": (None, False),
    }

    def __post_init__(self) -> None:
        if self.id2label is None:
            count = self.num_labels if self.num_labels is not None else len(self.label2id or {}) or 2
            named = {i: label for label, i in (self.label2id or {}).items()}
            self.id2label = named if len(named) == count else {i: f"LABEL_{i}" for i in range(count)}
        self.id2label = {int(i): label for i, label in self.id2label.items()}  # JSON's keys are text
        if self.num_labels is None:
            self.num_labels = len(self.id2label)
        if self.label2id is None or len(self.label2id) != len(self.id2label):
            self.label2id = {label: i for i, label in self.id2label.items()}

    def check(self) -> None:
        """Raise InputError with the first value that cannot work."""
        positive = (
            "vocab_size", "hidden_size", "num_attention_heads", "intermediate_size", "max_position_embeddings",
            "type_vocab_size", "num_labels",
        )  # fmt: skip
        for name in (*positive, "num_hidden_layers"):
            smallest, value = (1 if name in positive else 0), getattr(self, name)
            if not isinstance(value, int) or value < smallest:
                raise InputError(f"BertConfig: {name} is {value!r}; it must be an integer of at least {smallest}")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise InputError(f"BertConfig: {name} is {value}; it must be at least 0 and below 1")
        if not 0 < self.layer_norm_eps < 1:
            raise InputError(f"BertConfig: layer_norm_eps is {self.layer_norm_eps}; it must be small, such as 1e-12")
        if self.pad_token_id is not None and not 0 <= self.pad_token_id < self.vocab_size:
            raise InputError(
                f"BertConfig: pad_token_id {self.pad_token_id} is no token of a vocabulary of {self.vocab_size}; "
                f"use 0 to {self.vocab_size - 1}"
            )
        for name, known in (("hidden_act", (*ACTIVATION_NAMES,)), ("problem_type", (None, *PROBLEM_TYPES))):
            if getattr(self, name) not in known:
                choices = ", ".join(str(choice) for choice in known)
                raise InputError(f"BertConfig: {name} is {getattr(self, name)!r}; choose one of {choices}")
        if sorted(self.id2label or {}) != list(range(self.num_labels or 0)):
            raise InputError(
                f"BertConfig: num_labels is {self.num_labels}, but id2label names the classes "
                f"{sorted(self.id2label or {})}; name each class from 0 on, or leave one of the two out"
            )
        try:
            check_heads(self.hidden_size, self.num_attention_heads, self.num_attention_heads)
        except ValueError as error:
            raise InputError(f"BertConfig: {error}") from error

    @property
    def num_classes(self) -> int:
        """num_labels, once it is known."""
        return len(self.id2label or {})

    @property
    def activation(self) -> str:
        """hidden_act by minilm's name."""
        return ACTIVATION_NAMES[self.hidden_act]

    @classmethod
    def tiny(cls, **changes: Any) -> BertConfig:
        """Small enough to pre-train on two cores: 2 layers, 2 heads, width 128, 128 positions."""
        sizes = {
            "vocab_size": 8000, "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 512, "max_position_embeddings": 128,
        }  # fmt: skip
        return cls(**{**sizes, **changes})
