"""A job from its options to a folder: train, save, measure, report; and on from a checkpoint.

model/            opens with AutoModelFor... and AutoTokenizer, here and in transformers
report.md         for people                       report.json, pretraining.json    the same, and the options, for programs
loss.png          metrics.jsonl                    checkpoints/    while it trains: what --resume goes on from
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minilm.errors import CheckpointError, InputError
from minilm.files import refuse_used_folder, write_text
from minilm.finetuning.running import require_libraries
from minilm.finetuning.telling import StopOnSignal, TrainingLines
from minilm.metrics import Interval
from minilm.pretraining.options import FAMILIES, PretrainingOptions
from minilm.pretraining.preparing import Prepared, PretrainingTrainer, check_same_data, prepare
from minilm.pretraining.report import Report, measure, write_report
from minilm.training import ProgressCallback, list_checkpoints
from minilm.training.checkpoint import TRAINER_PREFIX, newest_checkpoint
from minilm.training.device_batches import bring_home
from minilm.training.lock import lock_folder, remove_made
from minilm.training.model_files import write_model

MODEL, CHECKPOINTS, JOB = "model", "checkpoints", "pretraining.json"
NAMES = (MODEL, CHECKPOINTS, JOB, "report.md", "report.json", "loss.png", "metrics.jsonl")
Say = Callable[[str], None]


@dataclass
class Result:
    """How a job ended.

    folder: where everything is. steps: of the training. scores: of the validation part; None where a signal stopped the
    training, whose number is `received`: then there is a checkpoint of that moment.
    """

    folder: Path
    steps: int
    scores: dict[str, Interval] | None
    received: int | None = None


class StopAndSave(StopOnSignal):
    """Ctrl-C lets the current step finish, writes a checkpoint and ends the training."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_step_end(args, state, control, **kwargs)
        control.should_save = control.should_save or self.received is not None


def pretrain(options: PretrainingOptions, say: Say = print, progress: bool = True) -> Result:
    """Do the whole job; say gets the lines that tell what is done, progress: bars and evaluations on the way.

    Raises InputError, and leaves no trace, for what `prepare` raises and for a folder that is in use.
    """
    options.check()
    require_libraries()
    folder = options.folder()
    options = replace(options, out=str(folder))
    refuse_used(folder)
    pieces = options.pieces()
    learns = "" if pieces is None else f"   (a tokenizer of {pieces:,} pieces is trained on it first)"
    say(f"data        {', '.join(options.data)}{learns}")
    prepared = prepare(options, progress)
    tell(prepared, folder, say)
    with lock_folder(folder) as made, nothing_without_checkpoint(folder, made):
        refuse_used(folder)  # another process may have written here since
        job = {"family": options.family, "options": options.to_dict(), "data": prepared.fingerprint}
        write_text(folder / JOB, json.dumps(job, ensure_ascii=False, indent=2) + "\n")
        return run(prepared, folder, say, progress, resumed=False)


def resume(folder: str | Path, say: Say = print, progress: bool = True) -> Result:
    """Go on from the newest checkpoint of a job that was interrupted, to the same bits as undisturbed.

    Raises InputError for a folder that holds no such job, or one that is done, and for data that are others now.
    """
    folder = Path(folder).expanduser()
    job = read_job(folder)
    if (folder / MODEL).exists():
        raise InputError(
            f"the pre-training in {folder} is done: its model is {folder / MODEL}; there is nothing to resume"
        )
    require_libraries()
    with lock_folder(folder):
        checkpoint = newest_checkpoint(folder / CHECKPOINTS, TRAINER_PREFIX)
        options = FAMILIES[job["family"]](**{**job["options"], "out": str(folder)})
        say(f"data        {', '.join(options.data)}")
        prepared = prepare(options, progress, checkpoint.path)
        check_same_data(prepared, job["data"])
        tell(prepared, folder, say)
        say(f"resuming    {checkpoint.path}")
        return run(prepared, folder, say, progress, resumed=True)


