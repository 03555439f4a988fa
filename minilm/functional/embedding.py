"""Looking rows up in a table, and dropping elements at random."""

from __future__ import annotations

from typing import Any

import numpy as np

import minilm_kernels as kernels
from minilm.functional._broadcast import data_of, given, same_float
from minilm.functional.shape import reshape
from minilm.tape import Partial
from minilm.tensor import Tensor, as_array, as_tensor, record
from minilm_kernels import array_namespace
from minilm_kernels.conditions import values_count


def embedding(ids: Any, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """y[i] = W[ids[i]]: one row of the table per id; the same as one-hot(ids) W.    [eq:embedding] [002 §4.2]

    ids: any shape of integers in [0, rows), weight: (rows, n).  Returns (*ids.shape, n). Row `padding_idx` gets no gradient.
    """
    ids = as_array(ids)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"embedding wants integer ids, not {ids.dtype}")
    rows = weight.shape[0]
    if ids.size and values_count(ids) and not (int(ids.min()) >= 0 and int(ids.max()) < rows):
        raise IndexError(f"ids run from {int(ids.min())} to {int(ids.max())}, but the table has rows 0 to {rows - 1}")
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise IndexError(f"padding_idx {padding_idx} is no row of the table; its rows are 0 to {rows - 1}")
    padding = None if padding_idx is None else padding_idx % rows
    xp, ids = array_namespace(weight.data), as_array(ids, weight.data)

    def backward(dy):
        # dW[r] = Σ of dy[i] over all i with ids[i] = r; all other rows stay untouched
        if padding is not None:
            dy = xp.where((ids == padding)[..., None], xp.zeros((), dy.dtype), dy)
        return (Partial(ids, dy, rows=True),)

    return record(weight.data[ids], (weight,), backward)


def dropout(x: Any, p: float = 0.5, training: bool = True, generator: np.random.Generator | None = None) -> Tensor:
    """Set each element to 0 with probability p and scale the others by 1/(1 − p), so that the mean stays.    [eq:dropout]

    Nothing happens when not training or when p = 0.    [Srivastava et al. 2014]
    generator: where the randomness comes from, one number drawn on the host; without one it cannot be repeated.
    """
    x = as_tensor(x)
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability {p} is not between 0 and 1")
    if not training or p == 0:
        return x
    row = x if x.ndim else reshape(x, 1)
    return reshape(bias_residual_dropout(row, p=p, generator=generator), x.shape)


def bias_residual_dropout(
    x: Any,
    bias: Tensor | None = None,
    residual: Any = None,
    p: float = 0.0,
    training: bool = True,
    generator: np.random.Generator | None = None,
) -> Tensor:
    """y = residual + dropout(x + bias): the end of a Transformer's branch in one pass; bias and residual are optional.

    x: (..., n), bias: (n,), residual: the shape of x. What is dropped follows from one number that `generator` gives, so
    the mask is drawn again for the backward pass instead of being kept.
    """
    x, bias, residual = same_float(x, bias, residual)
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability {p} is not between 0 and 1")
    p = p if training else 0.0
    seed = int((generator or np.random.default_rng()).integers(2**63)) if p else None
    y, residuals = kernels.bias_residual_dropout(x.data, data_of(bias), data_of(residual), dropout=p, seed=seed)

    def backward(dy):
        return given(kernels.bias_residual_dropout_backward(dy, residuals))

    return record(y, given((x, bias, residual)), backward)
