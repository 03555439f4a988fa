"""Rotary positions: turn each pair of features by an angle that grows with the position."""

from __future__ import annotations

from typing import Any

from minilm_kernels.namespace import array_namespace

Array = Any


def rotary(x: Array, cos: Array, sin: Array) -> Array:
    r"""Rotate features (i, i + D/2) of position t by the angle t θ_i.    [eq:rotary] [Su et al. 2021]

    y₁ = x₁ cos − x₂ sin,  y₂ = x₂ cos + x₁ sin,  where x₁, x₂ are the first and second half of the features.
    x: (..., T, D), D even; cos, sin: (T, D/2).  Returns the shape of x.
    """
    half = x.shape[-1] // 2
    x1, x2 = x[..., :half], x[..., half:]
    return array_namespace(x).concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1)


def rotary_backward(grad_output: Array, cos: Array, sin: Array) -> Array:
    """The cotangent of x: a rotation's derivative is its transpose, the rotation by the opposite angle."""
    return rotary(grad_output, cos, -sin)