def read_job(folder: Path) -> dict[str, Any]:
    """pretraining.json of a folder. Raises InputError if it is none of ours."""
    try:
        job = json.loads((folder / JOB).read_text(encoding="utf-8"))
        if job["family"] not in FAMILIES or not isinstance(job["data"], str):
            raise ValueError("it names no family and no data")
        FAMILIES[job["family"]](**job["options"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot resume {folder}: its {JOB} cannot be read ({reason}); give the folder that `minilm pretrain` named"
        ) from error
    return job


def run(prepared: Prepared, folder: Path, say: Say, progress: bool, resumed: bool) -> Result:
    """Train, and unless a signal ended that: save, measure and report."""
    trainer, received, seconds = train(prepared, progress, resumed)
    if received is not None:
        return Result(folder, trainer.step, None, received)
    prepared.tokenizer.model_max_length = prepared.options.max_length
    bring_home(prepared.model, trainer.optimizer)
    write_model(folder / MODEL, prepared.model, prepared.tokenizer)
    prepared.model.to(prepared.options.device)
    shutil.rmtree(prepared.arguments.output_dir, ignore_errors=True)
    say("measuring   the validation part")
    report = Report(prepared, measure(prepared, trainer), trainer.step, seconds)
    for line in write_report(report, folder):
        say(line)
    return Result(folder, trainer.step, report.intervals())


def train(prepared: Prepared, progress: bool, resumed: bool) -> tuple[PretrainingTrainer, int | None, float]:
    """Train the model; returns the Trainer, the number of a signal that ended it early or None, and the seconds."""
    signals = StopAndSave()
    trainer = prepared.trainer([signals])
    trainer.pop_callback(ProgressCallback)
    trainer.add_callback(TrainingLines(disable=None if progress else True))
    started = time.perf_counter()
    with signals:
        trainer.train(resume_from_checkpoint=resumed or None)
    received = signals.received if trainer.step < prepared.options.steps else None
    return trainer, received, time.perf_counter() - started


def tell(prepared: Prepared, folder: Path, say: Say) -> None:
    """What is going to happen."""
    o, p = prepared.options, prepared
    say(f"text        {p.characters[0]:,} characters in {p.documents[0]:,} documents; validation: {p.characters[1]:,} in "
        f"{p.documents[1]:,}")  # fmt: skip
    say(f"examples    {len(p.training):,} training, {len(p.validation):,} validation, of at most {o.max_length} tokens")
    say(f"tokenizer   {o.tokenizer or 'new'}: {len(p.tokenizer):,} tokens")
    say(f"model       {type(p.model).__name__}, {o.size}: {p.model.num_parameters():,} parameters")
    passes = o.steps * o.batch_size * o.gradient_accumulation_steps / len(p.training)
    say(
        f"training    {o.steps:,} steps of {o.batch_size * o.gradient_accumulation_steps} examples: {passes:.1f} times all"
    )
    if o.device != "cpu":
        say(f"device      {o.device}, {o.precision}")
    say(f"folder      {folder}")


def refuse_used(folder: Path) -> None:
    """Raise InputError if `folder` holds a job already, or anything that a job would write, or is none."""
    unfinished = (folder / JOB).exists() and not (folder / MODEL).exists()
    refuse_used_folder(folder, (*NAMES, "config.yaml"), f"go on with --resume {folder}, " if unfinished else "")


@contextmanager
def nothing_without_checkpoint(folder: Path, made: list[Path]) -> Iterator[None]:
    """If the block fails before there is a checkpoint to go on from, take away what it wrote into `folder`."""
    try:
        yield
    except BaseException:
        if not (folder / MODEL).exists() and not checkpoints_in(folder):
            for name in NAMES:
                path = folder / name
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            remove_made(made)
        raise


def checkpoints_in(folder: Path) -> list[Path]:
    try:
        return list_checkpoints(folder / CHECKPOINTS, TRAINER_PREFIX)
    except (CheckpointError, OSError):
        return []
