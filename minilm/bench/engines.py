"""The two engines behind one interface, so that every benchmark treats them alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm import no_grad
from minilm.bench import torch_gpt
from minilm.bench.recipes import Recipe
from minilm.memory import keep_freed_memory
from minilm.models import GPT
from minilm.optim import AdamW
from minilm.optim.optimizers import decay_groups


class MinilmEngine:
    """minilm's GPT and AdamW, made for a recipe; the seed decides the initial weights."""

    name = "minilm"

    def __init__(self, recipe: Recipe, seed: int = 0):
        keep_freed_memory()  # as the Trainer does; for the whole process, so PyTorch's arrays gain as well
        self.recipe = recipe
        self.model = GPT(recipe.model, np.random.default_rng(seed))
        groups = decay_groups(self.model.parameters(), recipe.weight_decay)
        self.optimizer = AdamW(groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps)

    def forward_backward(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """The loss of a batch; leaves its gradients in the model."""
        _, loss = self.model(inputs, targets)
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
        return {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}

    def weights(self) -> dict[str, np.ndarray]:
        return self.model.state_dict()

    def evaluate(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """The mean loss of a batch, without recording anything."""
        with no_grad():
            return float(self.model(inputs, targets)[1].item())


class TorchEngine:
    """The same in PyTorch eager, with `threads` threads. Takes its weights from `like`, if one is given."""

    name = "PyTorch"

    def __init__(self, recipe: Recipe, threads: int, like: GPT | None = None):
        self.torch = torch_gpt.require_torch()
        self.torch.set_num_threads(threads)
        self.recipe = recipe
        self.model = torch_gpt.build(recipe.model)
        if like is not None:
            self.take_weights(like)
        self.optimizer = torch_gpt.build_optimizer(self.model, recipe.lr, recipe.betas, recipe.eps, recipe.weight_decay)

    def forward_backward(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        _, loss = self.model(self.torch.from_numpy(inputs), self.torch.from_numpy(targets))
        loss.backward()
        return float(loss.item())

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
        return {name: p.grad.numpy() for name, p in self.model.named_parameters() if p.grad is not None}

    def weights(self) -> dict[str, np.ndarray]:
        return {name: p.detach().numpy() for name, p in self.model.named_parameters()}

    def take_weights(self, source: GPT) -> None:
        """Continue from the weights of a minilm model."""
        torch_gpt.copy_weights(source, self.model)

    def evaluate(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        with self.torch.no_grad():
            return float(self.model(self.torch.from_numpy(inputs), self.torch.from_numpy(targets))[1].item())


Engine: Any = MinilmEngine | TorchEngine
