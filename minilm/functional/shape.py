"""Shape: reshape, transpose, join, cut, index, select. Derivatives put each element back where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minilm.functional._broadcast import accepts_axis, operands, unbroadcast
from minilm.tape import Partial
from minilm.tensor import Tensor, _plain_index, as_array, as_tensor, number_like, record
from minilm_kernels import array_namespace


def reshape(x: Any, *shape: Any) -> Tensor:
    """The same elements in the same order under another shape; one length may be −1."""
    x = as_tensor(x)
    before = x.shape
    return record(x.data.reshape(_sizes(shape)), (x,), lambda dy: (dy.reshape(before),))


def transpose(x: Any, dim0: int = -2, dim1: int = -1) -> Tensor:
    """Swap two axes (a view)."""
    x = as_tensor(x)
    return record(x.data.swapaxes(dim0, dim1), (x,), lambda dy: (dy.swapaxes(dim0, dim1),))


def permute(x: Any, *dims: Any) -> Tensor:
    """Put the axes into the order `dims` (a view)."""
    x = as_tensor(x)
    order = [axis(dim, x.ndim) for dim in _sizes(dims)]
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return record(x.data.transpose(order), (x,), lambda dy: (dy.transpose(inverse),))


def squeeze(x: Any, dim: int | None = None) -> Tensor:
    """Drop axis `dim` if it has length 1, or all axes of length 1."""
    x = as_tensor(x)
    if dim is None:
        return reshape(x, [n for n in x.shape if n != 1])
    if x.shape[dim] != 1:
        return x
    dim = axis(dim, x.ndim)
    return reshape(x, [n for i, n in enumerate(x.shape) if i != dim])


def unsqueeze(x: Any, dim: int) -> Tensor:
    """Insert an axis of length 1 at `dim`."""
    x = as_tensor(x)
    shape = list(x.shape)
    shape.insert(axis(dim, x.ndim + 1), 1)
    return reshape(x, shape)


def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join the axes from `start_dim` to `end_dim` into one."""
    x = as_tensor(x)
    if x.ndim == 0:
        return reshape(x, 1)
    start, end = axis(start_dim, x.ndim), axis(end_dim, x.ndim)
    return reshape(x, [*x.shape[:start], -1, *x.shape[end + 1 :]])


def broadcast_to(x: Any, *shape: Any) -> Tensor:
    """Repeat x along new or length-1 axes (a view)."""
    x = as_tensor(x)
    before = x.shape
    y = array_namespace(x.data).broadcast_to(x.data, _sizes(shape))
    return record(y, (x,), lambda dy: (unbroadcast(dy, before),))


@accepts_axis
def concatenate(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """Join tensors along an axis they already have."""
    parts = tuple(as_tensor(t) for t in tensors)
    xp = array_namespace(parts[0].data)
    ends = list(_running_sum(part.shape[dim] for part in parts))

    def backward(dy):
        return tuple(xp.split(dy, ends[:-1], axis=dim))

    return record(xp.concatenate([part.data for part in parts], axis=dim), parts, backward)


@accepts_axis
def stack(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """Join tensors of one shape along a new axis."""
    parts = tuple(as_tensor(t) for t in tensors)
    xp = array_namespace(parts[0].data)

    def backward(dy):
        return tuple(xp.moveaxis(dy, dim, 0))

    return record(xp.stack([part.data for part in parts], axis=dim), parts, backward)


@accepts_axis
def split(x: Any, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Cut x along `dim` into pieces of one size (the last may be shorter) or of the given sizes; views."""
    x = as_tensor(x)
    dim = axis(dim, x.ndim)
    length = x.shape[dim]
    if isinstance(split_size_or_sections, int | np.integer):
        size = int(split_size_or_sections)
        sizes = [min(size, length - start) for start in range(0, length, size)]
    else:
        sizes = list(split_size_or_sections)
    if sum(sizes) != length:
        raise ValueError(f"pieces of {sizes} do not add up to the {length} elements of axis {dim}")
    ends = list(_running_sum(sizes))
    before = (slice(None),) * dim
    return tuple(getitem(x, (*before, slice(end - size, end))) for size, end in zip(sizes, ends))


def getitem(x: Any, index: Any) -> Tensor:
    """y = x[index], with NumPy's slices, integers, integer arrays and boolean masks."""
    x = as_tensor(x)
    index = _plain_index(index, x.data)

    def backward(dy):
        # only x[index] was read, so only there is a gradient; an element read k times gets k parts
        return (Partial(index, dy),)

    return record(x.data[index], (x,), backward)


@accepts_axis
def gather(x: Any, dim: int, index: Any) -> Tensor:
    """y[i, j, …] = x[…, index[i, j, …], …] with the index on axis `dim`; index has as many axes as x."""
    x = as_tensor(x)
    xp = array_namespace(x.data)
    index = as_array(index, x.data)
    if index.ndim != x.ndim:
        raise ValueError(f"gather wants an index with {x.ndim} axes like x, not {index.ndim}")
    dim = axis(dim, x.ndim)
    # 0 … n − 1 along axis i, for every axis
    grid = [xp.arange(n).reshape(-1, *(1,) * (x.ndim - 1 - i)) for i, n in enumerate(index.shape)]
    grid[dim] = index
    return getitem(x, tuple(grid))


def where(condition: Any, x: Any, y: Any) -> Tensor:
    """z = x where condition holds, else y; all three broadcast."""
    x, y = operands(x, y)
    xp = array_namespace(x.data)
    condition = as_array(condition, x.data)
    x_shape, y_shape = x.shape, y.shape

    def backward(dz):
        zero = xp.zeros((), dz.dtype)
        return unbroadcast(xp.where(condition, dz, zero), x_shape), unbroadcast(xp.where(condition, zero, dz), y_shape)

    return record(xp.where(condition, x.data, y.data), (x, y), backward)


def masked_fill(x: Any, mask: Any, value: float) -> Tensor:
    """x with `value` wherever mask is true; no gradient flows there."""
    x = as_tensor(x)
    xp = array_namespace(x.data)
    mask = as_array(mask, x.data)
    shape = x.shape

    def backward(dy):
        return (unbroadcast(xp.where(mask, xp.zeros((), dy.dtype), dy), shape),)

    return record(xp.where(mask, number_like(value, x.data), x.data), (x,), backward)


def axis(dim: int, ndim: int) -> int:
    """`dim` counted from the front. Raises IndexError unless −ndim ≤ dim < ndim."""
    if not -ndim <= dim < ndim:
        raise IndexError(f"axis {dim} does not exist; there are {ndim} axes, {-ndim} to {ndim - 1}")
    return dim % ndim


def _sizes(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    """Both f(x, 2, 3) and f(x, (2, 3)) mean the sizes 2 and 3."""
    if len(arguments) == 1 and isinstance(arguments[0], tuple | list):
        return tuple(arguments[0])
    return arguments


def _running_sum(sizes: Any) -> Any:
    total = 0
    for size in sizes:
        total += size
        yield total
