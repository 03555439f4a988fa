"""GPT: a decoder-only Transformer, from GPT-2's layout to the modern one, chosen by its configuration."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from minilm import functional as F
from minilm.errors import InputError
from minilm.nn import (
    Dropout,
    Embedding,
    KVCache,
    LearnedPositions,
    Linear,
    Module,
    ModuleList,
    RotaryPositions,
    TransformerBlock,
)
from minilm.nn.attention import check_heads
from minilm.nn.layers import ACTIVATIONS, normal
from minilm.nn.transformer import make_norm
from minilm.tensor import Tensor


@dataclass
class GPTConfig:
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

    def check(self) -> None:
        """Raise InputError with the first value that cannot work."""
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
        if self.positions == "rotary" and self.head_dim % 2:
            raise InputError(f"rotary positions need an even head size, but hidden_size/num_heads is {self.head_dim}")

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_heads

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GPTConfig:
        """Raises InputError for a name that GPTConfig does not have."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise InputError(
                f"unknown model option(s) {', '.join(sorted(unknown))}; this minilm may be older than the file"
            )
        return cls(**values)

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


class GPT(Module):
    r"""P(w_t | w_<t) = softmax(logits_t): embed the tokens, pass them through causal blocks, score every next token.

    [F15; 000 §2.1, 004 §2.1]

    generator: where the initial weights and the dropout masks come from. The same generator state gives the same
    model, bit for bit.
    """

    def __init__(self, config: GPTConfig, generator: np.random.Generator | None = None):
        config.check()
        generator = generator or np.random.default_rng()
        self.config = config
        self.generator = generator
        c = config
        self.token_embedding = Embedding(c.vocab_size, c.hidden_size, generator)
        rotary = RotaryPositions(c.context_length, c.head_dim) if c.positions == "rotary" else None
        self.position_embedding = None if rotary else LearnedPositions(c.context_length, c.hidden_size, generator)
        self.dropout = Dropout(c.dropout, generator)
        self.blocks = ModuleList(
            TransformerBlock(
                c.hidden_size, c.num_heads, c.num_kv_heads or None, c.intermediate_size or None,
                activation=c.activation, norm=c.norm, eps=c.norm_eps, bias=c.bias, dropout=c.dropout,
                rotary=rotary, generator=generator,
            )
            for _ in range(c.num_layers)
        )  # fmt: skip
        self.final_norm = make_norm(c.norm, c.hidden_size, c.norm_eps, c.bias)
        self.head = None if c.tie_embeddings else Linear(c.hidden_size, c.vocab_size, bias=False, generator=generator)
        self._initialize(generator)

    def _initialize(self, generator: np.random.Generator) -> None:
        """GPT-2's start: normal with σ = 0.02; what feeds a residual gets 0.02/√(2 layers), so that the sum does not grow."""
        for name, parameter in self.named_parameters():
            if parameter.ndim >= 2:
                into_residual = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
                std = 0.02 / math.sqrt(2 * self.config.num_layers) if into_residual else 0.02
                parameter.data[...] = normal(parameter.shape, std, generator)
            elif name.endswith("bias"):
                parameter.data[...] = 0

    def forward(
        self,
        input_ids: Any,
        labels: Any = None,
        attention_mask: Any = None,
        cache: list[KVCache] | None = None,
        last_only: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """input_ids: (B, T) integers.  Returns logits (B, T, vocab) and, with labels (B, T), the mean loss in nats per token.

        labels are the next tokens, already shifted: labels[t] is what should follow input_ids[t]; −100 does not count.
        attention_mask: (B, Tk), 1 where a token may be looked at.
        cache: one KVCache per block; input_ids are then the tokens that follow the cached ones.
        last_only: score only the last position, (B, 1, vocab): all that decoding needs.
        """
        start = cache[0].length if cache is not None else 0
        x = self.token_embedding(input_ids)  # (B, T, hidden)
        if self.position_embedding is not None:
            x = self.position_embedding(x, start)
        x = self.dropout(x)
        for i, block in enumerate(self.blocks):
            x = block(x, causal=True, attention_mask=attention_mask, cache=None if cache is None else cache[i])
        if last_only:
            x = x[:, -1:]
        x = self.final_norm(x)
        logits = F.linear(x, self.token_embedding.weight) if self.head is None else self.head(x)
        return logits, None if labels is None else F.cross_entropy(logits, labels)

    def new_cache(self, batch_size: int = 1, max_length: int | None = None) -> list[KVCache]:
        """Empty caches, one per block, for `max_length` positions (the whole context unless given)."""
        c = self.config
        length = min(max_length or c.context_length, c.context_length)
        dtype = self.token_embedding.weight.dtype
        return [
            KVCache(batch_size, c.num_kv_heads or c.num_heads, length, c.head_dim, dtype) for _ in range(c.num_layers)
        ]

    def extra_repr(self) -> str:
        return f"{self.num_parameters():,} parameters"
