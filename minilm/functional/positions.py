"""Rotary positions: turn each pair of features by an angle that grows with the position."""

from __future__ import annotations

from typing import Any

import numpy as np

import minilm_kernels as kernels
from minilm.functional._broadcast import same_float
from minilm.tensor import Array, Tensor, as_array, record


def rotary(x: Any, cos: Array, sin: Array) -> Tensor:
    r"""Rotate features (i, i + D/2) of position t by the angle t θ_i.    [Su et al. 2021]

    y₁ = x₁ cos − x₂ sin,  y₂ = x₂ cos + x₁ sin,  where x₁, x₂ are the first and second half of the features.
    x: (..., T, D); cos, sin: (T, D/2) from `rotary_angles`.  Returns the shape of x.
    The product of a rotated query at s and a rotated key at t depends on s − t only.
    """
    (x,) = same_float(x)
    half = x.shape[-1] // 2
    if x.shape[-1] % 2 or cos.shape != sin.shape or cos.shape != (x.shape[-2], half):
        raise ValueError(
            f"rotary turns the {x.shape[-2]} positions of x {x.shape} in pairs of features; it needs an even number of "
            f"features, and cos and sin of shape ({x.shape[-2]}, {half}), not {cos.shape} and {sin.shape}"
        )

    cos, sin = (as_array(table, x.data).astype(x.dtype, copy=False) for table in (cos, sin))

    def backward(dy):
        # a rotation's derivative is its transpose: the rotation by the opposite angle
        return (kernels.rotary_backward(dy, cos, sin),)

    return record(kernels.rotary(x.data, cos, sin), (x,), backward)


def rotary_angles(
    positions: Array, head_dim: int, base: float = 10000.0, dtype: Any = np.float32
) -> tuple[Array, Array]:
    """cos and sin of t θ_i with θ_i = base^(−2i/D), i = 0 … D/2 − 1; each (T, D/2)."""
    if head_dim % 2:
        raise ValueError(f"rotary positions turn pairs of features, but head_dim is {head_dim}; use an even head_dim")
    theta = base ** (-np.arange(0, head_dim, 2) / head_dim)
    angles = np.asarray(positions)[:, None] * theta
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)
