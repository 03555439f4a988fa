"""A run: a folder that holds everything about one training, and the steps from a corpus to a trained model.

config.yaml  metrics.jsonl  loss.png  tokenizer/  tokens/  checkpoints/
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minilm.data import CorpusText, RandomWindows, SequentialWindows, check_length, open_corpus, prepare_tokens
from minilm.errors import CheckpointError, InputError
from minilm.metrics import bits_per_character, evaluate_loss, perplexity
from minilm.models import GPT, GPTConfig
from minilm.models.ngram import BigramModel
from minilm.text import CharacterTokenizer, Tokenizer, load_tokenizer, train_tokenizer
from minilm.training.callbacks import Callback, EarlyStopping, LogMetrics
from minilm.training.checkpoint import Checkpoint, list_checkpoints, load_checkpoint, read_state
from minilm.training.config import RunConfig
from minilm.training.lock import lock_folder
from minilm.training.metrics_log import MetricsLog
from minilm.training.plots import plot_runs
from minilm.training.trainer import Trainer, newest_checkpoint

Say = Callable[[str], None]


@dataclass
class Report:
    """How a run ended, measured over the whole validation split."""

    folder: Path
    step: int
    stop_reason: str | None
    seconds: float
    loss: float
    perplexity: float
    bits_per_character: float
    bigram_perplexity: float


@dataclass
class TrainedModel:
    """What `open_run` gives: a model that is ready to use, with its tokenizer and its run's configuration."""

    folder: Path
    config: RunConfig
    tokenizer: Tokenizer
    model: GPT
    checkpoint: Checkpoint


def start_run(config: RunConfig, folder: Path, callbacks: Sequence[Callback] = (), say: Say = print) -> Report:
    """Train a new run in `folder`. Raises InputError before any training if something given cannot work."""
    config.check()
    if (folder / "config.yaml").exists():
        raise InputError(f"{folder} already holds a run; continue it with --resume {folder}, or choose another --out")
    corpus = open_corpus(config.corpus)
    say(f"corpus      {corpus.name}: {corpus.description}")
    tokenizer = train_tokenizer(config.tokenizer, corpus.iter_text(), progress=True)
    config.model.vocab_size = fitting_vocab_size(config.model.vocab_size, tokenizer)
    is_new = not folder.exists()
    with lock_folder(folder):
        try:
            tokenizer.save(folder / "tokenizer")
            training, validation = prepare_tokens(corpus, tokenizer, folder / "tokens", config.validation_fraction)
            check_length(training, config.model.context_length, "training")
            check_length(validation, config.model.context_length, "validation")
            config.save(folder / "config.yaml")
        except BaseException:
            if is_new:  # a run that never began leaves nothing behind
                shutil.rmtree(folder, ignore_errors=True)
            raise
        return _train(config, folder, tokenizer, training, validation, None, callbacks, say)


def resume_run(config: RunConfig, folder: Path, callbacks: Sequence[Callback] = (), say: Say = print) -> Report:
    """Continue the run in `folder` from its newest whole checkpoint; `config` is its own, with changes to training allowed."""
    config.check()
    saved = RunConfig.load(folder / "config.yaml")
    for name in ("corpus", "tokenizer", "validation_fraction", "model"):
        if getattr(config, name) != getattr(saved, name):
            raise InputError(
                f"{name} cannot change when a run is resumed ({getattr(saved, name)} in {folder}); start a new run with --out"
            )
    with lock_folder(folder):
        checkpoint = newest_checkpoint(folder / "checkpoints") if list_checkpoints(folder / "checkpoints") else None
        tokenizer = load_tokenizer(folder / "tokenizer")
        corpus = open_corpus(config.corpus)
        training, validation = prepare_tokens(corpus, tokenizer, folder / "tokens", config.validation_fraction)
        config.save(folder / "config.yaml")
        return _train(config, folder, tokenizer, training, validation, checkpoint, callbacks, say)


