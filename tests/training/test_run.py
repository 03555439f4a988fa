"""A run as a library: what start_run leaves in its folder, and who may use the folder."""

import dataclasses
import math
import os
import sys

import numpy as np
import pytest
import yaml
from command_line import some_text
from run_cases import STEPS, At, make_config, silent

from minilm.data import open_corpus
from minilm.errors import CheckpointError, InputError, MissingDependencyError
from minilm.training import (
    RunConfig,
    evaluate_on,
    load_checkpoint,
    open_run,
    plot_runs,
    resume_run,
    start_run,
)
from minilm.training import run as run_module
from minilm.training.lock import lock_folder


def test_the_folder_holds_everything(config, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "plot_runs", plot_runs)
    said = []
    report = start_run(config, tmp_path / "run", say=said.append)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        ".lock", "checkpoints", "config.yaml", "loss.png", "metrics.jsonl", "tokenizer", "tokens",
    ]  # fmt: skip
    assert (tmp_path / "run" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "run" / "loss.png").stat().st_size > 10_000
    assert (report.step, report.stop_reason, report.interrupted) == (STEPS, None, False)
    assert report.perplexity == pytest.approx(math.exp(report.loss))
    assert any(line.startswith("run folder") for line in said)
    saved = RunConfig.load(tmp_path / "run" / "config.yaml")
    expected = dataclasses.asdict(config)
    expected["model"]["vocab_size"] = open_run(tmp_path / "run").tokenizer.vocab_size
    assert dataclasses.asdict(saved) == expected
    assert config.model.vocab_size == 0  # the caller's configuration is the caller's


def test_the_report_is_what_evaluate_measures_on_the_validation_text(config, tmp_path):
    report = start_run(config, tmp_path / "run", say=silent)
    text = some_text()
    (tmp_path / "validation.txt").write_text(text[int(len(text) * 0.9) :])
    loss, perplexity, bits, tokens = evaluate_on(open_run(tmp_path / "run", "last"), open_corpus("validation.txt"))
    assert loss == pytest.approx(report.loss, rel=1e-6)
    assert perplexity == pytest.approx(report.perplexity, rel=1e-6)
    assert bits == pytest.approx(report.bits_per_character, rel=1e-6)
    assert tokens == len(text) - int(len(text) * 0.9) - 1
    assert report.bits_per_character == pytest.approx(report.loss / math.log(2))


def test_bits_per_character_of_byte_pairs(text, tmp_path):
    report = start_run(make_config("bpe:280"), tmp_path / "run", say=silent)
    run = open_run(tmp_path / "run", "last")
    ids = run.tokenizer.encode(some_text())
    validation = ids[int(len(ids) * 0.9) :]
    characters = len(run.tokenizer.decode(validation[1:]))
    assert report.bits_per_character == pytest.approx(report.loss * (len(validation) - 1) / characters / math.log(2))


def test_best_and_last_are_different_checkpoints(text, tmp_path):
    def spoil(trainer):
        trainer.optimizer.flat.data[...] *= -1

    start_run(make_config(), tmp_path / "run", [At(9, spoil)], silent)
    best, last = open_run(tmp_path / "run"), open_run(tmp_path / "run", "last")
    assert (best.checkpoint.step, last.checkpoint.step) == (8, STEPS)
    assert not best.model.training
    saved = load_checkpoint(tmp_path / "run" / "checkpoints" / "step-000008").weights
    np.testing.assert_array_equal(best.model.state_dict()["token_embedding.weight"], saved["token_embedding.weight"])


def test_early_stopping_is_reported(text, tmp_path):
    config = make_config(learning_rate=0.0, min_learning_rate=0.0, early_stopping_patience=1, eval_steps=2)
    report = start_run(config, tmp_path / "run", say=silent)
    assert report.step == 4
    assert "has not improved in 1 evaluation" in report.stop_reason
    assert not report.interrupted
    assert report.loss > 0


def test_a_folder_in_use_is_refused(config, tmp_path):
    with lock_folder(tmp_path / "run"), pytest.raises(InputError, match="another process is training in"):
        start_run(config, tmp_path / "run", say=silent)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    start_run(config, tmp_path / "run", say=silent)
    with lock_folder(tmp_path / "run"), pytest.raises(InputError, match="another process is training in"):
        resume_run(RunConfig.load(tmp_path / "run" / "config.yaml"), tmp_path / "run", say=silent)


def test_a_run_that_another_process_finished_meanwhile_is_not_overwritten(config, tmp_path, monkeypatch):
    def opened_slowly(*args, **kwargs):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "config.yaml").write_text("of the other process")
        return open_corpus(*args, **kwargs)

    monkeypatch.setattr(run_module, "open_corpus", opened_slowly)
    with pytest.raises(InputError, match="already holds a run"):
        start_run(config, tmp_path / "run", say=silent)
    assert (tmp_path / "run" / "config.yaml").read_text() == "of the other process"


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError, MemoryError])
def test_a_run_that_never_began_leaves_nothing(config, tmp_path, monkeypatch, error):
    def fail(*args):
        raise error("no")

    monkeypatch.setattr(run_module, "GPT", fail)
    with pytest.raises(error):
        start_run(config, tmp_path / "runs" / "new" / "run", say=silent)
    assert [path.name for path in tmp_path.iterdir()] == ["t.txt"]


@pytest.mark.parametrize("module", ["matplotlib.figure", "safetensors.numpy"])
def test_a_library_that_is_missing_is_missed_before_the_training(config, tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=f"pip install {module.partition('.')[0]}"):
        start_run(config, tmp_path / "run", say=silent)
    assert not (tmp_path / "run").exists()


def test_what_is_no_run_cannot_be_opened(tmp_path):
    with pytest.raises(InputError, match=r"is not a run: it has no config\.yaml"):
        open_run(tmp_path)


def test_a_tokenizer_of_another_run_is_refused(config, tmp_path):
    start_run(config, tmp_path / "run", say=silent)
    start_run(make_config("bpe:300"), tmp_path / "other", say=silent)
    os.rename(tmp_path / "run" / "tokenizer", tmp_path / "old")
    os.rename(tmp_path / "other" / "tokenizer", tmp_path / "run" / "tokenizer")
    with pytest.raises(CheckpointError, match="they are of different runs"):
        open_run(tmp_path / "run")


def test_numbers_in_yaml_that_look_like_text_are_numbers(text, tmp_path):
    values = dataclasses.asdict(make_config())
    values["training"]["learning_rate"] = "1e-3"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    assert RunConfig.load(tmp_path / "config.yaml").training.learning_rate == 1e-3
