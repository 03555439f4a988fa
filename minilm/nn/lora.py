r"""LoRA: a large matrix stays as it is and learns through two thin ones beside it.    [Hu et al. 2021]

Y = X (W + (α/r) B A)ᵀ + b        W: (out, in), frozen    A: (r, in), B: (out, r), trained; B starts at 0

layers = add_lora(model, ["query_key_value"], rank=8, generator=generator)
...train: only A and B require a gradient...
merge_lora(model)                 # W ← W + (α/r) B A: the layers are plain Linear layers again
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from minilm import functional as F
from minilm.errors import InputError
from minilm.nn.layers import Dropout, Generator, Linear, uniform
from minilm.nn.module import Module, ModuleList
from minilm.tensor import Array, Parameter, Tensor
from minilm_kernels import array_namespace

ACTIVATIONS = {
    "relu": F.relu,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
}
Rows = tuple[int, int]  # from, up to


class LowRank(Module):
    r"""ΔW = (α/r) B A for the rows `rows` of a weight.    [eq:lora]

    A: (r, in), uniform in ±1/√in; B: (rows, r), zero, so that the adapted layer begins as the layer it adapts.
    """

    def __init__(self, rows: Rows, in_features: int, rank: int, alpha: float, dtype: Any, generator: Generator):
        self.rows, self.alpha = rows, alpha
        self.A = Parameter(uniform((rank, in_features), 1 / np.sqrt(in_features), generator).astype(dtype, copy=False))
        self.B = Parameter(np.zeros((rows[1] - rows[0], rank), dtype))

    @property
    def scale(self) -> float:
        return self.alpha / self.A.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in).  Returns (α/r) x Aᵀ Bᵀ: (..., rows)."""
        return F.linear(F.linear(x, self.A), self.B) * self.scale  # [eq:lora]

    def delta(self) -> Array:
        """ΔW: (rows, in)."""
        return self.scale * (self.B.data @ self.A.data)

    def extra_repr(self) -> str:
        return f"rows {self.rows[0]}–{self.rows[1]}, rank {self.A.shape[0]}, α={self.alpha:g}"


class LoRALinear(Linear):
    """A Linear layer with low-rank updates beside its weight; weight and bias keep their names and are frozen.

    rows: which rows of the weight each update is for. A layer that makes queries, keys and values in one product has them
    stacked, and the queries' rows may be adapted alone.
    """

    def __init__(
        self,
        linear: Linear,
        rank: int,
        alpha: float,
        dropout: float = 0.0,
        rows: Sequence[Rows] = (),
        generator: Generator | None = None,
    ):
        out_features, in_features = linear.weight.shape
        generator = generator or np.random.default_rng()
        self.weight, self.bias = linear.weight, linear.bias
        spans = sorted(rows) or [(0, out_features)]
        dtype = linear.weight.dtype
        self.lora = ModuleList(LowRank(span, in_features, rank, alpha, dtype, generator) for span in spans)
        self.lora.to(linear.weight.device)
        self.lora_dropout = Dropout(dropout, generator)
        self.training = linear.training
        self.merged = False

    def forward(self, x: Any, activation: str | None = None, residual: Any = None) -> Tensor:
        """act(x (W + ΔW)ᵀ + b) + residual."""
        if self.merged:
            return super().forward(x, activation, residual)
        y = F.linear(x, self.weight, self.bias, residual=self.update(self.lora_dropout(x)))
        if activation is not None:
            y = ACTIVATIONS[activation](y)
        return y if residual is None else y + residual

    def update(self, x: Tensor) -> Tensor:
        """x ΔWᵀ: (..., out), zero in the rows that no update is for."""
        pieces: list[Any] = []
        end = 0
        for part in self.lora:
            pieces += self._zeros(x, end, part.rows[0])
            pieces.append(part(x))
            end = part.rows[1]
        pieces += self._zeros(x, end, self.weight.shape[0])
        return pieces[0] if len(pieces) == 1 else F.concatenate(pieces, -1)

    @staticmethod
    def _zeros(x: Tensor, start: int, stop: int) -> list[Tensor]:
        zeros = array_namespace(x.data).zeros
        return [Tensor(zeros((*x.shape[:-1], stop - start), x.dtype))] if stop > start else []

    def merge(self) -> None:
        """W ← W + ΔW: from now on one product, without a way to train the update."""
        self._add_updates(1)

    def unmerge(self) -> None:
        """W ← W − ΔW, which gives W back up to rounding."""
        self._add_updates(-1)

    def _add_updates(self, sign: int) -> None:
        if self.merged == (sign > 0):
            return
        for part in self.lora:
            self.weight.data[slice(*part.rows)] += sign * part.delta()
        self.merged = sign > 0

    def to_linear(self) -> Linear:
        """A plain Linear with the same weight and bias, without the updates."""
        linear = Linear.__new__(Linear)
        linear.weight, linear.bias, linear.training = self.weight, self.bias, self.training
        return linear


