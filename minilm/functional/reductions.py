"""Reductions: sum, mean, max, min, variance, log-sum-exp. `dim` is an axis, a tuple of axes, or None for all."""

from __future__ import annotations

from typing import Any

from minilm.functional._broadcast import accepts_axis
from minilm.tensor import Array, Tensor, as_float, as_tensor, record
from minilm_kernels import array_namespace

Dim = int | tuple[int, ...] | None


@accepts_axis
def sum(x: Any, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """y = Σ x over `dim`."""
    x = as_tensor(x)
    xp, shape = array_namespace(x.data), x.shape

    def backward(dy):
        # ∂y/∂x_i = 1: every summand gets the whole cotangent
        return (xp.broadcast_to(restore_axes(dy, shape, dim, keepdim), shape),)

    return record(x.data.sum(axis=dim, keepdims=keepdim), (x,), backward)


@accepts_axis
def mean(x: Any, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """y = (1/n) Σ x over `dim`, n the number of summands."""
    x = as_float(x)
    xp, shape = array_namespace(x.data), x.shape
    n = count(shape, dim)

    def backward(dy):
        # ∂y/∂x_i = 1/n
        return (xp.broadcast_to(restore_axes(dy / n, shape, dim, keepdim), shape),)

    return record(x.data.mean(axis=dim, keepdims=keepdim), (x,), backward)


@accepts_axis
def var(x: Any, dim: Dim = None, correction: int = 1, keepdim: bool = False) -> Tensor:
    """y = Σ (x − mean)² / (n − correction) over `dim`; correction=1 is the unbiased estimate, as in PyTorch."""
    x = as_float(x)
    shape = x.shape
    n = count(shape, dim) - correction
    if n <= 0:
        raise ValueError(
            f"var of {n + correction} number(s) with correction={correction} divides by {n}; use correction=0"
        )
    centred = x.data - x.data.mean(axis=dim, keepdims=True)

    def backward(dy):
        # ∂y/∂x_i = 2 (x_i − mean)/(n − correction); the mean's own part sums to zero
        return (restore_axes(dy, shape, dim, keepdim) * centred * (2 / n),)

    return record((centred * centred).sum(axis=dim, keepdims=keepdim) / n, (x,), backward)


@accepts_axis
def max(x: Any, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """y = max x over `dim`; equal maxima share the gradient equally."""
    x = as_tensor(x)
    return _extremum(x, x.data.max(axis=dim, keepdims=True), dim, keepdim)


@accepts_axis
def min(x: Any, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """y = min x over `dim`; equal minima share the gradient equally."""
    x = as_tensor(x)
    return _extremum(x, x.data.min(axis=dim, keepdims=True), dim, keepdim)


def _extremum(x: Tensor, y: Array, dim: Dim, keepdim: bool) -> Tensor:
    shape = x.shape
    winners = x.data == y
    result = y if keepdim else y.reshape(_reduced(shape, dim))

    def backward(dy):
        # ∂y/∂x_i = 1/(number of winners) for a winner, else 0
        share = winners / winners.sum(axis=dim, keepdims=True)
        return ((restore_axes(dy, shape, dim, keepdim) * share).astype(dy.dtype, copy=False),)

    return record(result, (x,), backward)


@accepts_axis
def logsumexp(x: Any, dim: Dim = -1, keepdim: bool = False) -> Tensor:
    """y = log Σ e^x over `dim`, computed as m + log Σ e^(x−m) with m = max x, so that nothing overflows."""
    x = as_float(x)
    xp, shape = array_namespace(x.data), x.shape
    m = x.data.max(axis=dim, keepdims=True)
    m = xp.where(xp.isfinite(m), m, 0)  # a row of −∞ has the sum 0, and ∞ − ∞ would be NaN
    e = xp.exp(x.data - m)
    total = e.sum(axis=dim, keepdims=True)
    y = m + xp.where(total == 0, -xp.inf, xp.log(xp.where(total == 0, 1, total))).astype(x.dtype)  # a NaN stays

    def backward(dy):
        # ∂y/∂x_i = softmax(x)_i; a row of −∞ has no slope
        return (restore_axes(dy, shape, dim, keepdim) * e / xp.where(total == 0, 1, total),)

    return record(y if keepdim else y.reshape(_reduced(shape, dim)), (x,), backward)


def argmax(x: Any, dim: int | None = None) -> Tensor:
    """The position of the largest element; integers, no gradient."""
    return Tensor(as_tensor(x).data.argmax(axis=dim))


def restore_axes(dy: Array, shape: tuple[int, ...], dim: Dim, keepdim: bool) -> Array:
    """Give a reduced cotangent its length-1 axes back, so that it broadcasts against `shape`."""
    if keepdim:
        return dy
    axes = _axes(shape, dim)
    return dy.reshape(tuple(1 if i in axes else n for i, n in enumerate(shape)))


def count(shape: tuple[int, ...], dim: Dim) -> int:
    """How many elements are reduced to one."""
    n = 1
    for axis in _axes(shape, dim):
        n *= shape[axis]
    return n


def _axes(shape: tuple[int, ...], dim: Dim) -> set[int]:
    if dim is None:
        return set(range(len(shape)))
    return {axis % len(shape) for axis in (dim if isinstance(dim, tuple | list) else (dim,))}


def _reduced(shape: tuple[int, ...], dim: Dim) -> tuple[int, ...]:
    axes = _axes(shape, dim)
    return tuple(n for i, n in enumerate(shape) if i not in axes)
