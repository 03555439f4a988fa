"""Finding the layer at which numbers stopped being numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minilm.nn import Module
from minilm.tape import no_grad
from minilm.tensor import Tensor
from minilm_kernels import array_namespace


def finite(array: Any) -> bool:
    """Whether no element is NaN or infinite."""
    return bool(array_namespace(array).isfinite(array).all())


def first_broken_layer(model: Module, forward: Callable[[], Any]) -> str:
    """Run `forward` once more and name what first held a NaN or an infinity: a parameter, else a layer's output."""
    for name, parameter in model.named_parameters():
        if not finite(parameter.data):
            return f"the parameter {name}"
    broken: list[str] = []

    def watch(name: str) -> Callable[[Module, tuple, Any], None]:
        def hook(module: Module, inputs: tuple, output: Any) -> None:
            outputs = output if isinstance(output, tuple) else (output,)
            if not broken and any(isinstance(y, Tensor) and not finite(y.data) for y in outputs):
                broken.append(f"the output of {name or 'the model'} ({type(module).__name__})")

        return hook

    remove = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    try:
        with no_grad(), np.errstate(all="ignore"):
            forward()
    finally:
        for undo in remove:
            undo()
    return broken[0] if broken else "the loss itself"


def first_broken_gradient(model: Module) -> str:
    """Name the last parameter, in forward order, whose gradient is not finite: backward reached it first."""
    names = [name for name, p in model.named_parameters() if p.grad is not None and not finite(p.grad)]
    return f"the gradient of {names[-1]}" if names else "the norm of all gradients together"