def add_lora(
    model: Module,
    targets: Iterable[str] | dict[str, Sequence[Rows]],
    rank: int = 8,
    alpha: float | None = None,
    dropout: float = 0.0,
    trainable: Iterable[str] = (),
    generator: Generator | None = None,
) -> list[str]:
    """Replace Linear layers of `model` by LoRALinear, freeze all other parameters, and return the names of the layers.

    targets: ends of the layers' names, such as "query_key_value" or "blocks.0.feed_forward.up"; or a dictionary from whole
    names to the rows that are adapted (empty: all). alpha: α, rank unless given. trainable: names of modules, such as a new
    head, that are trained as they are.
    Raises InputError if the model has adapters already, or no such layer.
    """
    if has_adapters(model):
        raise InputError("this model has LoRA adapters already; merge_lora(model) first")
    if rank < 1:
        raise InputError(f"rank is {rank}; it must be at least 1")
    generator = generator or getattr(model, "generator", None) or np.random.default_rng()
    rows_of: dict[str, Sequence[Rows]] = {}
    linears = [name for name, module in model.named_modules() if isinstance(module, Linear)]
    trained = [name for name, _ in model.named_modules() if name and ends_with(name, trainable)]
    for target in targets:
        whole = isinstance(targets, dict)
        found = [name for name in linears if (name == target if whole else ends_with(name, [target]))]
        if not found:
            ends = sorted({re.sub(r".*\.", "", name) for name in linears})
            raise InputError(f"the model has no linear layer {target!r}; it has layers that end with {', '.join(ends)}")
        rows_of.update({name: targets[target] if isinstance(targets, dict) else () for name in found})
    model.requires_grad_(False)
    for name, rows in rows_of.items():
        parent, _, last = name.rpartition(".")
        owner = find(model, parent)
        linear = getattr(owner, last)
        setattr(owner, last, LoRALinear(linear, rank, rank if alpha is None else alpha, dropout, rows, generator))
    for name in trained:
        find(model, name).requires_grad_(True)
    return list(rows_of)


def merge_adapters(model: Module) -> None:
    """Put every update into its weight and keep the adapters; unmerge_adapters takes it out again."""
    for _, layer in adapted_layers(model):
        layer.merge()


def unmerge_adapters(model: Module) -> None:
    for _, layer in adapted_layers(model):
        layer.unmerge()


def merge_lora(model: Module) -> Module:
    """Put every update into its weight and take the adapters off: the model is as it was built, all of it trained again."""
    merge_adapters(model)
    return _without_adapters(model)


def remove_lora(model: Module) -> Module:
    """Take the adapters off: the adapted weights are those from before."""
    unmerge_adapters(model)
    return _without_adapters(model)


def _without_adapters(model: Module) -> Module:
    for name, layer in list(adapted_layers(model)):
        parent, _, last = name.rpartition(".")
        setattr(find(model, parent), last, layer.to_linear())
    model.requires_grad_(True)
    return model


def adapted_layers(model: Module) -> Iterator[tuple[str, LoRALinear]]:
    return ((name, module) for name, module in model.named_modules() if isinstance(module, LoRALinear))


def has_adapters(model: Module) -> bool:
    return next(adapted_layers(model), None) is not None


def find(model: Module, name: str) -> Module:
    """The module of a dotted name; the model itself for ""."""
    return dict(model.named_modules())[name]


def ends_with(name: str, endings: Iterable[str]) -> bool:
    """Whether a dotted name ends with one of `endings`, part by part."""
    return any(name == ending or name.endswith(f".{ending}") for ending in endings)
