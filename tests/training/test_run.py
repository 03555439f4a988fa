"""A run as a library: what start_run leaves in its folder, what resume_run may change, what is saved when all goes wrong."""

import dataclasses
import math
import os
import signal
import sys
import tempfile

import numpy as np
import pytest
import yaml
from command_line import some_text

from minilm.data import open_corpus
from minilm.errors import CheckpointError, InputError, MissingDependencyError
from minilm.models import GPTConfig
from minilm.training import (
    Callback,
    RunConfig,
    StopOnSignal,
    TrainingConfig,
    evaluate_on,
    list_checkpoints,
    load_checkpoint,
    open_run,
    plot_runs,
    read_metrics,
    resume_run,
    start_run,
)
from minilm.training import run as run_module
from minilm.training.lock import lock_folder

STEPS = 12
MEASURED = ("seconds", "tokens_per_second")


def silent(line):
    pass


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        run_module, "plot_runs", lambda folders, path: path
    )  # drawing takes longer than these trainings
    path = tmp_path / "t.txt"
    path.write_text(some_text())
    return path


@pytest.fixture
def config(text):
    return make_config()


def make_config(tokenizer="char", **training):
    shape = GPTConfig(num_layers=1, num_heads=2, hidden_size=16, context_length=16, dropout=0.1)
    options = {
        "max_steps": STEPS,
        "batch_size": 4,
        "warmup_steps": 2,
        "save_steps": 5,
        "eval_steps": 4,
        "logging_steps": 1,
    }
    return RunConfig("t.txt", tokenizer, 0.1, shape, TrainingConfig(**{**options, **training}))


class At(Callback):
    """Does something after a step."""

    def __init__(self, step, do):
        self.step, self.do = step, do

    def on_step_end(self, trainer):
        if trainer.step == self.step:
            self.do(trainer)


def stop(trainer):
    trainer.stop_reason = "enough"


def last_checkpoint(folder):
    return load_checkpoint(list_checkpoints(folder / "checkpoints")[-1])


def assert_same_bits(a, b):
    for mine, others in ((a.weights, b.weights), (a.optimizer, b.optimizer)):
        assert mine.keys() == others.keys()
        for name, array in mine.items():
            np.testing.assert_array_equal(array, others[name], err_msg=name)


def records(folder):
    """The metrics without what depends on the clock."""
    return [{k: v for k, v in r.items() if k not in MEASURED} for r in read_metrics(folder / "metrics.jsonl")]


# --- a new run --------------------------------------------------------------------------------------------------------


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


# --- resuming ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tokenizer", "at"), [("char", 1), ("char", 5), ("char", 8), ("char", 11), ("bpe:270", 7)])
def test_a_resumed_run_ends_with_the_same_bits_and_the_same_log(text, tmp_path, tokenizer, at):
    config = make_config(tokenizer)
    start_run(config, tmp_path / "whole", say=silent)
    start_run(config, tmp_path / "parts", [At(at, stop)], silent)
    assert last_checkpoint(tmp_path / "parts").step == at
    saved = RunConfig.load(tmp_path / "parts" / "config.yaml")
    resume_run(saved, tmp_path / "parts", say=silent)
    assert_same_bits(last_checkpoint(tmp_path / "parts"), last_checkpoint(tmp_path / "whole"))
    assert records(tmp_path / "parts") == records(tmp_path / "whole")


def test_more_steps_continue_as_one_longer_run(text, tmp_path):
    start_run(make_config(max_steps=20, lr_scheduler_type="constant"), tmp_path / "long", say=silent)
    start_run(make_config(lr_scheduler_type="constant"), tmp_path / "short", say=silent)
    saved = RunConfig.load(tmp_path / "short" / "config.yaml")
    saved.training.max_steps = 20
    report = resume_run(saved, tmp_path / "short", say=silent)
    assert report.step == 20
    assert_same_bits(last_checkpoint(tmp_path / "short"), last_checkpoint(tmp_path / "long"))
    assert RunConfig.load(tmp_path / "short" / "config.yaml").training.max_steps == 20


def test_resuming_a_finished_run_changes_nothing_and_says_how_to_go_on(config, tmp_path):
    first = start_run(config, tmp_path / "run", say=silent)
    before, log = last_checkpoint(tmp_path / "run"), records(tmp_path / "run")
    said = []
    again = resume_run(RunConfig.load(tmp_path / "run" / "config.yaml"), tmp_path / "run", say=said.append)
    assert again.loss == first.loss
    assert any("finished" in line and "--training.max_steps" in line for line in said)
    assert_same_bits(last_checkpoint(tmp_path / "run"), before)
    assert records(tmp_path / "run") == log


