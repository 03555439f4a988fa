"""A run in trouble: signals, and disks that cannot be written."""

import math
import signal
import tempfile

import pytest
from run_cases import At, assert_same_bits, last_checkpoint, records, silent, stop

from minilm.errors import InputError
from minilm.training import (
    RunConfig,
    StopOnSignal,
    load_checkpoint,
    plot_runs,
    resume_run,
    start_run,
)
from minilm.training import run as run_module


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