def _train(
    config: RunConfig,
    folder: Path,
    tokenizer: Tokenizer,
    training: np.ndarray,
    validation: np.ndarray,
    checkpoint: Checkpoint | None,
    callbacks: Sequence[Callback],
    say: Say,
) -> Report:
    options = config.training
    # one stream of random numbers for the model (weights, dropout), one for the batches
    model_generator, batch_generator = np.random.default_rng(options.seed).spawn(2)
    model = GPT(config.model, model_generator)
    batches = RandomWindows(training, options.batch_size, config.model.context_length, batch_generator)
    measured = validation[: options.eval_tokens + 1] if options.eval_tokens else validation
    log = MetricsLog(folder / "metrics.jsonl")
    callbacks = [*callbacks, LogMetrics(log)]
    if options.early_stopping_patience:
        callbacks.append(EarlyStopping(options.early_stopping_patience))
    windows = evaluation_windows(measured, config)
    trainer = Trainer(model, options, batches, windows, folder / "checkpoints", callbacks)
    log.forget_after(checkpoint.step if checkpoint else 0)
    say(
        f"tokens      {len(training):,} for training, {len(validation):,} for validation; {tokenizer.vocab_size:,} different"
    )
    say(f"model       {model.num_parameters():,} parameters")
    say(f"run folder  {folder}")
    if checkpoint is not None:
        trainer.resume(checkpoint)
        say(f"resumed     at step {trainer.step} of {options.max_steps}")
    try:
        trainer.train()
    except InputError as error:
        raise rescued(trainer, folder, error) from error
    return _finish(trainer, folder, config, tokenizer, training, validation, log)


def _finish(
    trainer: Trainer,
    folder: Path,
    config: RunConfig,
    tokenizer: Tokenizer,
    training: np.ndarray,
    validation: np.ndarray,
    log: MetricsLog,
) -> Report:
    """Measure the whole validation split, compare with a bigram model, draw the loss curve."""
    result = evaluate_loss(trainer.model, evaluation_windows(validation, config))
    bigram = BigramModel.fit(training, config.model.vocab_size)
    bigram_loss = bigram.loss(validation)
    report = Report(
        folder=folder,
        step=trainer.step,
        stop_reason=trainer.stop_reason,
        seconds=trainer.seconds,
        loss=result.loss,
        perplexity=perplexity(result.loss),
        bits_per_character=bits_per_character(result.loss, result.tokens, count_characters(tokenizer, validation[1:])),
        bigram_perplexity=perplexity(bigram_loss),
    )
    log.append(
        event="final",
        step=trainer.step,
        validation_loss=report.loss,
        perplexity=report.perplexity,
        bits_per_character=report.bits_per_character,
        bigram_loss=bigram_loss,
        seconds=round(trainer.seconds, 3),
    )
    plot_runs([folder], folder / "loss.png")
    return report


def rescued(trainer: Trainer, folder: Path, error: InputError) -> InputError:
    """The last checkpoint could not be saved in the run folder: put it into the system's temporary folder and say so."""
    shelter = Path(tempfile.gettempdir()) / f"minilm-{folder.resolve().name}"
    try:
        path = trainer.write_checkpoint(shelter)
    except InputError:
        return InputError(f"{error}; nor could {shelter} be written: free some space and --resume {folder}")
    return InputError(
        f"{error}; the weights of step {trainer.step} are safe in {path}: free some space, move that folder into "
        f"{folder / 'checkpoints'} and --resume {folder}"
    )


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
    if not which.isdigit() or int(which) not in steps:
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
        result = evaluate_loss(run.model, evaluation_windows(tokens, run.config))
        characters = count_characters(run.tokenizer, tokens[1:])
        del tokens  # unmapped before the folder goes, which Windows insists on
    bits = bits_per_character(result.loss, result.tokens, characters)
    return result.loss, perplexity(result.loss), bits, result.tokens


def evaluation_windows(tokens: np.ndarray, config: RunConfig) -> SequentialWindows:
    """Windows for measuring, in batches of about 2,048 tokens."""
    length = config.model.context_length
    return SequentialWindows(tokens, max(1, 2048 // length), length)


def fitting_vocab_size(wanted: int, tokenizer: Tokenizer) -> int:
    """The tokenizer's size where the model asks for 0; a larger one (padding) is allowed, a smaller one is not."""
    if wanted and wanted < tokenizer.vocab_size:
        raise InputError(
            f"model.vocab_size {wanted} is smaller than the tokenizer's {tokenizer.vocab_size} tokens; leave it 0 to fit it"
        )
    return wanted or tokenizer.vocab_size


def count_characters(tokenizer: Tokenizer, tokens: np.ndarray) -> int:
    """How many characters of text the tokens stand for."""
    if isinstance(tokenizer, CharacterTokenizer):
        return len(tokens)
    decoder = tokenizer.stream_decoder()
    return sum(len(decoder.push(int(token))) for token in tokens) + len(decoder.flush())


def default_folder(corpus: str) -> Path:
    """runs/CORPUS-DATE-TIME, new for every run."""
    name = Path(corpus).stem or "run"
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = Path("runs") / f"{name}-{stamp}"
    number = 2
    while folder.exists():
        folder = Path("runs") / f"{name}-{stamp}-{number}"
        number += 1
    return folder
