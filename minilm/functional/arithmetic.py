"""Arithmetic with broadcasting: + − × ÷, powers, exponential, logarithm, square root, maximum and minimum."""

from __future__ import annotations

from typing import Any

from minilm.functional._broadcast import operands, record_binary
from minilm.tensor import Tensor, as_float, as_tensor, record
from minilm_kernels import array_namespace


def add(x: Any, y: Any) -> Tensor:
    """z = x + y, broadcast."""
    x, y = operands(x, y)
    # ∂z/∂x = 1, ∂z/∂y = 1
    return record_binary(x.data + y.data, x, y, lambda dz: dz, lambda dz: dz)


def sub(x: Any, y: Any) -> Tensor:
    """z = x − y, broadcast."""
    x, y = operands(x, y)
    # ∂z/∂x = 1, ∂z/∂y = −1
    return record_binary(x.data - y.data, x, y, lambda dz: dz, lambda dz: -dz)


def mul(x: Any, y: Any) -> Tensor:
    """z = x ⊙ y (element by element), broadcast."""
    x, y = operands(x, y)
    a, b = x.data, y.data
    # ∂z/∂x = y, ∂z/∂y = x
    return record_binary(a * b, x, y, lambda dz: dz * b, lambda dz: dz * a)


def div(x: Any, y: Any) -> Tensor:
    """z = x / y, broadcast."""
    x, y = operands(x, y)
    b = y.data
    z = x.data / b
    # ∂z/∂x = 1/y, ∂z/∂y = −x/y² = −z/y
    return record_binary(z, x, y, lambda dz: dz / b, lambda dz: -dz * z / b)


def pow(x: Any, y: Any) -> Tensor:
    """z = x^y, broadcast. A gradient for the exponent y asks for x > 0 (it holds log x); x = 0 counts as 0 there."""
    x, y = operands(x, y)
    xp = array_namespace(x.data)
    a, b = x.data, y.data
    z = a**b
    # ∂z/∂x = y x^(y−1), ∂z/∂y = z log x
    return record_binary(
        z, x, y,
        lambda dz: dz * b * a ** xp.where(b == 0, 1, b - 1),
        lambda dz: dz * z * xp.log(xp.where(a > 0, a, 1)),
    )  # fmt: skip


def neg(x: Any) -> Tensor:
    """y = −x."""
    x = as_tensor(x)
    return record(-x.data, (x,), lambda dy: (-dy,))


def exp(x: Any) -> Tensor:
    """y = e^x."""
    x = as_float(x)
    y = array_namespace(x.data).exp(x.data)

    def backward(dy):
        # dy/dx = e^x = y
        return (dy * y,)

    return record(y, (x,), backward)


def log(x: Any) -> Tensor:
    """y = ln x."""
    x = as_float(x)
    a = x.data

    def backward(dy):
        # dy/dx = 1/x
        return (dy / a,)

    return record(array_namespace(a).log(a), (x,), backward)


def sqrt(x: Any) -> Tensor:
    """y = √x."""
    x = as_float(x)
    y = array_namespace(x.data).sqrt(x.data)

    def backward(dy):
        # dy/dx = 1/(2√x)
        return (dy / (2 * y),)

    return record(y, (x,), backward)


def abs(x: Any) -> Tensor:
    """y = |x|, with derivative 0 at 0."""
    x = as_tensor(x)
    xp = array_namespace(x.data)
    a = x.data

    def backward(dy):
        # dy/dx = sign x
        return (dy * xp.sign(a),)

    return record(xp.abs(a), (x,), backward)


def maximum(x: Any, y: Any) -> Tensor:
    """z = max(x, y) element by element, broadcast; where they are equal each gets half of the gradient."""
    x, y = operands(x, y)
    return _larger(x, y, sign=1)


def minimum(x: Any, y: Any) -> Tensor:
    """z = min(x, y) element by element, broadcast; where they are equal each gets half of the gradient."""
    x, y = operands(x, y)
    return _larger(x, y, sign=-1)


def _larger(x: Tensor, y: Tensor, sign: int) -> Tensor:
    xp = array_namespace(x.data)
    a, b = x.data, y.data
    wins = a > b if sign == 1 else a < b
    share = wins + 0.5 * (a == b)  # 1 where x wins, 0 where y wins, ½ for a tie
    z = xp.maximum(a, b) if sign == 1 else xp.minimum(a, b)
    share = xp.asarray(share, dtype=z.dtype)
    return record_binary(z, x, y, lambda dz: dz * share, lambda dz: dz * (1 - share))
