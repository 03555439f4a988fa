"""The shape of a GPT, from GPT-2's layout to the modern one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minilm.errors import InputError
from minilm.models.config import ModelConfig
from minilm.nn.attention import check_heads
from minilm.nn.layers import ACTIVATIONS


@dataclass
class GPTConfig(ModelConfig):
    """The shape of a GPT.

    Args:
        vocab_size: number of different tokens; 0 means "as many as the tokenizer has".
        context_length: the longest text, in tokens, that the model can look at.
        num_layers: Transformer blocks.
        num_heads: attention heads per block; they share the width evenly.
        num_kv_heads: key and value heads (grouped queries); 0 means as many as num_heads.
        hidden_size: the width: numbers per token.
        intermediate_size: width inside the feed-forward network; 0 means 4 × hidden_size.
        dropout: probability with which activations are dropped in training.
        bias: whether linear layers and layer norms add a bias.
        activation: gelu (erf), gelu_tanh (GPT-2), relu, silu or swiglu.
        norm: layer_norm or rms_norm.
        positions: learned or rotary.
        tie_embeddings: whether the output head is the embedding table.
        norm_eps: ε under the root of the normalization.
    """

    vocab_size: int = 0
    context_length: int = 64
    num_layers: int = 4
    num_heads: int = 4
    num_kv_heads: int = 0
    hidden_size: int = 128
    intermediate_size: int = 0
    dropout: float = 0.0
    bias: bool = False
    activation: str = "gelu"
    norm: str = "layer_norm"
    positions: str = "learned"
    tie_embeddings: bool = True
    norm_eps: float = 1e-5

    def check(self, head_dim: int | None = None) -> None:
        """Raise InputError with the first value that cannot work.

        head_dim: numbers per head of a model where they are not hidden_size / num_heads.
        """
        for name in ("vocab_size", "context_length", "num_layers", "num_heads", "hidden_size"):
            if getattr(self, name) < 1:
                raise InputError(f"model.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("num_kv_heads", "intermediate_size"):
            if getattr(self, name) < 0:
                raise InputError(f"model.{name} is {getattr(self, name)}; it must be positive, or 0 for the default")
        if not 0 < self.norm_eps < 1:
            raise InputError(f"model.norm_eps is {self.norm_eps}; it must be between 0 and 1, such as 1e-5")
        if not 0 <= self.dropout < 1:
            raise InputError(f"model.dropout is {self.dropout}; it must be at least 0 and below 1")
        choices = {
            "activation": [*ACTIVATIONS],
            "norm": ["layer_norm", "rms_norm"],
            "positions": ["learned", "rotary"],
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InputError(f"model.{name} is {getattr(self, name)!r}; choose one of {', '.join(known)}")
        try:
            check_heads(self.hidden_size, self.num_heads, self.num_kv_heads or self.num_heads)
        except ValueError as error:
            raise InputError(str(error)) from error
        if self.positions == "rotary" and (head_dim or self.head_dim) % 2:
            raise InputError(f"rotary positions need an even head size, but hidden_size/num_heads is {self.head_dim}")

    @property
    def head_dim(self) -> int:
        """Numbers per head, d_k."""
        return self.hidden_size // self.num_heads

    @classmethod
    def nanogpt_char(cls, **changes: Any) -> GPTConfig:
        """nanoGPT's CPU recipe: 4 layers, 4 heads, width 128, context 64, no biases, tied head."""
        return cls(**{"vocab_size": 65, "context_length": 64, **changes})

    @classmethod
    def nanogpt_char_big(cls, **changes: Any) -> GPTConfig:
        """nanoGPT's GPU recipe for characters: 6 layers, 6 heads, width 384, context 256."""
        sizes = {"vocab_size": 65, "context_length": 256, "num_layers": 6, "num_heads": 6, "hidden_size": 384}
        return cls(**{**sizes, **changes})

    @classmethod
    def gpt2(cls, **changes: Any) -> GPTConfig:
        """GPT-2 small, 124 million parameters: 12 layers, 12 heads, width 768, context 1024."""
        sizes = {"vocab_size": 50257, "context_length": 1024, "num_layers": 12, "num_heads": 12, "hidden_size": 768}
        return cls(**{**sizes, "bias": True, "activation": "gelu_tanh", **changes})

    @classmethod
    def llama(cls, **changes: Any) -> GPTConfig:
        """The modern layout in small: RMS norm, rotary positions, SwiGLU, grouped queries, no biases, untied head."""
        sizes = {"num_layers": 4, "num_heads": 4, "num_kv_heads": 2, "hidden_size": 128, "intermediate_size": 344}
        modern = {
            "activation": "swiglu",
            "norm": "rms_norm",
            "positions": "rotary",
            "tie_embeddings": False,
            "norm_eps": 1e-6,
        }
        return cls(**{**sizes, **modern, **changes})
