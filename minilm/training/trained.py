"""A trained model, ready to use: opened from its run folder, and measured on a text."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minilm.data import CorpusText, SequentialWindows, prepare_tokens
from minilm.errors import CheckpointError, InputError
from minilm.metrics import bits_per_character, evaluate_loss, perplexity
from minilm.models import GPT, GPTConfig
from minilm.text import CharacterTokenizer, Tokenizer, load_tokenizer
from minilm.training.checkpoint import Checkpoint, list_checkpoints, load_checkpoint, read_state
from minilm.training.config import RunConfig


@dataclass
class TrainedModel:
    """What `open_run` gives: a model that is ready to use, with its tokenizer and its run's configuration."""

    folder: Path
    config: RunConfig
    tokenizer: Tokenizer
    model: GPT
    checkpoint: Checkpoint


def open_run(folder: str | Path, which: str = "best") -> TrainedModel:
    """Load a trained model from a run folder.

    which: "best" (lowest validation loss), "last", or a step number.
    Raises InputError if the folder is no run, CheckpointError if the checkpoint is missing, damaged or of another model.
    """
    folder = Path(folder)
    if not (folder / "config.yaml").exists():
        raise InputError(f"{folder} is not a run: it has no config.yaml; give the folder that `minilm train` named")
    config = RunConfig.load(folder / "config.yaml")
    config.check()
    tokenizer = load_tokenizer(folder / "tokenizer")
    checkpoint = load_checkpoint(choose_checkpoint(folder / "checkpoints", which), with_optimizer=False)
    if tokenizer.vocab_size > config.model.vocab_size:
        raise CheckpointError(
            f"the tokenizer of {folder} has {tokenizer.vocab_size} tokens, its model {config.model.vocab_size}; "
            "they are of different runs: restore the folder"
        )
    shape = checkpoint.state.get("model_config")
    if shape is not None and GPTConfig.from_dict(shape) != config.model:
        raise CheckpointError(
            f"{checkpoint.path} is of another model than {folder / 'config.yaml'} describes; restore the file that was changed"
        )
    model = GPT(config.model, np.random.default_rng(0))
    try:
        model.load_state_dict(checkpoint.weights)
    except InputError as error:
        raise CheckpointError(f"{checkpoint.path}: {error}") from error
    model.eval()
    return TrainedModel(folder, config, tokenizer, model, checkpoint)


def choose_checkpoint(folder: Path, which: str) -> Path:
    """The path of the best, the last, or a numbered checkpoint."""
    paths = list_checkpoints(folder)
    if not paths:
        raise CheckpointError(f"there is no checkpoint in {folder}; train for at least one step first")
    if which == "last":
        return paths[-1]
    steps = {int(path.name[5:]): path for path in paths}
    if which == "best":
        state = read_state(paths[-1], f"choose another with --checkpoint ({', '.join(map(str, steps))})")
        return steps.get(state["best_step"], paths[-1])
    if not which.isdecimal() or int(which) not in steps:
        raise InputError(
            f"no checkpoint {which!r} in {folder}; choose best, last or one of {', '.join(map(str, steps))}"
        )
    return steps[int(which)]


def evaluate_on(run: TrainedModel, corpus: CorpusText) -> tuple[float, float, float, int]:
    """Loss (nats per token), perplexity, bits per character and token count of a run's model on a whole corpus."""
    with tempfile.TemporaryDirectory() as folder:
        tokens, _ = prepare_tokens(corpus, run.tokenizer, folder, validation_fraction=0.0)
        if len(tokens) < 2:
            raise InputError(f"{corpus.name} has {len(tokens)} token(s); at least 2 are needed to predict one")
        result = evaluate_loss(run.model, evaluation_windows(tokens, run.config), progress=sys.stderr.isatty())
        characters = count_characters(run.tokenizer, tokens[1:])
        del tokens  # unmapped before the folder goes, which Windows insists on
    bits = bits_per_character(result.loss, result.tokens, characters)
    return result.loss, perplexity(result.loss), bits, result.tokens


def evaluation_windows(tokens: np.ndarray, config: RunConfig) -> SequentialWindows:
    """Windows for measuring, in batches of about 2,048 tokens."""
    length = config.model.context_length
    return SequentialWindows(tokens, max(1, 2048 // length), length)


def count_characters(tokenizer: Tokenizer, tokens: np.ndarray) -> int:
    """How many characters of text the tokens stand for."""
    if isinstance(tokenizer, CharacterTokenizer):
        return len(tokens)
    decoder = tokenizer.stream_decoder()
    return sum(len(decoder.push(int(token))) for token in tokens) + len(decoder.flush())
