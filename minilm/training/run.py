"""A run: a folder that holds everything about one training, and the steps from a corpus to a trained model.

config.yaml  metrics.jsonl  loss.png  tokenizer/  tokens/  checkpoints/
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from minilm.data import CorpusText, RandomWindows, check_length, open_corpus, prepare_tokens
from minilm.devices import as_device
from minilm.errors import InputError
from minilm.metrics import bits_per_character, evaluate_loss, perplexity
from minilm.models import GPT
from minilm.models.ngram import BigramModel
from minilm.optional import require
from minilm.text import Tokenizer, load_tokenizer, train_tokenizer
from minilm.training.callbacks import Callback, EarlyStopping, LogMetrics
from minilm.training.checkpoint import list_checkpoints, newest_checkpoint
from minilm.training.config import RunConfig
from minilm.training.corpus_trainer import CorpusTrainer
from minilm.training.lock import leaving_no_trace, lock_folder
from minilm.training.metrics_log import MetricsLog
from minilm.training.plots import plot_runs
from minilm.training.threads import limited_threads, thread_limit
from minilm.training.trained import count_characters, evaluation_windows

Say = Callable[[str], None]


@dataclass
class Report:
    """How a run ended, measured over the whole validation split. If a signal stopped it, nothing was measured: NaN."""

    folder: Path
    step: int
    stop_reason: str | None
    interrupted: bool
    seconds: float
    loss: float = math.nan
    perplexity: float = math.nan
    bits_per_character: float = math.nan
    bigram_perplexity: float = math.nan


@dataclass
class Run:
    """A run that is ready to train."""

    folder: Path
    config: RunConfig
    tokenizer: Tokenizer
    training: np.ndarray
    validation: np.ndarray
    log: MetricsLog
    trainer: CorpusTrainer


def start_run(
    config: RunConfig, folder: Path, callbacks: Sequence[Callback] = (), say: Say = print, progress: bool = True
) -> Report:
    """Train a new run in `folder`.

    say gets the lines that tell what is done; progress: bars for what takes time before the training.
    Raises InputError, and leaves no trace, if something given cannot work.
    """
    config.check()
    as_device(config.device)
    require_libraries()
    refuse_used_folder(folder)
    corpus = open_corpus(config.corpus, progress=progress)
    say(f"corpus      {corpus.name}: {corpus.description}")
    with lock_folder(folder) as made:
        refuse_used_folder(folder)  # another process may have trained here since
        with leaving_no_trace(folder, made):
            tokenizer = train_tokenizer(config.tokenizer, corpus.iter_text(), progress=progress and sys.stderr.isatty())
            tokenizer.save(folder / "tokenizer")
            shape = replace(config.model, vocab_size=fitting_vocab_size(config.model.vocab_size, tokenizer))
            run = prepare(replace(config, model=shape), folder, corpus, tokenizer, callbacks, progress)
            run.config.save(folder / "config.yaml")
        return train(run, say, progress)


def resume_run(
    config: RunConfig, folder: Path, callbacks: Sequence[Callback] = (), say: Say = print, progress: bool = True
) -> Report:
    """Continue the run in `folder` from its newest whole checkpoint; `config` is its own, with changes to training allowed.

    Raises InputError, and leaves the run as it was, if something given cannot work.
    """
    config.check()
    as_device(config.device)
    require_libraries()
    refuse_changes(config, RunConfig.load(folder / "config.yaml"), folder)
    with lock_folder(folder):
        checkpoint = newest_checkpoint(folder / "checkpoints") if list_checkpoints(folder / "checkpoints") else None
        step = checkpoint.step if checkpoint else 0
        if config.training.max_steps < step:
            raise InputError(
                f"training.max_steps is {config.training.max_steps}, but {folder} has reached step {step} already; "
                "ask for at least so many"
            )
        corpus = open_corpus(config.corpus, progress=progress)
        run = prepare(config, folder, corpus, load_tokenizer(folder / "tokenizer"), callbacks, progress)
        if checkpoint:
            run.trainer.resume(checkpoint)
        run.log.forget_after(step)
        config.save(folder / "config.yaml")
        say(f"resumed     at step {step} of {config.training.max_steps}")
        if step == config.training.max_steps:
            say(f"finished    already; to train on: minilm train --resume {folder} --training.max_steps {2 * step}")
        return train(run, say, progress)


def prepare(
    config: RunConfig,
    folder: Path,
    corpus: CorpusText,
    tokenizer: Tokenizer,
    callbacks: Sequence[Callback],
    progress: bool,
) -> Run:
    """Tokens, model, batches and trainer of a run, new or resumed."""
    options, context_length = config.training, config.model.context_length
    known = set((folder / "tokens").glob("tokens-*.npy"))
    training, validation = prepare_tokens(corpus, tokenizer, folder / "tokens", config.validation_fraction, progress)
    written = set((folder / "tokens").glob("tokens-*.npy")) - known
    if known and written:
        del training, validation
        for path in written:
            path.unlink()
            path.with_suffix(".json").unlink(missing_ok=True)
        raise InputError(
            f"the corpus {corpus.name} has changed since {folder} began to learn from it; put the old text back, or "
            "start a new run with --out"
        )
    check_length(training, context_length, "training")
    check_length(validation, context_length, "validation")
    # one stream of random numbers for the model (weights, dropout), one for the batches
    model_generator, batch_generator = np.random.default_rng(options.seed).spawn(2)
    model = GPT(config.model, model_generator).to(config.device)
    batches = RandomWindows(training, options.batch_size, context_length, batch_generator)
    measured = validation[: options.eval_tokens + 1] if options.eval_tokens else validation
    log = MetricsLog(folder / "metrics.jsonl")
    callbacks = [*callbacks, LogMetrics(log)]
    if options.early_stopping_patience:
        callbacks.append(EarlyStopping(options.early_stopping_patience))
    windows = evaluation_windows(measured, config)
    trainer = CorpusTrainer(model, options, batches, windows, folder / "checkpoints", callbacks)
    trainer.compute_in(config.precision)
    return Run(folder, config, tokenizer, training, validation, log, trainer)


def train(run: Run, say: Say, progress: bool) -> Report:
    """Train, then measure the whole validation split, compare with a bigram model, and draw the loss curve."""
    with limited_threads(thread_limit(run.config.model, run.config.training.batch_size)):
        return train_and_measure(run, say, progress)


def train_and_measure(run: Run, say: Say, progress: bool) -> Report:
    """Train to the end, measure the validation text, draw the loss curve; an interrupted run is not measured."""
    trainer = run.trainer
    say(f"tokens      {len(run.training):,} for training, {len(run.validation):,} for validation; "
        f"{run.tokenizer.vocab_size:,} different")  # fmt: skip
    say(f"model       {trainer.model.num_parameters():,} parameters")
    say(f"run folder  {run.folder}")
    try:
        trainer.train()
    except InputError as error:
        raise rescued(run, error) from error
    report = Report(run.folder, trainer.step, trainer.stop_reason, trainer.interrupted, trainer.seconds)
    if not trainer.interrupted:  # who sent a signal is waiting for the end
        measure(run, report, progress)
    try:
        plot_runs([run.folder], run.folder / "loss.png")
    except InputError as error:  # the run is worth more than its picture
        say(f"warning: no loss curve: {error}")
    return report


def measure(run: Run, report: Report, progress: bool) -> None:
    """Fill in the report, and write it into the metrics log."""
    result = evaluate_loss(
        run.trainer.model, evaluation_windows(run.validation, run.config), progress and sys.stderr.isatty()
    )
    bigram_loss = BigramModel.fit(run.training, run.config.model.vocab_size).loss(run.validation)
    characters = count_characters(run.tokenizer, run.validation[1:])
    report.loss, report.perplexity = result.loss, perplexity(result.loss)
    report.bits_per_character = bits_per_character(result.loss, result.tokens, characters)
    report.bigram_perplexity = perplexity(bigram_loss)
    run.log.append(
        event="final",
        step=report.step,
        validation_loss=report.loss,
        perplexity=report.perplexity,
        bits_per_character=report.bits_per_character,
        bigram_loss=bigram_loss,
        seconds=round(report.seconds, 3),
    )


def rescued(run: Run, error: InputError) -> InputError:
    """The last checkpoint could not be saved in the run folder: put it into the system's temporary folder and say so."""
    try:
        shelter = Path(tempfile.mkdtemp(prefix=f"minilm-{run.folder.resolve().name}-"))
        path = run.trainer.write_checkpoint(shelter)
    except (OSError, InputError):
        return InputError(
            f"{error}; nor could {tempfile.gettempdir()} be written: mend that, then continue with "
            f"minilm train --resume {run.folder}"
        )
    return InputError(
        f"{error}; the weights of step {run.trainer.step} are safe in {path}: mend that, move this folder into "
        f"{run.folder / 'checkpoints'}, then continue with minilm train --resume {run.folder}"
    )


