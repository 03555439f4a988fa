"""What every function here shares: NumPy's broadcasting undone, and PyTorch's and NumPy's names for an axis."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import numpy as np

from minilm.devices import CUDA
from minilm.tensor import Array, Tensor, as_tensor, is_float, record

Function = TypeVar("Function", bound=Callable[..., Any])
KERNEL_DTYPES = {np.dtype(np.float32), np.dtype(np.float64)}


def unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sum a cotangent over the axes along which an operand of `shape` was repeated.    [eq:unbroadcast]

    Broadcasting copies x along new or length-1 axes; each copy feeds the result, so dL/dx is the sum over the copies.
    """
    if gradient.shape == shape:
        return gradient
    new_axes = gradient.ndim - len(shape)
    repeated = tuple(new_axes + i for i, n in enumerate(shape) if n == 1 and gradient.shape[new_axes + i] != 1)
    summed = gradient.sum(axis=(*range(new_axes), *repeated), keepdims=True)
    return summed.reshape(shape).astype(gradient.dtype, copy=False)  # CuPy adds bfloat16 numbers up in float32


def operands(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """Two operands as tensors. A single number takes the other one's dtype, and so do integers beside floats: float32 stays."""
    if isinstance(x, Tensor):
        y = as_tensor(y, like=x)
    else:
        y = as_tensor(y)
        x = as_tensor(x, like=y)
    if x.dtype.kind != y.dtype.kind:
        if is_float(x.dtype):
            y = Tensor(y.data.astype(x.dtype))
        elif is_float(y.dtype):
            x = Tensor(x.data.astype(y.dtype))
    if type(x.data) is not type(y.data):
        check_devices(x, y)
    return x, y


def check_devices(*tensors: Tensor) -> None:
    """Raise ValueError unless all tensors are on one device."""
    devices = sorted({str(tensor.device) for tensor in tensors})
    if len(devices) > 1:
        raise ValueError(f"the tensors are on {' and '.join(devices)}; bring them together with .to({devices[-1]!r})")


def same_float(*values: Any) -> list[Any]:
    """Operands of a kernel as tensors of one dtype, float32 or float64, on a GPU also float16 or bfloat16; None stays None.

    A kernel works in one dtype. The widest of the operands' decides, as in NumPy; integers, and on the CPU the 16-bit types,
    count as float32.
    """
    first = None
    for value in values:  # the usual case: tensors of one such dtype
        if value is not None:
            dtype = value.data.dtype if isinstance(value, Tensor) else None
            if first is None:
                first = dtype
            if dtype is None or dtype != first:
                break
    else:
        if first in KERNEL_DTYPES:
            return list(values)
    tensors = [None if value is None else as_tensor(value) for value in values]
    dtypes = {tensor.dtype for tensor in tensors if tensor is not None}
    if len(dtypes) == 1 and dtypes <= KERNEL_DTYPES:
        return tensors
    check_devices(*given(tensors))
    dtype = common_dtype(dtypes, on_gpu=given(tensors)[0].device == CUDA)
    return [None if tensor is None else tensor.astype(dtype) for tensor in tensors]


def common_dtype(dtypes: set[Any], on_gpu: bool) -> Any:
    """In what a kernel works that is given these dtypes."""
    if any(dtype == np.float64 or (dtype.kind == "f" and dtype.itemsize > 8) for dtype in dtypes):
        return np.float64
    (dtype, *others) = dtypes
    return dtype if on_gpu and not others and is_float(dtype) else np.float32


def data_of(tensor: Tensor | None) -> Array | None:
    """The array of an optional operand."""
    return None if tensor is None else tensor.data


def given(values: Iterable) -> tuple:
    """Those of the values that are not None: the operands that were given, or their cotangents."""
    return tuple([value for value in values if value is not None])


def record_binary(z: Array, x: Tensor, y: Tensor, dx: Callable[[Array], Array], dy: Callable[[Array], Array]) -> Tensor:
    """Record z = f(x, y) with broadcasting. dx and dy map dL/dz to dL/dx and dL/dy of z's shape."""
    x_shape, y_shape = x.shape, y.shape
    x_needs, y_needs = x.requires_grad, y.requires_grad

    def backward(dz: Array) -> tuple[Array | None, Array | None]:
        return (
            unbroadcast(dx(dz), x_shape) if x_needs else None,
            unbroadcast(dy(dz), y_shape) if y_needs else None,
        )

    backward.__qualname__ = dx.__qualname__  # so that errors and graphs name the operation, not this helper
    return record(z, (x, y), backward)


def accepts_axis(function: Function) -> Function:
    """Let a function with PyTorch's `dim` and `keepdim` be called with NumPy's `axis` and `keepdims` too."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if "axis" in kwargs:
            kwargs["dim"] = kwargs.pop("axis")
        if "keepdims" in kwargs:
            kwargs["keepdim"] = kwargs.pop("keepdims")
        return function(*args, **kwargs)

    return cast(Function, wrapper)
