"""The same GPT in PyTorch, as nanoGPT designs it: the partner of the benchmarks and an oracle for the tests.

Pre-norm blocks, one product for queries, keys and values, PyTorch's own flash attention, a head tied to the
embedding. Its parameters carry minilm's names and shapes, so weights are copied and gradients compared by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minilm.errors import InputError
from minilm.models import GPTConfig
from minilm.optional import require


def require_torch() -> Any:
    """PyTorch, or MissingDependencyError that says how to install it."""
    return require("torch", "comparing with PyTorch")


def build(config: GPTConfig) -> Any:
    """Make a torch.nn.Module that computes what minilm's GPT of this configuration does (without dropout).

    Its forward(input_ids, labels) returns (logits, mean loss). The initial weights are PyTorch's own; see copy_weights.
    Raises InputError for a layout nanoGPT does not have.
    """
    torch = require_torch()
    nn: Any = torch.nn
    functional: Any = nn.functional
    config.check()
    layout = (config.norm, config.positions, config.tie_embeddings, config.num_kv_heads or config.num_heads)
    if layout != ("layer_norm", "learned", True, config.num_heads) or config.activation not in ("gelu", "gelu_tanh"):
        raise InputError(
            "the PyTorch partner has nanoGPT's layout only: layer_norm, learned positions, a tied head, gelu or "
            "gelu_tanh, as many key heads as heads; change the configuration to that"
        )
    if config.dropout:
        raise InputError(
            f"the PyTorch partner has no dropout, the configuration asks for {config.dropout}; set it to 0"
        )
    width, bias = config.hidden_size, config.bias
    inner = config.intermediate_size or 4 * width

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.query_key_value = nn.Linear(width, 3 * width, bias=bias)
            self.output = nn.Linear(width, width, bias=bias)

        def forward(self, x):
            B, T, _ = x.shape
            q, k, v = (
                part.view(B, T, config.num_heads, config.head_dim).transpose(1, 2)
                for part in self.query_key_value(x).split(width, dim=2)
            )
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.output(y.transpose(1, 2).contiguous().view(B, T, width))

    class FeedForward(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.Linear(width, inner, bias=bias)
            self.down = nn.Linear(inner, width, bias=bias)
            self.activation = nn.GELU(approximate="none" if config.activation == "gelu" else "tanh")

        def forward(self, x):
            return self.down(self.activation(self.up(x)))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention_norm = nn.LayerNorm(width, eps=config.norm_eps, bias=bias)
            self.attention = Attention()
            self.feed_forward_norm = nn.LayerNorm(width, eps=config.norm_eps, bias=bias)
            self.feed_forward = FeedForward()

        def forward(self, x):
            x = x + self.attention(self.attention_norm(x))
            return x + self.feed_forward(self.feed_forward_norm(x))

    class TorchGPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.token_embedding = nn.Embedding(config.vocab_size, width)
            self.position_embedding = nn.Embedding(config.context_length, width)
            self.blocks = nn.ModuleList(Block() for _ in range(config.num_layers))
            self.final_norm = nn.LayerNorm(width, eps=config.norm_eps, bias=bias)

        def forward(self, input_ids, labels=None):
            x = self.token_embedding(input_ids) + self.position_embedding.weight[: input_ids.shape[1]]
            for block in self.blocks:
                x = block(x)
            logits = functional.linear(self.final_norm(x), self.token_embedding.weight)
            if labels is None:
                return logits, None
            return logits, functional.cross_entropy(logits.view(-1, config.vocab_size), labels.view(-1))

    return TorchGPT()


def copy_weights(weights: Mapping[str, np.ndarray], target: Any) -> None:
    """Copy every weight of a minilm GPT into the PyTorch model of the same configuration."""
    torch = require_torch()
    own = dict(weights)
    with torch.no_grad():
        for name, parameter in target.named_parameters():
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(own.pop(name))))
    if own:
        raise InputError(f"the PyTorch model has no place for {', '.join(own)}; build it from the same configuration")


def build_optimizer(model: Any, lr: float, betas: tuple[float, float], eps: float, weight_decay: float) -> Any:
    """PyTorch's fused AdamW, with weight decay on matrices only."""
    torch = require_torch()
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=betas, eps=eps, fused=True)
