"""A job from its options to a folder: train, save the model, judge it on the test part, write the report.

model/            opens with Auto...from_pretrained, and AutoTokenizer     adapter/     with LoRA: the adapters alone
report.md         for people                                               report.json  the same for programs
confusion.png     loss.png     metrics.jsonl     predictions.jsonl
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from minilm.files import refuse_used_folder
from minilm.finetuning.options import FinetuningOptions
from minilm.finetuning.preparing import Prepared, prepare
from minilm.finetuning.report import Report, write_report
from minilm.finetuning.task import Judgement
from minilm.finetuning.telling import StopOnSignal, TrainingLines
from minilm.nn.lora import has_adapters, merge_lora
from minilm.optional import require
from minilm.training import ProgressCallback, Trainer, save_adapter
from minilm.training.device_batches import bring_home
from minilm.training.lock import leaving_no_trace, lock_folder
from minilm.training.model_files import write_model

MODEL, ADAPTER, CHECKPOINTS = "model", "adapter", "checkpoints"
NAMES = (
    MODEL, ADAPTER, CHECKPOINTS, "report.md", "report.json", "confusion.png", "loss.png", "metrics.jsonl",
    "predictions.jsonl",
)  # fmt: skip
Say = Callable[[str], None]


@dataclass
class Result:
    """How a job ended.

    folder: where everything is. steps: of the training. judgement: of the test part; None where a signal stopped the
    training, whose number is `received`: then the model is saved as it was, and nothing is judged.
    """

    folder: Path
    steps: int
    judgement: Judgement | None
    received: int | None = None


def finetune(options: FinetuningOptions, say: Say = print, progress: bool = True) -> Result:
    """Do the whole job; say gets the lines that tell what is done, progress: bars and evaluations on the way.

    Raises InputError, and leaves no trace, for what `prepare` raises and for a folder that is in use.
    """
    options.check()
    require_libraries()
    folder = options.folder()
    options = replace(options, out=str(folder))
    refuse_used_folder(folder, (*NAMES, "config.yaml"))
    say(f"data        {options.data}" + ("" if options.model else "   (a tokenizer is trained on it first)"))
    prepared = prepare(options, progress)
    tell(prepared, folder, say)
    with lock_folder(folder) as made, leaving_no_trace(folder, made):
        refuse_used_folder(folder, (*NAMES, "config.yaml"))  # another process may have written here since
        started = time.perf_counter()
        trainer, received = train(prepared, progress)
        seconds = time.perf_counter() - started
        trained = save(prepared, folder)
    if received is not None:
        return Result(folder, trainer.step, None, received)
    say("judging     the test part")
    prepared.model.to(options.device)
    trainer.compute_metrics = None  # of validation; the judgement has its own
    predictions = trainer.predict(prepared.test.rows, **prepared.task.generation()).predictions
    report = Report(prepared, prepared.judge(predictions), trainer.step, seconds, float(trainer.total_loss), trained)
    for line in write_report(report, folder):
        say(line)
    return Result(folder, trainer.step, report.judgement)


def train(prepared: Prepared, progress: bool) -> tuple[Trainer, int | None]:
    """Train the model; returns the Trainer, and the number of a signal that ended it early, or None."""
    signals = StopOnSignal()
    trainer = prepared.trainer([signals])
    trainer.pop_callback(ProgressCallback)
    trainer.add_callback(TrainingLines(disable=None if progress else True))
    with signals:
        trainer.train()
    bring_home(prepared.model, trainer.optimizer)
    shutil.rmtree(prepared.arguments.output_dir, ignore_errors=True)  # the model itself is saved in its own folder
    return trainer, signals.received


def save(prepared: Prepared, folder: Path) -> int:
    """Write the model with its tokenizer, and the adapters, which become part of it; returns how many numbers were trained."""
    model = prepared.model
    trained = sum(p.data.size for p in model.parameters() if p.requires_grad)
    if has_adapters(model):
        save_adapter(model, folder / ADAPTER)
        merge_lora(model)
    generation = prepared.task.generation()
    if generation:
        config = model.config
        tokens = ("pad_token_id", "eos_token_id", "decoder_start_token_id")
        known = {name: getattr(config, name) for name in tokens if getattr(config, name, None) is not None}
        model.generation_config = {**known, **dict(model.generation_config), **generation}
    write_model(folder / MODEL, model, prepared.tokenizer)
    return trained


def tell(prepared: Prepared, folder: Path, say: Say) -> None:
    """What is going to happen."""
    options, parts = prepared.options, (prepared.training, prepared.validation, prepared.test)
    names = ("training", "validation", "test")
    say("examples    " + ", ".join(f"{len(part.examples):,} {name}" for name, part in zip(names, parts)))
    if prepared.labels:
        say(f"classes     {len(prepared.labels)}: {', '.join(prepared.labels[:12])}"
            + (", ..." if len(prepared.labels) > 12 else ""))  # fmt: skip
    parameters = prepared.model.parameters()
    trained = sum(p.data.size for p in parameters if p.requires_grad)
    origin = options.model or f"new, {options.size}"
    say(f"model       {origin}: {prepared.model.num_parameters():,} parameters, {trained:,} of them trained")
    for notice in prepared.notices:
        say(f"note        {notice}")
    say(f"training    {prepared.arguments.max_steps:,} steps of {options.batch_size} examples")
    if options.device != "cpu":
        say(f"device      {options.device}, {options.precision}")
    say(f"folder      {folder}")


def require_libraries() -> None:
    """Raise MissingDependencyError now for what would be missed after the training."""
    require("tqdm", "the progress bar")
    require("safetensors.numpy", "saving a model")
    require("matplotlib.figure", "drawing the report's pictures")