def require_libraries() -> None:
    """Raise MissingDependencyError now for what would be missed later, maybe only at the end of the training."""
    require("tqdm", "the progress bar")
    require("safetensors.numpy", "saving a checkpoint")
    require("matplotlib.figure", "drawing loss curves")


def refuse_used_folder(folder: Path) -> None:
    """Raise InputError if `folder` holds a run, or what is left of one."""
    if (folder / "config.yaml").exists():
        raise InputError(f"{folder} already holds a run; continue it with --resume {folder}, or choose another --out")
    for name in ("checkpoints", "metrics.jsonl", "loss.png"):
        if (folder / name).exists():
            raise InputError(f"{folder} has {name} of something else in it; choose another --out, or move that away")


def refuse_changes(config: RunConfig, saved: RunConfig, folder: Path) -> None:
    """Raise InputError that names the first option which a resumed run cannot change."""
    pairs: list[tuple[str, Any, Any]] = [
        (name, config, saved) for name in ("corpus", "tokenizer", "validation_fraction")
    ]
    pairs += [(f.name, config.model, saved.model) for f in fields(saved.model)]
    for name, asked, had in pairs:
        if getattr(asked, name) != getattr(had, name):
            option = f"model.{name}" if asked is config.model else name
            raise InputError(
                f"{option} cannot change when a run is resumed: it is {getattr(had, name)} in {folder}, not "
                f"{getattr(asked, name)}; leave it, or start a new run with --out"
            )


def fitting_vocab_size(wanted: int, tokenizer: Tokenizer) -> int:
    """The tokenizer's size where the model asks for 0; a larger one (padding) is allowed, a smaller one is not."""
    if wanted and wanted < tokenizer.vocab_size:
        raise InputError(
            f"model.vocab_size {wanted} is smaller than the tokenizer's {tokenizer.vocab_size} tokens; leave it 0 to fit it"
        )
    return wanted or tokenizer.vocab_size


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
