"""Give Tensor its operators and methods: each is a function of this package under PyTorch's name.

`x + y` is `add(x, y)`, `x.sum(dim=1)` is `sum(x, dim=1)`. Tensor itself (minilm/tensor.py) knows the tape and no mathematics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minilm.functional import activations, arithmetic, normalization, products, reductions, shape
from minilm.optional import require
from minilm.tensor import Tensor, as_array, as_tensor, is_float, record

METHODS: dict[str, Callable[..., Any]] = {
    name: getattr(module, name)
    for module, names in {
        arithmetic: "exp log sqrt abs pow",
        activations: "tanh sigmoid relu",
        reductions: "sum mean var max min logsumexp argmax",
        shape: "reshape transpose permute squeeze unsqueeze flatten split gather masked_fill",
        normalization: "softmax log_softmax",
        products: "matmul",
    }.items()
    for name in names.split()
}


def astype(x: Tensor, dtype: Any) -> Tensor:
    """x in another dtype; the cotangent is converted back."""
    dtype = as_dtype(dtype)
    if dtype == x.dtype:
        return x
    y, before = x.data.astype(dtype), x.dtype
    return record(y, (x,), lambda dy: (dy.astype(before),)) if is_float(dtype) else Tensor(y)


def as_dtype(dtype: Any) -> np.dtype:
    """np.dtype(dtype), which knows "bfloat16" only when ml_dtypes has been imported."""
    return np.dtype(require("ml_dtypes", "bfloat16").bfloat16 if dtype == "bfloat16" else dtype)


def _reflected(function: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
    return lambda x, y: function(y, x)


def _comparison(name: str) -> Callable[[Tensor, Any], Any]:
    """x < y, x == y, x & y, … element by element; the result carries no gradient."""

    def compare(x: Tensor, y: Any) -> Any:
        if y is None:
            return NotImplemented
        return Tensor(getattr(x.data, name)(as_array(as_tensor(y, like=x), x.data)))

    return compare


def attach() -> None:
    """Set the operators and methods on Tensor; called once, when minilm.functional is imported."""
    for name, function in METHODS.items():
        setattr(Tensor, name, function)
    operators = {
        "add": arithmetic.add,
        "sub": arithmetic.sub,
        "mul": arithmetic.mul,
        "truediv": arithmetic.div,
        "pow": arithmetic.pow,
        "matmul": products.matmul,
    }
    for name, function in operators.items():
        setattr(Tensor, f"__{name}__", function)
        setattr(Tensor, f"__r{name}__", _reflected(function))
    for name in ("lt", "le", "gt", "ge", "eq", "ne"):
        setattr(Tensor, f"__{name}__", _comparison(f"__{name}__"))
    for name in ("and", "or", "xor"):
        setattr(Tensor, f"__{name}__", _comparison(f"__{name}__"))
    for name, method in {
        "__hash__": object.__hash__,  # equality is by element, identity is for sets
        "__invert__": lambda x: Tensor(~x.data),
        "__abs__": arithmetic.abs,
        "__neg__": arithmetic.neg,
        "__getitem__": shape.getitem,
        "view": shape.reshape,
        "astype": astype,
        "half": lambda x: astype(x, np.float16),
        "bfloat16": lambda x: astype(x, "bfloat16"),
        "float": lambda x: astype(x, np.float32),
        "double": lambda x: astype(x, np.float64),
        "T": property(shape.transpose),
    }.items():
        setattr(Tensor, name, method)
