"""How well a model has learnt its text: measured on the validation part, written for people and for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minilm.files import write_text
from minilm.finetuning.tables import lines_of
from minilm.finetuning.task import Table
from minilm.metrics import Interval, bootstrap_interval
from minilm.metrics.evaluation import evaluation_mode
from minilm.pretraining.families import Judged
from minilm.pretraining.preparing import Prepared, PretrainingTrainer
from minilm.training import plot_runs

NAMES = {"mlm": "hidden words", "nsp": "next sentence", "span": "what was cut out", "token": "next token"}
PLACES = {"mlm": "hidden words", "nsp": "pairs", "span": "tokens to write", "token": "next tokens"}
BOOTSTRAP_SEED = 0
LEVEL = 0.95


@dataclass
class Measured:
    """What was measured of one thing that the model names.

    loss: mean −log p, in nats. accuracy: how often the most probable was right. places: how many there were.
    baseline_loss, baseline_accuracy: of knowing how often each answer occurs, and nothing else.
    """

    loss: Interval
    accuracy: Interval
    places: int
    baseline_loss: float
    baseline_accuracy: float


@dataclass
class Measurement:
    """All that was measured. bits_per_character: of a model that names every token of a text; else None."""

    measured: dict[str, Measured]
    bits_per_character: float | None = None
    examples: list[tuple[str, ...]] = field(default_factory=list)


@dataclass
class Report:
    """What there is to tell."""

    prepared: Prepared
    measurement: Measurement
    steps: int
    seconds: float

    def intervals(self) -> dict[str, Interval]:
        """Every score with its interval, by name."""
        found: dict[str, Interval] = {}
        for name, m in self.measurement.measured.items():
            found |= {f"{name} loss": m.loss, f"{name} accuracy": m.accuracy}
            if name != "nsp":
                found[f"{name} perplexity"] = Interval(*(perplexity(value) for value in m.loss))
        return found

    def to_dict(self) -> dict[str, Any]:
        """report.json."""
        p, m = self.prepared, self.measurement
        return {
            "family": p.options.family,
            "options": p.options.to_dict(),
            "examples": {"training": len(p.training), "validation": len(p.validation)},
            "characters": dict(zip(("training", "validation"), p.characters)),
            "vocabulary": len(p.tokenizer),
            "parameters": p.model.num_parameters(),
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "level": LEVEL,
            "scores": {name: interval._asdict() for name, interval in self.intervals().items()},
            "baseline": {
                name: {"loss": v.baseline_loss, "accuracy": v.baseline_accuracy} for name, v in m.measured.items()
            },
            "bits_per_character": m.bits_per_character,
        }


def measure(prepared: Prepared, trainer: PretrainingTrainer) -> Measurement:
    """Judge the model on the validation part, with the same masks as on the way."""
    trainer.compute_metrics = None
    output = trainer.predict(prepared.validation)
    judged = prepared.family.judged(output.predictions, output.label_ids)
    baseline = prepared.family.baseline(prepared.training, output.label_ids, prepared.tokenizer)
    found = {name: measured(values, *baseline[name], prepared.options.resamples) for name, values in judged.items()}
    bits = None
    if "token" in judged:
        bits = float(judged["token"].loss.sum()) / math.log(2) / prepared.characters[1]
    return Measurement(found, bits, examples(prepared, trainer))


def measured(judged: Judged, baseline_loss: float, baseline_accuracy: float, resamples: int) -> Measured:
    """Means over all places, with intervals by resampling rows."""
    counts = judged.counted.sum(1)

    def mean(values: np.ndarray) -> Interval:
        sums = values.sum(1)

        def metric(rows: np.ndarray) -> float:
            return float(sums[rows].sum() / max(1, counts[rows].sum()))

        return bootstrap_interval(metric, len(counts), np.random.default_rng(BOOTSTRAP_SEED), resamples, LEVEL)

    return Measured(mean(judged.loss), mean(judged.right), int(counts.sum()), baseline_loss, baseline_accuracy)


def examples(prepared: Prepared, trainer: PretrainingTrainer) -> list[tuple[str, ...]]:
    """(text, expected, predicted) of the first rows of validation."""
    rows = prepared.validation[: prepared.options.shown]
    if not rows:
        return []
    with evaluation_mode(prepared.model), trainer.fixed_masks():
        batch = trainer.features.batch(rows, range(len(rows)))
        return list(prepared.family.examples(prepared.model, prepared.tokenizer, rows, batch))


def perplexity(loss: float) -> float:
    return math.exp(min(loss, 700.0))


def write_report(report: Report, folder: Path) -> Iterator[str]:
    """Write all files of the report into `folder`, each whole or not at all; yields the lines for the terminal."""
    plot_runs([folder], folder / "loss.png", unit_of(report.prepared))
    write_text(folder / "report.json", json.dumps(report.to_dict(), ensure_ascii=False, indent=2) + "\n")
    write_text(folder / "report.md", "\n".join(document(report)) + "\n")
    yield ""
    yield from lines_of(score_table(report))
    if report.measurement.bits_per_character is not None:
        yield ""
        yield f"{report.measurement.bits_per_character:.3f} bits per character"
    yield ""
    yield f"report      {folder / 'report.md'}"
    yield f"model       {folder / 'model'}"
    for line in report.prepared.family.how_to_use(str(folder / "model")):
        yield f"use it      {line}"


def unit_of(prepared: Prepared) -> str:
    """Of the training's loss."""
    joint = prepared.options.family == "bert" and getattr(prepared.options, "nsp", False)
    return "nats per hidden word + nats per pair" if joint else "nats per token"


