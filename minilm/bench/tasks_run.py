"""One row of the table: minilm trains, transformers trains the same, a baseline is fitted, and all are judged alike."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minilm.bench import tasks_baselines as baselines
from minilm.bench.tasks_rows import Row
from minilm.bench.tasks_timing import time_steps
from minilm.bench.torch_tasks import TransformersPartner
from minilm.finetuning import FinetuningOptions, Prepared, prepare
from minilm.finetuning.judging import intervals
from minilm.metrics import Interval, answer_statistics, average_scores, entity_counts

Tell = Callable[[str], None]
Scores = dict[str, Interval]


@dataclass
class Job:
    """A row with everything it needs: where the data and the encoder are, how many threads PyTorch may use."""

    row: Row
    data: Path
    encoder: str
    threads: int
    tell: Tell = print
    steps: int = 0  # so many instead of the recipe's, for a quick look

    def options(self, folder: str | Path) -> FinetuningOptions:
        options = self.row.make(self.data, self.encoder, Path(folder))
        if self.steps:
            options.max_steps = self.steps
        return options


def run_minilm(job: Job) -> dict[str, Any]:
    """Train and judge with minilm, as `minilm finetune` does."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(job.options(folder))
        trainer = prepared.trainer()
        clock = Clock()
        trainer.train()
        training = clock.read()
        clock = Clock()
        trainer.compute_metrics = None  # of validation, whose examples it knows; the judgement has its own
        predictions = trainer.predict(prepared.test.rows, **generation(prepared)).predictions
        losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return {**result(job, prepared, prepared.judge(predictions).scores, losses, training, clock), "steps": trainer.step}


def run_transformers(job: Job) -> dict[str, Any]:
    """The same job trained and asked by transformers, judged by minilm's metrics."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(job.options(folder))
        partner = TransformersPartner(prepared.model, Path(folder) / "initial", prepared.arguments, job.threads)
        trainer = prepared.trainer()
        trainer.prepare()
        every = max(1, trainer.max_steps // 20)
        clock = Clock()
        tell = teller(job, trainer.max_steps, every)
        losses = partner.train(trainer, tell)
        training = clock.read()
        clock = Clock()
        predictions = partner.predict(trainer, prepared.test.rows, generation(prepared) or None)
    means = [float(np.mean(losses[i : i + every])) for i in range(0, len(losses), every)]
    scores = prepared.judge(predictions).scores
    return {**result(job, prepared, scores, means, training, clock), "steps": len(losses)}


def run_times(job: Job, steps: int) -> dict[str, Any]:
    """The time per step of both engines; see tasks_timing.py."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(job.options(folder))
        partner = TransformersPartner(prepared.model, Path(folder) / "initial", prepared.arguments, job.threads)
        trainer = prepared.trainer()
        trainer.prepare()
        times = time_steps(trainer, partner, steps)
    ours, theirs = times.medians
    job.tell(f"a step: minilm {1e3 * ours:.0f} ms, transformers {1e3 * theirs:.0f} ms, ratio {times.ratio:.2f}")
    seconds = {"minilm": times.minilm, "transformers": times.transformers}
    return {"ratio": times.ratio, "medians": [ours, theirs], "threads": job.threads, "seconds": seconds}


def run_baselines(job: Job) -> list[dict[str, Any]]:
    """Simple methods on the same parts, the best first."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(job.options(folder))
    found = []
    for made in baselines_of(prepared):
        scores = judge_answers(prepared, made.predictions)
        found.append({"name": made.name, "scores": {name: list(value) for name, value in scores.items()}})
        job.tell(f"{made.name}: {told(scores)}")
    return sorted(found, key=lambda one: -next(iter(one["scores"].values()))[0])


def baselines_of(prepared: Prepared) -> list[baselines.Baseline]:
    """The baselines that fit a task."""
    training, validation, test = (part.examples for part in (prepared.training, prepared.validation, prepared.test))
    task = prepared.options.task
    if task == "classification":
        return [baselines.classify(training, validation, test)]
    if task == "tagging":
        return [baselines.tag(training, test), baselines.frequent_tag(training, test)]
    if task == "qa":
        return [baselines.answer(training, test)]
    if task == "translation":
        return [baselines.translate(training, test)]
    return [baselines.lead(test), baselines.summarize(training, test)]


def judge_answers(prepared: Prepared, answers: list[Any]) -> Scores:
    """The scores of answers in words, as `Prepared.judge` has them for a model's arrays; the most important score first."""
    task, examples, resamples = prepared.options.task, prepared.test.examples, prepared.options.resamples
    if task == "classification":
        number = {name: n for n, name in enumerate(prepared.labels or ())}
        one_hot = np.eye(len(number))[[number[answer] for answer in answers]] * 100  # (N, classes)
        return prepared.judge(one_hot).scores
    if task == "tagging":
        _, counts = entity_counts(answers, [example.tags for example in examples])
        return intervals(
            {"entity F1": lambda rows: average_scores(counts[rows].sum(0), "micro").f1}, len(examples), resamples
        )
    if task == "qa":
        statistics = answer_statistics(answers, [list(example.answer_texts) for example in examples])
        metrics = {
            "exact match": lambda rows: float(statistics[rows, 0].mean()),
            "F1": lambda rows: float(statistics[rows, 1].mean()),
        }
        return intervals(metrics, len(examples), resamples)
    return prepared.judge(answers).scores


def generation(prepared: Prepared) -> dict[str, Any]:
    """Options of generate(), for tasks that write texts."""
    made = getattr(prepared.task, "generation", None)
    return {} if made is None else made()


class Clock:
    """Seconds on the wall and of the processor: on a machine that does other things too, they differ."""

    def __init__(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        return {
            "wall": round(time.perf_counter() - self.wall, 2),
            "processor": round(time.process_time() - self.processor, 2),
        }


def result(
    job: Job, prepared: Prepared, scores: Scores, losses: list[float], training: dict[str, float], clock: Clock
) -> dict[str, Any]:
    """What is written down of one engine's run."""
    job.tell(f"trained in {training['wall']:.0f} s; {told(scores)}")
    return {
        "scores": {name: list(value) for name, value in scores.items()},
        "losses": losses,
        "training_seconds": training,
        "prediction_seconds": clock.read(),
        "threads": job.threads,
        "parameters": int(prepared.model.num_parameters()),
        "examples": {name: len(getattr(prepared, name).examples) for name in ("training", "validation", "test")},
    }


def told(scores: Mapping[str, Interval]) -> str:
    """The scores in a line."""
    return ", ".join(f"{name} {value.score:.4g} [{value.low:.4g}, {value.high:.4g}]" for name, value in scores.items())


def teller(job: Job, steps: int, every: int) -> Callable[[int, float], None]:
    """Says now and then how far the training is."""

    def tell(step: int, loss: float) -> None:
        if step % every == 0:
            job.tell(f"transformers, step {step} of {steps}: loss {loss:.4f}")

    return tell
