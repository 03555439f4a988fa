"""Train nanoGPT's CPU recipe to its end, and measure the loss over the whole validation split.

The recipe: tinyshakespeare, characters as tokens, the first 90 % to train on; a GPT of 4 layers, 4 heads and width 128
without biases and dropout, its head tied to the embedding; 2,000 steps on 12 random windows of 64 characters; AdamW with
learning rate 1e-3, down to 1e-4 as a cosine after 100 steps of warm-up, betas 0.9 and 0.99, weight decay 0.1 on matrices,
gradients clipped to norm 1.

nanoGPT itself estimates the loss on a few random windows; here every character of the last 10 % but the first is
predicted once, in windows of 64 side by side, so the figure has no sampling error. Seeds differ in initial weights and
batches; for one seed both engines get the same of both.

`--recipe char-best` trains another model for about as long as PyTorch takes for the first one, with no more parameters: rotary
positions, RMS norm, SwiGLU of width 340, a learning rate of 4e-3 down to 8e-5, 1,900 steps. PyTorch has no part in it here.

The text is taken from the folder that MINILM_DATA names, from the cache, or downloaded; --data FILE names it directly.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from minilm.bench import machine
from minilm.bench.engines import Engine, MinilmEngine, TorchEngine
from minilm.bench.recipes import BEST, RECIPES, Recipe
from minilm.data import RandomWindows, SequentialWindows, check_length, open_corpus
from minilm.errors import InputError
from minilm.models import GPT
from minilm.text import CharacterTokenizer

EVALUATION_BATCH = 64
KNOWN = {"char": RECIPES["char"], "char-best": BEST}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; always 0, the figures speak."""
    argv = list(sys.argv[1:] if argv is None else argv)
    options = make_parser().parse_args(argv)
    code = machine.in_child("recipe", argv, options.threads)
    if code is not None:
        return code
    recipe, training, validation = prepare(options.data, options.steps, options.recipe)
    if options.recipe != "char" and options.engine != "minilm":
        raise InputError(f"recipe {options.recipe} is there for minilm alone; leave --engine out")
    engines = ["minilm", "torch"] if options.engine == "both" else [options.engine]
    results: dict[str, list[dict[str, float]]] = {name: [] for name in engines}
    parameters = GPT(recipe.model).num_parameters()
    print(f"{recipe.name}: {parameters:,} parameters, {recipe.total_steps:,} steps")
    print(f"{len(training):,} tokens to train on, {len(validation):,} to measure, {recipe.model.vocab_size} characters")
    for seed in range(options.seeds):
        for name in engines:
            engine: Engine = MinilmEngine(recipe, seed)
            if name == "torch":
                engine = TorchEngine(recipe, options.threads, like=engine)
            result = run(engine, recipe, training, validation, seed)
            results[name].append(result)
            print(f"{name:<7} seed {seed}: validation loss {result['loss']:.4f}, {result['seconds']:.1f} s", flush=True)
    print(machine.headline(options.threads))
    print(
        machine.table([["engine", "mean loss", "lowest", "highest", "mean s", "ms a step"], *summary(results, recipe)])
    )
    machine.write_json(options.json, "recipe", argv, results)
    return 0


def make_parser() -> argparse.ArgumentParser:
    options = machine.parser("recipe", __doc__ or "")
    machine.add_threads(options)
    options.add_argument("--recipe", choices=list(KNOWN), default="char", help="default: char")
    options.add_argument("--engine", choices=["minilm", "torch", "both"], default="minilm", help="default: minilm")
    options.add_argument("--seeds", type=machine.positive, default=1, metavar="N", help="seeds 0 to N-1 (default: 1)")
    options.add_argument(
        "--data", default="tinyshakespeare", metavar="FILE", help="a text file (default: tinyshakespeare)"
    )
    options.add_argument(
        "--steps", type=machine.positive, help="fewer steps, for a quick look (default: all of the recipe)"
    )
    return options


def prepare(data: str | Path, steps: int | None = None, name: str = "char") -> tuple[Recipe, np.ndarray, np.ndarray]:
    """The recipe for this text, and its training and validation tokens."""
    text = open_corpus(data).read()
    tokenizer = CharacterTokenizer.train([text])
    tokens = tokenizer.encode_array(text)
    recipe = KNOWN[name]
    recipe = replace(
        recipe,
        model=replace(recipe.model, vocab_size=tokenizer.vocab_size),
        total_steps=steps or recipe.total_steps,
        warmup_steps=min(recipe.warmup_steps, (steps or recipe.total_steps) // 2),
    )
    cut = int(0.9 * len(tokens))
    check_length(tokens[:cut], recipe.model.context_length, "training")
    return recipe, tokens[:cut], tokens[cut:]


def run(engine: Engine, recipe: Recipe, training: np.ndarray, validation: np.ndarray, seed: int) -> dict[str, float]:
    """Train from the engine's present weights; returns the validation loss and the seconds of the training alone."""
    generator = np.random.default_rng([seed, 1])
    batches = RandomWindows(training, recipe.batch_size, recipe.model.context_length, generator)
    schedule = recipe.schedule()
    start = time.perf_counter()
    for step in range(recipe.total_steps):
        inputs, targets = batches.next_batch()
        engine.step(inputs, targets, lr=recipe.lr * schedule(step))
    seconds = time.perf_counter() - start
    return {"seed": seed, "loss": evaluate(engine, validation, recipe.model.context_length), "seconds": seconds}


def evaluate(engine: Engine, tokens: np.ndarray, context_length: int) -> float:
    """Mean loss in nats per token over all of `tokens` but the first, in windows side by side."""
    windows = SequentialWindows(tokens, EVALUATION_BATCH, context_length)
    total = sum(engine.evaluate(inputs, targets) * targets.size for inputs, targets in windows)
    return total / windows.target_count


def summary(results: dict[str, list[dict[str, Any]]], recipe: Recipe) -> list[list[str]]:
    rows = []
    for name, runs in results.items():
        losses, seconds = [run["loss"] for run in runs], statistics.mean(run["seconds"] for run in runs)
        row = [f"{f(losses):.4f}" for f in (statistics.mean, min, max)]
        rows.append([name, *row, f"{seconds:.1f}", f"{1e3 * seconds / recipe.total_steps:.1f}"])
    return rows
