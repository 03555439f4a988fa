"""Module: a thing with parameters and other modules inside, that can be called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np

from minilm.devices import CPU, Device, as_device, beside, device_of, to_device
from minilm.errors import InputError
from minilm.tape import Array
from minilm.tensor import Parameter, Tensor


class Module:
    """The base of every layer and model.

    Assign Parameters and Modules as attributes in __init__ and write `forward`; parameters(), state_dict(), train()/eval()
    and the printed tree follow from the attributes. Other arrays (tables, caches) are ordinary attributes and are not saved.
    """

    training: bool = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{type(self).__name__} has no forward(); write one that says what it computes")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        output = self.forward(*args, **kwargs)
        hooks = self.__dict__.get("_forward_hooks")
        if hooks:
            for hook in list(hooks):
                hook(self, args, output)
        return output

    def register_forward_hook(self, hook: Callable[[Module, tuple, Any], None]) -> Callable[[], None]:
        """Call hook(module, inputs, output) after every forward pass; returns a function that removes the hook."""
        hooks: list = self.__dict__.setdefault("_forward_hooks", [])
        hooks.append(hook)
        return lambda: hooks.remove(hook)

    # --- walking the tree ---------------------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it, with dotted names, parents first."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters with dotted names, each once: a tied parameter goes by its first name."""
        seen: set[int] = set()
        for name, parameter in self._all_named_parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def _all_named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        for prefix, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter):
                    yield f"{prefix}.{name}" if prefix else name, value

    def parameters(self) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters())

    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    # --- modes --------------------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Module:
        """Switch dropout and the like on (or off, with mode=False)."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        return self.train(False)

    def zero_grad(self) -> None:
        for parameter in self.parameters():
            parameter.grad = None

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Freeze (False) or unfreeze all parameters."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def double(self) -> Module:
        """Convert all parameters to float64, for checks; do it before an optimizer is made."""
        for parameter in self.parameters():
            parameter.data = parameter.data.astype(np.float64)
            parameter.grad = parameter.grad_buffer = None
        return self

    def to(self, device: Any) -> Self:
        """Move parameters and tables to "cpu" or "cuda"; do it before an optimizer is made.

        Raises InputError or MissingDependencyError for a GPU that cannot be used, and then moves nothing.
        """
        device = as_device(device)
        for parameter in self.parameters():
            if device_of(parameter.data) == device:
                continue
            if parameter.grad_buffer is not None:
                raise RuntimeError("an optimizer has taken these parameters over; move the model before you make one")
            parameter.data = to_device(parameter.data, device)
            parameter.grad = None
        for module in self.modules():
            for name, value in vars(module).items():
                if isinstance(value, np.ndarray) or (hasattr(value, "dtype") and device_of(value) != CPU):
                    setattr(module, name, to_device(value, device))
        return self

    def cuda(self) -> Self:
        """Move it to the GPU."""
        return self.to("cuda")

    def cpu(self) -> Self:
        """Move it to the host's memory."""
        return self.to("cpu")

    @property
    def device(self) -> Device:
        """Where its parameters are; the CPU if it has none."""
        first = next(self.parameters(), None)
        return CPU if first is None else device_of(first.data)

    # --- saving -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Name → array, for every parameter; the arrays are the parameters' own memory, not copies."""
        return {name: parameter.data for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy arrays into the parameters of the same names.

        Strict: raises InputError that lists every missing, unexpected and mis-shaped array, and then changes nothing.
        """
        own = dict(self.named_parameters())
        tied = {name for name, _ in self._all_named_parameters()} - set(own)
        problems = [f"missing: {name} {own[name].shape}" for name in own if name not in state]
        problems += [f"unexpected: {name}" for name in state if name not in own and name not in tied]
        problems += [
            f"shape of {name}: {tuple(state[name].shape)} in the file, {own[name].shape} in the model"
            for name in own
            if name in state and tuple(state[name].shape) != own[name].shape
        ]
        if problems:
            shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
            raise InputError(
                f"these weights are of another model ({shown}); build the model from the weights' own configuration"
            )
        for name, parameter in own.items():
            parameter.data[...] = beside(_array(state[name]), parameter.data)

    # --- printing -----------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands in the brackets of this module's line in the printed tree."""
        return ""

    def __repr__(self) -> str:
        runs: list[
            list[str]
        ] = []  # first name, last name, text: equal neighbours, such as the blocks of a model, print once
        for name, child in self.named_children():
            text = repr(child)
            if runs and runs[-1][2] == text and name.isdigit():
                runs[-1][1] = name
            else:
                runs.append([name, name, text])
        lines = []
        for first, last, text in runs:
            label = f"({first})" if first == last else f"({first}-{last}) {int(last) - int(first) + 1} ×"
            lines.append(f"  {label}: " + text.replace("\n", "\n  "))
        head = f"{type(self).__name__}({self.extra_repr()}"
        return head + "\n" + "\n".join(lines) + "\n)" if lines else head + ")"


class ModuleList(Module):
    """A list of modules whose parameters are found."""

    def __init__(self, layers: Iterable[Module] = ()):
        for layer in layers:
            self.append(layer)

    def append(self, layer: Module) -> None:
        setattr(self, str(len(self)), layer)

    def __iter__(self) -> Iterator[Any]:
        return (child for _, child in self.named_children())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, i: int) -> Any:
        return list(self)[i]


class Sequential(ModuleList):
    """y = f_n(… f_2(f_1(x)))."""

    def __init__(self, *layers: Module):
        super().__init__(layers)

    def forward(self, x: Any) -> Any:
        for layer in self:
            x = layer(x)
        return x


def _array(value: Any) -> Array:
    return value.data if isinstance(value, Tensor) else value
