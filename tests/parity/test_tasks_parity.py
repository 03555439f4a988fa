"""The partner of the task benchmark: the same job in minilm and in transformers, step by step."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests and is not installed")
pytest.importorskip("transformers", reason="transformers is the oracle of these tests and is not installed")

from minilm.bench.tasks_timing import minilm_step, time_steps  # noqa: E402
from minilm.bench.torch_tasks import TransformersPartner, learning_rates  # noqa: E402
from minilm.finetuning import (  # noqa: E402
    ClassificationOptions,
    QuestionAnsweringOptions,
    TaggingOptions,
    TranslationOptions,
    prepare,
)
from minilm.nn import Dropout  # noqa: E402

STEPS = 20
COMMON = {"max_steps": STEPS, "batch_size": 4, "seed": 1, "vocab_size": 120, "learning_rate": 2e-3, "resamples": 20}
NAMES = ("Ann", "Bob", "Cleo", "Dan", "Eve")
TOWNS = ("Rome", "Oslo", "Bonn", "Lima", "Kiel")


def classification(folder: Path):
    rng = np.random.default_rng(0)
    rows = [
        (label, " ".join(rng.choice(["film", "plot", "end"], rng.integers(1, 6)))) for label in ("good", "bad") * 20
    ]
    lines = [f"{label}\t{text} {'warm' if label == 'good' else 'cold'}" for label, text in rows]
    return table(folder, "label\ttext", lines), ClassificationOptions, {"max_length": 12}


def tagging(folder: Path):
    rows = [f"{name} B-PER\nlives O\nin O\n{town} B-LOC\n" for name in NAMES for town in TOWNS]
    path = folder / "names.conll"
    path.write_text("\n".join(rows))
    return path, TaggingOptions, {"max_length": 24}


def qa(folder: Path):
    paragraphs = []
    for n, (name, town) in enumerate((name, town) for name in NAMES for town in TOWNS):
        context = f"It is said that {name} lives in {town} near the river."
        question = {"id": str(n), "question": "Who lives there?", "answers": [{"text": name, "answer_start": 16}]}
        paragraphs.append({"context": context, "qas": [question]})
    path = folder / "questions.json"
    path.write_text(json.dumps({"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}))
    return path, QuestionAnsweringOptions, {"max_length": 48, "stride": 8}


def translation(folder: Path):
    lines = [f"{name} is in {town}.\t{name} 在 {town}。" for name in NAMES for town in TOWNS]
    return (
        table(folder, "source\ttarget", lines),
        TranslationOptions,
        {"beams": 2, "max_target_length": 10, "vocab_size": 70},
    )


def transformer(folder: Path):
    path, kind, options = translation(folder)
    recipe = {"label_smoothing": 0.1, "scheduler": "cosine", "dropout": 0.0}
    return path, kind, {**options, **recipe, "model_type": "transformer", "hidden_size": 32, "num_hidden_layers": 1}


def transformer_pre_norm(folder: Path):
    path, kind, options = transformer(folder)
    return path, kind, {**options, "model_type": "transformer_pre_norm", "scheduler": "constant"}


def table(folder: Path, head: str, lines: list[str]) -> Path:
    path = folder / "data.tsv"
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


def without_dropout(model):
    """The two engines draw other random numbers, so for equal losses there must be none."""
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout_rate"):
        if hasattr(model.config, name):
            setattr(model.config, name, 0.0)
    for module in model.modules():
        if isinstance(module, Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0


JOBS = [classification, tagging, qa, translation, transformer, transformer_pre_norm]


@pytest.fixture(params=JOBS, ids=lambda maker: maker.__name__)
def job(request, tmp_path):
    """(prepared, its Trainer ready for the first step, the partner with the same weights)."""
    path, kind, options = request.param(tmp_path)
    prepared = prepare(kind(**{**COMMON, **options, "data": str(path), "out": str(tmp_path / "out")}))
    without_dropout(prepared.model)
    partner = TransformersPartner(prepared.model, tmp_path / "initial", prepared.arguments, threads=1)
    trainer = prepared.trainer()
    trainer.prepare()
    return prepared, trainer, partner


def test_losses_over_twenty_steps_and_the_scores_are_the_same(job):
    prepared, trainer, partner = job
    theirs = partner.train(trainer)
    trainer = prepared.trainer()
    trainer.train()
    ours = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert len(ours) == len(theirs) == STEPS
    assert theirs[-1] < theirs[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)
    rows, generation = prepared.test.rows, prepared.task.generation()
    expected = prepared.judge(partner.predict(trainer, rows, generation or None))
    got = prepared.judge(trainer.predict(rows, **generation).predictions)
    assert {k: list(v) for k, v in got.scores.items()} == {
        k: pytest.approx(list(v)) for k, v in expected.scores.items()
    }
    assert [answer["predicted"] for answer in got.answers] == [answer["predicted"] for answer in expected.answers]


def test_a_difference_shows(job):
    """The comparison is no comparison of something with itself: another rate, and the losses part."""
    _prepared, trainer, partner = job
    batch = trainer.next_batches()[0][0]
    rate = learning_rates(trainer)(5)
    first = [minilm_step(trainer, batch, rate), partner.step(batch, rate * 1.1)]
    second = [minilm_step(trainer, batch, rate), partner.step(batch, rate)]
    assert first[0] == pytest.approx(first[1], abs=1e-5)
    assert abs(second[0] - second[1]) > 1e-4


def test_groups_and_rates_are_the_trainers(job):
    _prepared, trainer, partner = job
    sizes = [sum(p.numel() for p in group["params"]) for group in partner.optimizer.param_groups]
    own = [sum(p.data.size for p in group["params"]) for group in trainer.optimizer.param_groups]
    assert sizes == own
    assert len(sizes) == 2
    assert [g["weight_decay"] for g in partner.optimizer.param_groups] == [0.01, 0.0]
    rates = []
    for _ in range(STEPS):
        rates.append(trainer.scheduler.get_last_lr()[0])
        trainer.scheduler.step()
    assert [learning_rates(trainer)(step) for step in range(STEPS)] == pytest.approx(rates)


def test_both_are_timed_on_the_same_batches(job):
    _, trainer, partner = job
    times = time_steps(trainer, partner, 6, pause=0)
    assert len(times.minilm) == len(times.transformers) == 6
    assert min(times.minilm) > 0
    assert times.ratio > 0