def score_table(report: Report) -> Table:
    """Losses, perplexities and accuracies beside the baseline."""
    rows: list[tuple[Any, ...]] = []
    for name, m in report.measurement.measured.items():
        what = NAMES[name]
        rows.append((f"{what}: loss", *bounded(m.loss), f"{m.baseline_loss:.3f}"))
        if name != "nsp":
            values = Interval(*map(perplexity, m.loss))
            rows.append((f"{what}: perplexity", *bounded(values, 1), f"{perplexity(m.baseline_loss):.1f}"))
        rows.append((f"{what}: accuracy", *bounded(m.accuracy), f"{m.baseline_accuracy:.3f}"))
    places = ", ".join(f"{m.places:,} {PLACES[name]}" for name, m in report.measurement.measured.items())
    header = ("metric", "score", f"{LEVEL:.0%} interval", "by frequency")
    return Table(f"Scores on the validation part ({places})", header, rows)


def bounded(interval: Interval, digits: int = 3) -> tuple[str, str]:
    score, low, high = (f"{value:,.{digits}f}" for value in interval)
    return score, f"{low} to {high}"


def document(report: Report) -> Iterator[str]:
    """The lines of report.md."""
    p, o = report.prepared, report.prepared.options
    yield f"# Pre-training of {o.family}: {', '.join(Path(path).name for path in o.data)}"
    yield ""
    yield (
        f"- text: {p.characters[0]:,} characters in {p.documents[0]:,} documents, validation {p.characters[1]:,} in "
        f"{p.documents[1]:,}"
    )
    yield f"- examples: {len(p.training):,} training, {len(p.validation):,} validation, of at most {o.max_length} tokens"
    yield f"- tokenizer: {o.tokenizer or f'{o.kind}, trained on the training part'}, {len(p.tokenizer):,} tokens"
    yield f"- model: {type(p.model).__name__}, {o.size}, {p.model.num_parameters():,} parameters"
    yield (
        f"- training: {report.steps:,} steps of {o.batch_size * o.gradient_accumulation_steps} examples in "
        f"{report.seconds:,.0f} s, learning rate {o.rate():g}, seed {o.seed}"
    )
    yield ""
    yield from lines_of(score_table(report), "## ")
    yield ""
    yield (
        "Losses are in nats, perplexity is exp(loss). The intervals are percentiles of "
        f"{o.resamples:,} validation sets drawn from this one (bootstrap). Beside them what an answer by frequency would get, "
        "which knows how often each answer occurs in the training part and nothing of the text around."
    )
    if report.measurement.bits_per_character is not None:
        yield ""
        yield f"Bits per character: {report.measurement.bits_per_character:.3f}."
    yield ""
    yield "## Training"
    yield ""
    yield "![Loss curve](loss.png)"
    if report.measurement.examples:
        yield ""
        header = ("text", "expected", "predicted")
        yield from lines_of(Table("Examples", header, report.measurement.examples), "## ")
    yield ""
    yield "## The model"
    yield ""
    for line in p.family.how_to_use("model"):
        yield f"- `{line}`"
