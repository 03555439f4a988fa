"""The training recipes that are measured: what is trained, on which batches, with which optimizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from minilm.models import GPTConfig
from minilm.optim.schedules import Schedule, warmup_cosine


@dataclass(frozen=True)
class Recipe:
    """One recipe. AdamW: weight decay on matrices only; learning rate up over the warm-up, then down as a cosine."""

    name: str
    title: str
    model: GPTConfig
    batch_size: int
    timed_steps: int  # steps measured per engine unless told otherwise
    block: int  # steps that one engine does before the other's turn
    total_steps: int = 2000
    warmup_steps: int = 100
    lr: float = 1e-3
    final_lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-8
    weight_decay: float = 0.1
    max_norm: float = 1.0

    def schedule(self) -> Schedule:
        """The factor on `lr` at each step."""
        return warmup_cosine(self.warmup_steps, self.total_steps, self.final_lr / self.lr)

    def random_batches(self, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Endless (inputs, targets), each (batch_size, context_length), of random tokens: the time does not care."""
        generator = np.random.default_rng(seed)
        shape = (self.batch_size, self.model.context_length + 1)
        while True:
            tokens = generator.integers(0, self.model.vocab_size, shape)
            yield np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "char",
            "nanoGPT's CPU recipe: 4 layers, 4 heads, width 128, context 64, batch 12",
            GPTConfig.nanogpt_char(),
            batch_size=12,
            timed_steps=100,
            block=5,
        ),
        Recipe(
            "char-big",
            "nanoGPT's larger recipe: 6 layers, 6 heads, width 384, context 256, batch 12",
            GPTConfig.nanogpt_char_big(),
            batch_size=12,
            timed_steps=20,
            block=2,
            total_steps=5000,
        ),
        Recipe(
            "gpt2",
            "GPT-2 small, 124M parameters: context 256, batch 1",
            GPTConfig.gpt2(context_length=256),
            batch_size=1,
            timed_steps=6,
            block=1,
            lr=6e-4,
            final_lr=6e-5,
            betas=(0.9, 0.95),
        ),
    )
}
RECIPES |= {
    name: replace(RECIPES[like], name=name, title=title, **changes)
    for name, like, title, changes in (
        (
            "char-big-32",
            "char-big",
            "nanoGPT's larger recipe with batch 32",
            {"batch_size": 32, "timed_steps": 6, "block": 1},
        ),
        (
            "gpt2-1024",
            "gpt2",
            "GPT-2 small, 124M parameters: context 1024, batch 1",
            {"model": GPTConfig.gpt2(context_length=1024), "timed_steps": 4},
        ),
        (
            "gpt2-8x1024",
            "gpt2",
            "GPT-2 small, 124M parameters: context 1024, batch 8; for a GPU",
            {"model": GPTConfig.gpt2(context_length=1024), "timed_steps": 20, "batch_size": 8, "block": 5},
        ),
    )
}
# the lowest loss that was found for the time which the recipe above takes in PyTorch
BEST = replace(
    RECIPES["char"],
    name="char-best",
    title="as many parameters and as much time as the char recipe of PyTorch takes, for the lowest loss",
    model=GPTConfig.nanogpt_char(
        positions="rotary", norm="rms_norm", activation="swiglu", intermediate_size=340, context_length=64
    ),
    total_steps=1900,
    lr=4e-3,
    final_lr=8e-5,
)
USUAL = ("char", "char-big", "gpt2")  # what a benchmark measures unless told otherwise
