"""Layers that own parameters: Linear, Embedding, LayerNorm, RMSNorm, Dropout, activations and the feed-forward network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minilm import functional as F
from minilm.nn.module import Module
from minilm.tensor import Parameter, Tensor

Generator = np.random.Generator


class Linear(Module):
    """Y = X Wᵀ + b.    [eq:linear] [F3; 004 §3.1]

    weight: (out_features, in_features), bias: (out_features,); both start uniform in ±1/√in_features, as in PyTorch.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, generator: Generator | None = None):
        generator = generator or np.random.default_rng()
        bound = 1 / math.sqrt(in_features) if in_features else 0.0
        self.weight = Parameter(uniform((out_features, in_features), bound, generator))
        self.bias = Parameter(uniform((out_features,), bound, generator)) if bias else None

    def forward(self, x: Any, activation: str | None = None, residual: Any = None) -> Tensor:
        """act(x Wᵀ + b) + residual, of which activation and residual are optional; see functional.linear."""
        return F.linear(x, self.weight, self.bias, activation, residual)

    def extra_repr(self) -> str:
        out_features, in_features = self.weight.shape
        return f"{in_features} → {out_features}, bias={self.bias is not None}"


class Embedding(Module):
    """y = W[id]: a table with one row per id.    [eq:embedding] [002 §4.2]

    weight: (num_embeddings, embedding_dim), from a standard normal distribution, as in PyTorch.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, generator: Generator | None = None):
        self.weight = Parameter(normal((num_embeddings, embedding_dim), 1.0, generator or np.random.default_rng()))

    def forward(self, ids: Any) -> Tensor:
        return F.embedding(ids, self.weight)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]} rows of {self.weight.shape[1]}"


class LayerNorm(Module):
    """y = (x − μ)/√(σ² + ε) ⊙ weight + bias over the last axis.    [eq:layer-norm] [F14; 003 §4.3]"""

    def __init__(self, normalized_shape: int, eps: float = 1e-5, bias: bool = True):
        self.weight = Parameter(np.ones(normalized_shape, np.float32))
        self.bias = Parameter(np.zeros(normalized_shape, np.float32)) if bias else None
        self.eps = eps

    def forward(self, x: Any) -> Tensor:
        return F.layer_norm(x, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}, bias={self.bias is not None}"


class RMSNorm(Module):
    """y = x/√(mean(x²) + ε) ⊙ weight over the last axis.    [Zhang & Sennrich 2019]"""

    def __init__(self, normalized_shape: int, eps: float = 1e-6):
        self.weight = Parameter(np.ones(normalized_shape, np.float32))
        self.eps = eps

    def forward(self, x: Any) -> Tensor:
        return F.rms_norm(x, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}"


class Dropout(Module):
    """Drop elements with probability p while training.    [Srivastava et al. 2014]

    generator: the model's generator, so that a run can be repeated; without one the drops are fresh each time.
    """

    def __init__(self, p: float = 0.5, generator: Generator | None = None):
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability {p} is not between 0 and 1")
        self.p = p
        self.generator = generator

    def forward(self, x: Any, residual: Any = None) -> Tensor:
        """dropout(x), or residual + dropout(x) in one pass."""
        if residual is None:
            return F.dropout(x, self.p, self.training, self.generator)
        return F.bias_residual_dropout(x, None, residual, self.p, self.training, self.generator)

    @property
    def active(self) -> bool:
        """Whether anything is dropped now."""
        return self.training and self.p > 0

    def extra_repr(self) -> str:
        return f"p={self.p}"


FUSED_ACTIVATIONS = ("relu", "gelu", "gelu_tanh", "silu")  # linear applies them in its last pass
ACTIVATIONS = (*FUSED_ACTIVATIONS, "tanh", "swiglu")


class FeedForward(Module):
    """y = f(x W₁ᵀ + b₁) W₂ᵀ + b₂, applied to every position by itself.    [eq:feed-forward] [F17; Vaswani et al. 2017 §3.3]

    activation: relu, gelu, gelu_tanh, silu, or swiglu: y = (silu(x W_gᵀ) ⊙ x W₁ᵀ) W₂ᵀ.    [Shazeer 2020]
    """

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int | None = None,
        activation: str = "gelu",
        bias: bool = True,
        dropout: float = 0.0,
        generator: Generator | None = None,
    ):
        if activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {activation!r}; choose one of {', '.join(ACTIVATIONS)}")
        generator = generator or np.random.default_rng()
        intermediate_size = intermediate_size or 4 * hidden_size
        self.activation = activation
        self.gate = Linear(hidden_size, intermediate_size, bias, generator) if activation == "swiglu" else None
        self.up = Linear(hidden_size, intermediate_size, bias, generator)
        self.down = Linear(intermediate_size, hidden_size, bias, generator)
        self.dropout = Dropout(dropout, generator)

    def forward(self, x: Any, residual: Any = None) -> Tensor:
        """x: (..., hidden).  Returns the same shape; plus `residual`, if it is given."""
        # (..., hidden) → (..., intermediate) → (..., hidden)
        if self.activation in FUSED_ACTIVATIONS and is_plain(self.up) and is_plain(self.down):
            added = None if self.dropout.active else residual
            y = F.feed_forward(
                x, self.up.weight, self.down.weight, self.up.bias, self.down.bias, self.activation, added
            )
            return self.dropout(y, residual) if self.dropout.active else y
        if self.gate is not None:
            h = F.silu_mul(self.gate(x), self.up(x))
        elif self.activation in FUSED_ACTIVATIONS:
            h = self.up(x, activation=self.activation)
        else:
            h = F.tanh(self.up(x))
        return end_of_branch(h, self.down, self.dropout, residual)

    def extra_repr(self) -> str:
        return self.activation


def is_plain(linear: Linear) -> bool:
    """Whether the layer is its weight and bias and nothing more: no subclass, and no hook that waits for its output."""
    return type(linear) is Linear and not linear.__dict__.get("_forward_hooks")


def end_of_branch(x: Tensor, linear: Linear, dropout: Dropout, residual: Any) -> Tensor:
    """residual + dropout(linear(x)); where nothing is dropped the sum is part of the product."""
    if dropout.active:
        return dropout(linear(x), residual)
    return linear(x, residual=residual)


def uniform(shape: tuple[int, ...], bound: float, generator: Generator) -> np.ndarray:
    """float32 values, uniform in [−bound, bound)."""
    values = generator.random(shape, dtype=np.float32)
    values *= 2 * bound
    values -= bound
    return values


def normal(shape: tuple[int, ...], std: float, generator: Generator) -> np.ndarray:
    """float32 values from a normal distribution with mean 0 and the given standard deviation."""
    values = generator.standard_normal(shape, dtype=np.float32)
    values *= std
    return values
