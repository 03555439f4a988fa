"""SGD, Adam and AdamW: each step is one formula on the flat parameter array."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import minilm_kernels as kernels
from minilm.devices import beside
from minilm.errors import InputError
from minilm.functional.methods import as_dtype
from minilm.optim.flat import FlatParameters
from minilm.tensor import Array, Parameter
from minilm_kernels import array_namespace


class Optimizer:
    """Parameter groups over one flat array.

    params: parameters, or groups [{"params": [...], "lr": ..., "weight_decay": ...}, ...] whose options override the defaults.
    `param_groups[i]["lr"]` may be changed between steps, which is what a schedule does.
    A parameter without a gradient is left alone, as in PyTorch.
    """

    state_names: tuple[str, ...] = ()  # the flat arrays that an optimizer keeps beside the parameters

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]):
        groups = list(params)
        if not groups:
            raise ValueError("an optimizer needs at least one parameter; pass model.parameters()")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        self.param_groups: list[dict[str, Any]] = []
        ordered: list[Parameter] = []
        seen: set[int] = set()
        for group in groups:
            unknown = set(group) - set(defaults) - {"params"}
            if unknown:
                raise ValueError(f"unknown option(s) {sorted(unknown)} in a parameter group; known: {sorted(defaults)}")
            own = []
            for parameter in group["params"]:
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    own.append(parameter)
            start = len(ordered)
            ordered.extend(own)
            self.param_groups.append({**defaults, **group, "params": own, "range": (start, len(ordered))})
        self.flat = FlatParameters(ordered)
        self.steps = 0
        zeros_like = array_namespace(self.flat.data).zeros_like
        self.state = {name: zeros_like(self.flat.data) for name in self.state_names}

    def zero_grad(self) -> None:
        self.flat.zero_grad()

    def compute_in(self, precision: str, others: Iterable[Parameter] = ()) -> None:
        """Let the model compute in "float16" or "bfloat16", on a GPU, while this optimizer's weights stay float32.

        others: the model's parameters; those that this optimizer does not train get 16 bits as well. "float32" ends it.
        """
        if self.flat.data.dtype.name != "float32":
            raise ValueError(f"mixed precision starts from float32 weights; these are {self.flat.data.dtype}")
        self.flat.compute_in(as_dtype(precision), others)

    def clip_grad_norm(self, max_norm: float | None, loss_scale: float = 1.0) -> Any:
        """Clip the joint norm of all gradients to `max_norm` (None: only measure); returns the norm before.

        On a GPU it is an array without axes: only float() waits for it. loss_scale: what the loss was multiplied with.
        """
        return self.flat.clip_grad_norm(max_norm, loss_scale)

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        self.flat.check_home()
        self.flat.adopt()
        self.flat.collect()
        self.steps += 1
        for group in self.param_groups:
            for span in self.flat.spans(*group["range"]):
                states = [array[span] for array in self.state.values()]
                self.update(self.flat.data[span], self.flat.grad[span], group, *states)
        self.flat.publish()

    def update(self, w: Array, g: Array, group: dict[str, Any], *state: Array) -> None:
        """Change the parameters w in place, given their gradients g and the group's options."""
        raise TypeError(f"{type(self).__name__} has no update(); write the formula of one step")

    def state_dict(self) -> dict[str, Any]:
        """The flat state arrays, the number of steps, and each group's options."""
        options = [{k: v for k, v in group.items() if k not in ("params", "range")} for group in self.param_groups]
        return {"steps": self.steps, "groups": options, "arrays": dict(self.state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict() gave; raises InputError if it is of another optimizer or model."""
        if set(state["arrays"]) - set(self.state):
            raise InputError(
                f"the saved optimizer state has {', '.join(sorted(state['arrays']))}, which a {type(self).__name__} with these "
                "options does not keep; make the optimizer that was saved"
            )
        for name, own in self.state.items():
            if name not in state["arrays"] or state["arrays"][name].shape != own.shape:
                raise InputError(
                    f"the saved optimizer state has no array {name!r} of {own.size} elements; "
                    f"it is of another optimizer or model than this {type(self).__name__}"
                )
        if len(state["groups"]) != len(self.param_groups):
            raise InputError(
                f"the saved optimizer has {len(state['groups'])} groups, this one {len(self.param_groups)}"
            )
        for name, own in self.state.items():
            own[...] = beside(state["arrays"][name], own)
        for group, options in zip(self.param_groups, state["groups"]):
            group.update(options)
        self.steps = int(state["steps"])


class SGD(Optimizer):
    r"""v ← μ v + g,  w ← w − η v.    [eq:sgd]

    With momentum μ = 0, plain gradient descent. nesterov: w ← w − η (g + μ v). weight_decay λ adds λ w to g, as in PyTorch.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ):
        _check(lr=lr, momentum=momentum, weight_decay=weight_decay)
        params = list(params)
        anywhere = [momentum, *(group.get("momentum", 0) for group in params if isinstance(group, dict))]
        self.state_names = ("momentum",) if any(anywhere) or nesterov else ()
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov})

    def update(self, w: Array, g: Array, group: dict[str, Any], *state: Array) -> None:
        if group["weight_decay"]:
            g = g + group["weight_decay"] * w
        if state:
            (v,) = state
            v *= group["momentum"]
            v += g
            g = g + group["momentum"] * v if group["nesterov"] else v
        w -= group["lr"] * g


class Adam(Optimizer):
    r"""m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²,  w ← w − η m̂/(√v̂ + ε).    [eq:adam] [Kingma & Ba 2015]

    m̂ = m/(1 − β₁ᵗ) and v̂ = v/(1 − β₂ᵗ) undo the start from zero; t counts the steps of the optimizer
    (PyTorch counts them per parameter, which differs only for one that gets its first gradient later than the others).
    weight_decay λ adds λ w to g.
    """

    state_names = ("m", "v")
    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        _check(lr=lr, weight_decay=weight_decay, beta1=betas[0], beta2=betas[1])
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def update(self, w: Array, g: Array, group: dict[str, Any], *state: Array) -> None:
        m, v = state
        decay = group["weight_decay"]
        if decay and not self.decoupled:
            g, decay = g + decay * w, 0.0
        kernels.adamw_step(
            w, g, m, v, lr=group["lr"], betas=group["betas"], eps=group["eps"], weight_decay=decay, step=self.steps
        )


class AdamW(Adam):
    r"""Adam with decoupled decay: w ← w − η λ w − η m̂/(√v̂ + ε).    [eq:adamw] [Loshchilov & Hutter 2019]

    The decay does not pass through m and v, so it shrinks every weight at the same rate.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        super().__init__(params, lr, betas, eps, weight_decay)


def decay_groups(parameters: Iterable[Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Two groups, as GPT-2 and nanoGPT have them: matrices decay, vectors (biases, norms) do not."""
    parameters = list(parameters)
    matrices = [p for p in parameters if p.ndim >= 2]
    vectors = [p for p in parameters if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _check(lr: float, weight_decay: float, **fractions: float) -> None:
    if lr < 0 or weight_decay < 0:
        raise ValueError(f"lr {lr} and weight_decay {weight_decay} must not be negative")
    for name, value in fractions.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name} {value} must be at least 0 and below 1")
