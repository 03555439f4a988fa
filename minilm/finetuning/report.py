"""The report of a job: report.md for people, report.json for programs, predictions.jsonl with every answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minilm.files import write_text
from minilm.finetuning.pictures import draw_confusion
from minilm.finetuning.preparing import Prepared
from minilm.finetuning.tables import confusion_table, lines_of, number
from minilm.finetuning.task import PARTS, Judgement, Table
from minilm.training import plot_runs

LEVEL = 0.95
TITLES = {
    "classification": "Classification",
    "tagging": "Tagging",
    "qa": "Question answering",
    "translation": "Translation",
    "summarization": "Summarization",
}


@dataclass
class Report:
    """What there is to tell: the job, how its test part was judged, and how the training went.

    loss_sum: of the losses of all steps. trained: how many numbers were trained.
    """

    prepared: Prepared
    judgement: Judgement
    steps: int
    seconds: float
    loss_sum: float
    trained: int

    def to_dict(self) -> dict[str, Any]:
        """report.json."""
        p, j = self.prepared, self.judgement
        parts = (p.training, p.validation, p.test)
        return {
            "task": p.options.task,
            "options": p.options.to_dict(),
            "examples": {name: len(part.examples) for name, part in zip(PARTS, parts)},
            "classes": None if p.labels is None else list(p.labels),
            "parameters": p.model.num_parameters(),
            "trained_parameters": self.trained,
            "max_length": p.max_length,
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "training_loss": self.loss_sum / max(1, self.steps),
            "level": LEVEL,
            "scores": {name: interval._asdict() for name, interval in j.scores.items()},
            "baseline": {"majority": j.majority, "scores": j.baseline_scores, "text": j.baseline},
            "tables": [{"title": t.title, "header": list(t.header), "rows": [list(row) for row in t.rows]} for t in j.tables],
            "confusion": None if j.confusion is None else {
                "labels": list(j.confusion.labels), "counts": j.confusion.counts.tolist()
            },
            "notices": p.notices,
        }  # fmt: skip


def write_report(report: Report, folder: Path) -> Iterator[str]:
    """Write all files of the report into `folder`, each whole or not at all; yields the lines for the terminal."""
    judgement = report.judgement
    answers = "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in judgement.answers)
    write_text(folder / "predictions.jsonl", answers)
    if judgement.confusion is not None:
        draw_confusion(judgement.confusion, folder / "confusion.png")
    plot_runs([folder], folder / "loss.png", report.prepared.task.unit)
    write_text(folder / "report.json", json.dumps(report.to_dict(), ensure_ascii=False, indent=2) + "\n")
    write_text(folder / "report.md", "\n".join(document(report)) + "\n")
    yield ""
    yield from lines_of(score_table(report))
    if judgement.baseline:
        yield ""
        yield judgement.baseline
    for table in judgement.tables:
        yield ""
        yield from lines_of(table)
    if judgement.confusion is not None:
        yield ""
        yield from lines_of(confusion_table(judgement.confusion))
    yield ""
    yield f"report      {folder / 'report.md'}"
    yield f"model       {folder / 'model'}"


def score_table(report: Report) -> Table:
    """The metrics with their intervals, beside what the baseline gets."""
    j = report.judgement
    rows = []
    for name, interval in j.scores.items():
        bounds = f"{number(interval.low, name)} to {number(interval.high, name)}"
        baseline = j.baseline_scores.get(name)
        rows.append((name, number(interval.score, name), bounds, "" if baseline is None else number(baseline, name)))
    header = ("metric", "score", f"{LEVEL:.0%} interval", "baseline")
    return Table(f"Scores on {len(j.answers):,} test examples", header, rows)


def document(report: Report) -> Iterator[str]:
    """The lines of report.md."""
    p, j, o = report.prepared, report.judgement, report.prepared.options
    parts = ", ".join(f"{len(part.examples):,} {name}" for name, part in zip(PARTS, (p.training, p.validation, p.test)))
    trained = "" if report.trained == p.model.num_parameters() else f" ({report.trained:,} trained, with LoRA)"
    origin = o.model or f"new, {o.size}, with a tokenizer of {len(p.tokenizer):,} pieces trained on the training part"
    yield f"# {TITLES[o.task]}: {Path(o.data).name}"
    yield ""
    yield f"- examples: {parts}"
    yield f"- model: {origin}; {p.model.num_parameters():,} parameters{trained}"
    yield (
        f"- training: {report.steps:,} steps of {o.batch_size * o.gradient_accumulation_steps} examples in "
        f"{report.seconds:,.0f} s, learning rate {o.rate():g}, seed {o.seed}"
    )
    yield from (f"- note: {notice}" for notice in p.notices)
    yield ""
    yield from lines_of(score_table(report), "## ")
    yield ""
    yield (
        f"The intervals are percentiles of {o.resamples:,} test sets drawn from this one (bootstrap); they tell what other "
        "test examples would change, not what another seed would."
    )
    if j.baseline:
        yield ""
        yield j.baseline
    for table in j.tables:
        yield ""
        yield from lines_of(table, "## ")
    if j.confusion is not None:
        yield ""
        yield from lines_of(confusion_table(j.confusion), "## ")
        yield ""
        yield "![Confusion matrix](confusion.png)"
    yield ""
    yield "## Training"
    yield ""
    yield "![Loss curve](loss.png)"
    for table in example_tables(j.answers, o.shown, o.seed):
        yield ""
        yield from lines_of(table, "## ")
    yield ""
    yield "All test examples are in predictions.jsonl."


def example_tables(answers: list[dict[str, Any]], shown: int, seed: int) -> Iterator[Table]:
    """Examples right and wrong; where answers are more or less good, the best, the worst, and some drawn."""
    if not shown:
        return
    order = np.random.default_rng(seed).permutation(len(answers)).tolist()
    drawn = [answers[n] for n in order]
    if all(isinstance(answer["right"], bool) for answer in answers):
        wrong = [answer for answer in drawn if not answer["right"]]
        sure = sorted(wrong, key=lambda answer: -answer.get("probability", 0.0))
        kinds = {
            "Right": [answer for answer in drawn if answer["right"]],
            "Wrong, the most certain first" if "probability" in answers[0] else "Wrong": sure,
        }
    else:
        ranked = sorted(answers, key=lambda answer: -answer["right"])
        kinds = {"Drawn at random": drawn, "The best": ranked, "The worst": ranked[::-1]}
    for title, chosen in kinds.items():
        if chosen:
            yield example_table(title, chosen[:shown], len(chosen))


def example_table(title: str, answers: list[dict[str, Any]], total: int) -> Table:
    columns: list[str] = [name for name in ("text", "expected", "predicted", "probability") if name in answers[0]]
    if not isinstance(answers[0]["right"], bool):
        columns.append("right")
    header = ["score" if name == "right" else name for name in columns]
    rows = [[cell(answer[name]) for name in columns] for answer in answers]
    return Table(
        f"Examples: {title}" + (f" ({len(answers)} of {total:,})" if len(answers) < total else ""), header, rows
    )


def cell(value: Any) -> Any:
    """A value for a table: several texts with slashes between."""
    return " / ".join(map(str, value)) if isinstance(value, list) else value
