"""Activation functions: tanh, sigmoid, relu, GELU (exact and tanh), SiLU."""

from __future__ import annotations

import math
from typing import Any

import minilm_kernels as kernels
from minilm.functional._broadcast import same_float
from minilm.tensor import Tensor, as_float, record
from minilm_kernels import array_namespace
from minilm_kernels.formulas.activations import logistic


def tanh(x: Any) -> Tensor:
    """y = tanh x = (e^x − e^−x)/(e^x + e^−x)."""
    x = as_float(x)
    y = array_namespace(x.data).tanh(x.data)

    def backward(dy):
        # dy/dx = 1 − tanh² x
        return (dy * (1 - y * y),)

    return record(y, (x,), backward)


def sigmoid(x: Any) -> Tensor:
    """y = σ(x) = 1/(1 + e^−x)."""
    x = as_float(x)
    y = logistic(x.data)

    def backward(dy):
        # dσ/dx = σ (1 − σ)
        return (dy * y * (1 - y),)

    return record(y, (x,), backward)


def relu(x: Any) -> Tensor:
    """y = max(0, x), with derivative 0 at 0. A NaN stays a NaN."""
    x = as_float(x)
    xp = array_namespace(x.data)
    positive = x.data > 0

    def backward(dy):
        # dy/dx = 1 where x > 0, else 0
        return (dy * positive,)

    return record(xp.maximum(x.data, 0), (x,), backward)


def silu(x: Any) -> Tensor:
    """y = x σ(x), also called swish.    [Elfwing et al. 2017; the gate of SwiGLU]"""
    x = as_float(x)
    a = x.data
    s = logistic(a)

    def backward(dy):
        # dy/dx = σ + x σ (1 − σ)
        return (dy * s * (1 + a * (1 - s)),)

    return record(a * s, (x,), backward)


def silu_mul(gate: Any, up: Any) -> Tensor:
    """y = silu(gate) ⊙ up: what stands between the products of SwiGLU, in one pass.    [Shazeer 2020]"""
    gate, up = same_float(gate, up)
    y, residuals = kernels.silu_mul(gate.data, up.data)

    def backward(dy):
        return kernels.silu_mul_backward(dy, residuals)

    return record(y, (gate, up), backward)


def gelu(x: Any, approximate: str = "none") -> Tensor:
    r"""y = x Φ(x), where Φ is the normal distribution's cumulative function.    [Hendrycks & Gimpel 2016]

    approximate="none":  Φ(x) = ½ (1 + erf(x/√2)), as in BERT and nanoGPT
    approximate="tanh":  Φ(x) ≈ ½ (1 + tanh(√(2/π) (x + 0.044715 x³))), as in GPT-2
    """
    (x,) = same_float(x)
    y, residuals = kernels.gelu(x.data, approximate=approximate)

    def backward(dy):
        return (kernels.gelu_backward(dy, residuals),)

    return record(y, (x,), backward)


def gelu_tanh_composed(x: Any) -> Tensor:
    """GELU's tanh form, written as the formula reads."""
    x = as_float(x)
    return 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
