"""All parameters in one array, all gradients in another; a Parameter is a view."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

import minilm_kernels as kernels
from minilm.tensor import Array, Parameter


class FlatParameters:
    """Moves parameters into one flat array `data` and gives each a place in the flat array `grad`.

    Afterwards p.data is a view of `data`, and backward() writes p.grad straight into its view of `grad`: an optimizer
    step, clipping, an all-reduce and a checkpoint are each one call on one array. The parameters must share one dtype.
    """

    def __init__(self, parameters: Iterable[Parameter]):
        self.parameters: list[Parameter] = []
        seen: set[int] = set()
        for parameter in parameters:
            if id(parameter) not in seen:  # a tied parameter has one place
                seen.add(id(parameter))
                self.parameters.append(parameter)
        if not self.parameters:
            raise ValueError("an optimizer needs at least one parameter; pass model.parameters()")
        dtypes = {parameter.dtype for parameter in self.parameters}
        if len(dtypes) > 1:
            raise ValueError(
                f"the parameters have several dtypes ({', '.join(map(str, dtypes))}); convert the model first"
            )
        sizes = [parameter.numel() for parameter in self.parameters]
        self.offsets = np.concatenate([[0], np.cumsum(sizes)])
        self.data = np.empty(self.offsets[-1], dtypes.pop())
        self.grad = np.zeros_like(self.data)
        self._data_views = [self._view(self.data, i) for i in range(len(self.parameters))]
        self._grad_views = [self._view(self.grad, i) for i in range(len(self.parameters))]
        self.adopt()

    def _view(self, flat: Array, i: int) -> Array:
        return flat[self.offsets[i] : self.offsets[i + 1]].reshape(self.parameters[i].shape)

    def adopt(self) -> None:
        """Take in every parameter whose data or gradient lives elsewhere (`p.data = …` by hand, a gradient set by hand)."""
        for parameter, data, grad in zip(self.parameters, self._data_views, self._grad_views):
            if parameter.data is not data:
                if parameter.shape != data.shape:
                    raise ValueError(f"a parameter of shape {data.shape} was given data of shape {parameter.shape}")
                data[...] = parameter.data
                parameter.data = data
            parameter.grad_buffer = grad
            if parameter.grad is not None and parameter.grad is not grad:
                grad[...] = parameter.grad
                parameter.grad = grad

    def check_home(self) -> None:
        """Raise RuntimeError if another optimizer has taken the parameters over."""
        if any(p.grad_buffer is not grad for p, grad in zip(self.parameters, self._grad_views)):
            raise RuntimeError("the parameters belong to another optimizer by now; use that one, or make a new one")

    def spans(self, start: int = 0, stop: int | None = None) -> Iterator[slice]:
        """Slices of the flat arrays that cover the parameters start:stop which have a gradient, neighbours joined."""
        begin = None
        stop = len(self.parameters) if stop is None else stop
        for i in range(start, stop):
            if self.parameters[i].grad is None:
                if begin is not None:
                    yield slice(begin, int(self.offsets[i]))
                    begin = None
            elif begin is None:
                begin = int(self.offsets[i])
        if begin is not None:
            yield slice(begin, int(self.offsets[stop]))

    def zero_grad(self) -> None:
        """Forget all gradients; the next backward() overwrites them, so nothing needs to be filled with zeros."""
        for parameter in self.parameters:
            parameter.grad = None

    def clip_grad_norm(self, max_norm: float | None) -> float:
        """Scale all gradients down so that their joint Euclidean norm is at most `max_norm`; returns the norm before."""
        self.check_home()
        self.adopt()
        return kernels.clip_by_norm([self.grad[span] for span in self.spans()], max_norm)


def clip_grad_norm_(parameters: Iterable[Any], max_norm: float) -> float:
    """PyTorch's call for parameters that no optimizer owns: g ← g · min(1, max_norm/‖g‖), all gradients together.

    Returns ‖g‖ before clipping.
    """
    return kernels.clip_by_norm([p.grad for p in parameters if p.grad is not None], max_norm)