def test_a_changed_learning_rate_counts_from_the_resume_on(text, tmp_path):
    start_run(make_config(lr_scheduler_type="constant"), tmp_path / "run", [At(6, stop)], silent)
    saved = RunConfig.load(tmp_path / "run" / "config.yaml")
    saved.training.learning_rate = saved.training.min_learning_rate = 3e-4
    saved.training.weight_decay = 0.0
    seen = []
    resume_run(saved, tmp_path / "run", [At(8, lambda t: seen.extend(t.optimizer.param_groups))], silent)
    rates = {r["step"]: r["learning_rate"] for r in records(tmp_path / "run") if r["event"] == "train"}
    assert rates[6] == pytest.approx(1e-3)
    assert rates[7] == rates[12] == pytest.approx(3e-4)
    assert [group["weight_decay"] for group in seen] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: setattr(c.model, "num_layers", 2), r"model\.num_layers cannot change.*it is 1 in"),
        (lambda c: setattr(c.model, "dropout", 0.5), r"model\.dropout cannot change"),
        (lambda c: setattr(c, "corpus", "other.txt"), r"corpus cannot change"),
        (lambda c: setattr(c, "tokenizer", "bpe:300"), r"tokenizer cannot change"),
        (lambda c: setattr(c, "validation_fraction", 0.2), r"validation_fraction cannot change"),
        (lambda c: setattr(c.training, "max_steps", 3), r"has reached step 6 already"),
        (lambda c: setattr(c.training, "optimizer", "sgd"), r"trained with AdamW, not SGD"),
    ],
)
def test_what_a_resumed_run_refuses_leaves_the_run_as_it_was(config, tmp_path, change, says):
    folder = tmp_path / "run"
    start_run(config, folder, [At(6, stop)], silent)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    changed = RunConfig.load(folder / "config.yaml")
    change(changed)
    with pytest.raises(InputError, match=says):
        resume_run(changed, folder, say=silent)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_run_killed_before_its_first_checkpoint_starts_over(config, tmp_path):
    start_run(config, tmp_path / "whole", say=silent)

    class Killed(BaseException):
        pass

    def kill(trainer):
        raise Killed

    with pytest.raises(Killed):
        start_run(config, tmp_path / "run", [At(3, kill)], silent)
    assert list_checkpoints(tmp_path / "run" / "checkpoints") == []
    resume_run(RunConfig.load(tmp_path / "run" / "config.yaml"), tmp_path / "run", say=silent)
    assert_same_bits(last_checkpoint(tmp_path / "run"), last_checkpoint(tmp_path / "whole"))
    assert records(tmp_path / "run") == records(tmp_path / "whole")


# --- one folder, one process --------------------------------------------------------------------------------------------


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


# --- signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops_without_measuring(config, tmp_path, number):
    before = signal.getsignal(number)
    start_run(config, tmp_path / "whole", say=silent)
    report = start_run(config, tmp_path / "run", [StopOnSignal(), At(7, lambda t: signal.raise_signal(number))], silent)
    assert (report.step, report.interrupted) == (7, True)
    assert report.stop_reason == f"stopped by {signal.Signals(number).name}"
    assert math.isnan(report.loss)
    assert records(tmp_path / "run")[-1]["event"] != "final"
    assert signal.getsignal(number) is before
    resume_run(RunConfig.load(tmp_path / "run" / "config.yaml"), tmp_path / "run", say=silent)
    assert_same_bits(last_checkpoint(tmp_path / "run"), last_checkpoint(tmp_path / "whole"))


def test_a_second_interrupt_stops_at_once(config, tmp_path):
    def twice(trainer):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("went on")

    with pytest.raises(KeyboardInterrupt):
        start_run(config, tmp_path / "run", [StopOnSignal(), At(7, twice)], silent)
    assert last_checkpoint(tmp_path / "run").step == 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# --- disks ------------------------------------------------------------------------------------------------------------


def block_the_checkpoints(folder):
    """From now on nothing can be saved there, not even by the superuser."""

    def do(trainer):
        if (folder / "checkpoints").exists():
            (folder / "checkpoints").rename(folder / "old")
        (folder / "checkpoints").write_text("a file in the way")

    return do


def test_weights_that_cannot_be_saved_are_rescued_and_a_resume_goes_on_from_them(config, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    start_run(config, tmp_path / "whole", say=silent)
    with pytest.raises(InputError) as error:
        start_run(config, folder, [At(7, block_the_checkpoints(folder)), At(9, stop)], silent)
    (rescued,) = (tmp_path / "elsewhere").glob("minilm-run-*/step-000009")
    assert f"the weights of step 9 are safe in {rescued}" in str(error.value)
    assert f"minilm train --resume {folder}" in str(error.value)
    # what the message says to do
    (folder / "checkpoints").unlink()
    (folder / "old").rename(folder / "checkpoints")
    rescued.rename(folder / "checkpoints" / rescued.name)
    resume_run(RunConfig.load(folder / "config.yaml"), folder, say=silent)
    assert_same_bits(last_checkpoint(folder), last_checkpoint(tmp_path / "whole"))


def test_two_rescues_never_meet(config, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("a", "b"):
        folder = tmp_path / name / "run"
        with pytest.raises(InputError, match="are safe in"):
            start_run(config, folder, [At(3, block_the_checkpoints(folder))], silent)
    assert len(list(tmp_path.glob("minilm-run-*/step-000012"))) == 2


def test_when_nothing_can_be_written_it_says_so(config, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    block_both = [
        At(7, block_the_checkpoints(folder)),
        At(8, lambda trainer: monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t.txt"))),
    ]
    with pytest.raises(InputError, match=r"nor could .*t\.txt be written: mend that, then continue with minilm train"):
        start_run(config, folder, block_both, silent)
    assert load_checkpoint(folder / "old" / "step-000005").step == 5


def test_a_loss_curve_that_cannot_be_drawn_loses_nothing(config, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "plot_runs", plot_runs)
    folder, said = tmp_path / "run", []
    report = start_run(config, folder, [At(3, lambda t: (folder / "loss.png").mkdir())], said.append)
    assert report.loss > 0
    assert any(line.startswith("warning: no loss curve") for line in said)


# --- opening ----------------------------------------------------------------------------------------------------------


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
