"""The two engines behind one interface, so that every benchmark treats them alike."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np

from minilm import no_grad
from minilm.bench import torch_gpt
from minilm.bench.recipes import Recipe
from minilm.devices import batch_to_device, to_host
from minilm.memory import keep_freed_memory
from minilm.models import GPT
from minilm.optim import AdamW
from minilm.optim.optimizers import decay_groups


class MinilmEngine:
    """minilm's GPT and AdamW, made for a recipe; the seed decides the initial weights.

    precision: "float32", or on a GPU "bfloat16", in which the model then computes; the weights stay float32.
    """

    name = "minilm"

    def __init__(self, recipe: Recipe, seed: int = 0, device: str = "cpu", precision: str = "float32"):
        keep_freed_memory()  # as the Trainer does; for the whole process, so PyTorch's arrays gain as well
        self.recipe, self.device = recipe, device
        self.model = GPT(recipe.model, np.random.default_rng(seed)).to(device)
        groups = decay_groups(self.model.parameters(), recipe.weight_decay)
        self.optimizer = AdamW(groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps)
        self.optimizer.compute_in(precision)

    def forward_backward(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """The loss of a batch; leaves its gradients in the model."""
        batch = batch_to_device({"inputs": inputs, "targets": targets}, self.device)
        _, loss = self.model(*batch.values())
        loss.backward()
        return float(loss.item())

    def update(self, lr: float) -> None:
        """Clip, one step of AdamW, forget the gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.clip_grad_norm(self.recipe.max_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def step(self, inputs: np.ndarray, targets: np.ndarray, lr: float) -> float:
        loss = self.forward_backward(inputs, targets)
        self.update(lr)
        return loss

    def gradients(self) -> dict[str, np.ndarray]:
        return {name: numbers(p.grad) for name, p in self.model.named_parameters() if p.grad is not None}

    def weights(self) -> dict[str, np.ndarray]:
        """In float32, whatever the model computes in."""
        full = self.optimizer.flat.weights()
        return {name: to_host(full[id(p)]) for name, p in self.model.named_parameters()}

    def evaluate(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """The mean loss of a batch, without recording anything."""
        with no_grad():
            return float(self.model(inputs, targets)[1].item())


class TorchEngine:
    """The same in PyTorch eager, with `threads` threads. Takes its weights from `like`, if one is given.

    precision: "bfloat16" is torch.autocast, which keeps the weights in float32 as well.
    """

    name = "PyTorch"

    def __init__(
        self,
        recipe: Recipe,
        threads: int,
        like: MinilmEngine | None = None,
        device: str = "cpu",
        precision: str = "float32",
    ):
        self.torch = torch_gpt.require_torch()
        self.torch.set_num_threads(threads)
        self.recipe, self.device, self.precision = recipe, device, precision
        self.model = torch_gpt.build(recipe.model).to(device)
        if like is not None:
            self.take_weights(like)
        self.optimizer = torch_gpt.build_optimizer(self.model, recipe.lr, recipe.betas, recipe.eps, recipe.weight_decay)

    def forward_backward(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        with self.around():
            _, loss = self.model(self.there(inputs), self.there(targets))
        loss.backward()
        return float(loss.item())

    def there(self, array: np.ndarray) -> Any:
        return self.torch.from_numpy(array).to(self.device)

    def around(self) -> Any:
        if self.precision == "float32":
            return nullcontext()
        return self.torch.autocast(self.device, getattr(self.torch, self.precision))

    def update(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.max_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def step(self, inputs: np.ndarray, targets: np.ndarray, lr: float) -> float:
        loss = self.forward_backward(inputs, targets)
        self.update(lr)
        return loss

    def gradients(self) -> dict[str, np.ndarray]:
        return {name: p.grad.cpu().numpy() for name, p in self.model.named_parameters() if p.grad is not None}

    def weights(self) -> dict[str, np.ndarray]:
        return {name: p.detach().cpu().numpy() for name, p in self.model.named_parameters()}

    def take_weights(self, source: MinilmEngine) -> None:
        """Continue from the weights of the other engine."""
        torch_gpt.copy_weights(source.weights(), self.model)

    def evaluate(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        with self.torch.no_grad(), self.around():
            return float(self.model(self.there(inputs), self.there(targets))[1].item())


def numbers(array: Any) -> np.ndarray:
    """On the host, and in float32 where NumPy itself could not compute with them."""
    host = to_host(array)
    return host if host.dtype.itemsize >= 4 else host.astype(np.float32)


Engine: Any = MinilmEngine | TorchEngine
