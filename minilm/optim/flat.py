"""All parameters in one array, all gradients in another; a Parameter is a view."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

import minilm_kernels as kernels
from minilm.devices import beside
from minilm.tensor import Array, Parameter
from minilm_kernels import array_namespace


class FlatParameters:
    """Moves parameters into one flat array `data` and gives each a place in the flat array `grad`.

    Afterwards p.data is a view of `data`, and backward() writes p.grad straight into its view of `grad`: an optimizer
    step, clipping, an all-reduce and a checkpoint are each one call on one array. The parameters must share one dtype, and one
    device, where both arrays then are.
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
        self.offsets = [0, *accumulate(parameter.numel() for parameter in self.parameters)]
        xp = array_namespace(self.parameters[0].data)
        self.data = xp.empty(self.offsets[-1], dtypes.pop())
        self.grad = xp.zeros_like(self.data)
        self.working, self.received = self.data, self.grad  # what the model computes with, and what backward() writes
        self.untrained: list[tuple[Parameter, Array]] = []  # in mixed precision: the others, and their weights in full
        self.collected = False
        self._make_views()
        self.adopt()

    def _make_views(self) -> None:
        self._data_views = [self._view(self.working, i) for i in range(len(self.parameters))]
        self._grad_views = [self._view(self.received, i) for i in range(len(self.parameters))]

    # --- mixed precision ------------------------------------------------------------------------------------------------

    @property
    def mixed(self) -> bool:
        """Whether the model computes in 16 bits, with float32 weights kept here."""
        return self.working is not self.data

    def compute_in(self, dtype: Any, others: Iterable[Parameter] = ()) -> None:
        """From now on p.data and p.grad have 16 bits; `data` and `grad`, which the optimizer works on, stay float32.

        A step is small beside its weight: in float16 w + Δw is w again where Δw < 2⁻¹¹ w, and nothing would be learnt.
        others: parameters that the model computes with and that are not trained; those of `parameters` among them are left
        out. With the dtype of `data` everything is again as it was.
        """
        self.adopt()
        for parameter, full in self.untrained:
            parameter.data = full
        self.working, self.received, self.untrained = self.data, self.grad, []
        if dtype != self.data.dtype:
            self.working = self.data.astype(dtype)
            self.received = array_namespace(self.data).zeros_like(self.working)
            own = {id(parameter) for parameter in self.parameters}
            self.untrained = [(p, p.data) for p in others if id(p) not in own and p.dtype == self.data.dtype]
            for parameter, full in self.untrained:
                parameter.data = full.astype(dtype)
        self._make_views()
        for parameter, data, grad in zip(self.parameters, self._data_views, self._grad_views):
            parameter.data, parameter.grad, parameter.grad_buffer = data, None, grad

    def collect(self, loss_scale: float = 1.0) -> None:
        """grad ← received / loss_scale in float32, once after the backward passes of a step."""
        if self.mixed and not self.collected:
            for span in self.spans():
                grad = self.grad[span]
                grad[...] = self.received[span]
                grad *= 1 / loss_scale
        self.collected = True

    def publish(self) -> None:
        """Let the model compute with what the optimizer has made of the weights."""
        if self.mixed:
            self.working[...] = self.data

    def publish_untrained(self) -> None:
        """The same for the parameters that are not trained, after something else has changed their weights."""
        for parameter, full in self.untrained:
            parameter.data[...] = full

    def weights(self) -> dict[int, Array]:
        """The weights of each parameter in full precision, by the parameter's id(); those that are trained as views."""
        trained = {id(parameter): self._view(self.data, i) for i, parameter in enumerate(self.parameters)}
        return trained | {id(parameter): full for parameter, full in self.untrained}

    # --- views ----------------------------------------------------------------------------------------------------------

    def _view(self, flat: Array, i: int) -> Array:
        return flat[self.offsets[i] : self.offsets[i + 1]].reshape(self.parameters[i].shape)

    def adopt(self) -> None:
        """Take in every parameter whose data or gradient lives elsewhere (`p.data = …` by hand, a gradient set by hand)."""
        for i, (parameter, data, grad) in enumerate(zip(self.parameters, self._data_views, self._grad_views)):
            if parameter.data is not data:
                if parameter.shape != data.shape:
                    raise ValueError(f"a parameter of shape {data.shape} was given data of shape {parameter.shape}")
                data[...] = beside(parameter.data, data)
                if self.mixed:
                    self._view(self.data, i)[...] = data
                parameter.data = data
            parameter.grad_buffer = grad
            if parameter.grad is not None and parameter.grad is not grad:
                grad[...] = beside(parameter.grad, grad)
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
                    yield slice(begin, self.offsets[i])
                    begin = None
            elif begin is None:
                begin = self.offsets[i]
        if begin is not None:
            yield slice(begin, self.offsets[stop])

    def zero_grad(self) -> None:
        """Forget all gradients; the next backward() overwrites them, so nothing needs to be filled with zeros."""
        for parameter in self.parameters:
            parameter.grad = None
        self.collected = False

    def clip_grad_norm(self, max_norm: float | None, loss_scale: float = 1.0) -> Any:
        """Scale all gradients down so that their joint Euclidean norm is at most `max_norm`; returns the norm before.

        On a GPU that is an array without axes, which the host need not wait for until float() asks for it.
        loss_scale: what the loss was multiplied with, in mixed precision; the gradients are divided by it first.
        """
        self.check_home()
        self.adopt()
        self.collect(loss_scale)
        return kernels.clip_by_norm([self.grad[span] for span in self.spans()], max_norm)


def clip_grad_norm_(parameters: Iterable[Any], max_norm: float) -> float:
    """PyTorch's call for parameters that no optimizer owns: g ← g · max_norm/(‖g‖ + 10⁻⁶) if ‖g‖ > max_norm, all together.

    Returns ‖g‖ before clipping.
    """
    return kernels.clip_by_norm([p.grad for p in parameters if p.grad is not None], max_norm)
