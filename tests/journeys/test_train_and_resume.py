"""The way of a new user, in fresh processes: train, stop, go on, let it write."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from command_line import TINY, TINY_MODEL, CommandLine, command, environment, refusal, some_text

from minilm.training import list_checkpoints, load_checkpoint, read_metrics

LONG = f"{TINY_MODEL} --training.batch_size 2 --training.max_steps 1500 --training.save_steps 100 --training.eval_steps 500"


@pytest.fixture
def minilm(tmp_path):
    (tmp_path / "t.txt").write_text(some_text())
    return CommandLine(tmp_path, None)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    """A folder with a text and a run, and what the training said."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "t.txt").write_text(some_text())
    return folder, CommandLine(folder, None).fresh(f"train --corpus t.txt --out 'my run' {TINY}")


@pytest.fixture
def trained(first_run, tmp_path):
    """A copy of it."""
    shutil.copytree(first_run[0], tmp_path, dirs_exist_ok=True)
    return CommandLine(tmp_path, None)


def newest(folder):
    return load_checkpoint(list_checkpoints(folder / "checkpoints")[-1])


def assert_same_bits(one, other):
    assert one.step == other.step
    for name, array in {**one.weights, **one.optimizer}.items():
        assert array.tobytes() == {**other.weights, **other.optimizer}[name].tobytes(), name


def wait_for_steps(process, folder, name="step-000100"):
    """Wait until a process has saved its first checkpoint."""
    deadline = time.monotonic() + 60
    while not list(folder.glob(f"checkpoints/{name}")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_kernels_are_compiled_ahead(minilm, tmp_path):
    """After `minilm kernels` a training run and a generated text find everything in the cache."""
    where = {**environment(), "MINILM_CACHE_DIR": str(tmp_path / "cache")}

    def run(line):
        return subprocess.run(command(line), cwd=minilm.folder, env=where, capture_output=True, text=True, timeout=600)

    first = run(f"train --corpus t.txt --out one {TINY} --quiet")
    assert first.stderr.startswith("compiling kernels"), first.stderr
    shutil.rmtree(tmp_path / "cache")
    report = run("kernels")
    assert report.returncode == 0, report.stderr
    assert "(0 files" not in report.stdout
    second = run(f"train --corpus t.txt --out two {TINY} --quiet")
    assert (second.returncode, second.stderr) == (0, "")
    written = run("generate two --max-new-tokens 20")
    assert (written.returncode, written.stderr) == (0, "")


def test_the_first_quarter_of_an_hour(first_run, trained):
    minilm, result = trained, first_run[1]
    assert result.code == 0, result.err
    assert result.err == ""  # no bar where nobody watches
    folder = minilm.folder / "my run"
    assert {path.name for path in folder.iterdir()} >= {
        "config.yaml", "metrics.jsonl", "loss.png", "checkpoints", "tokenizer", "tokens",
    }  # fmt: skip
    assert len((folder / "loss.png").read_bytes()) > 10_000
    following = re.search(r"^next +minilm (.*)$", result.out, flags=re.MULTILINE)[1]
    written = minilm.fresh(following + " --max-new-tokens 20 --seed 1")
    assert written.code == 0
    assert written == minilm.fresh(following + " --max_new_tokens=20 --seed=1")
    assert minilm.fresh("info 'my run'").code == 0
    assert minilm.fresh("evaluate 'my run' --corpus t.txt").code == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_stopped_and_resumed_with_the_printed_command(minilm, number):
    undisturbed = minilm.start(f"train --corpus t.txt --out whole --quiet {LONG}")
    process = minilm.start(f"train --corpus t.txt --out run {LONG}")
    wait_for_steps(process, minilm.folder / "run")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, out + err
    assert err == ""
    step = int(re.search(rf"stopped by {number.name} after step (\d+) of 1500; everything is saved", out)[1])
    assert newest(minilm.folder / "run").step == step
    resume = re.search(r"^continue +minilm (.*)$", out, flags=re.MULTILINE)[1]
    resumed = minilm.fresh(resume)
    assert resumed.code == 0, resumed.err
    _, err = undisturbed.communicate(timeout=60)
    assert undisturbed.returncode == 0, err
    assert f"resumed     at step {step} of 1500" in resumed.out
    assert_same_bits(newest(minilm.folder / "run"), newest(minilm.folder / "whole"))
    steps = [r["step"] for r in read_metrics(minilm.folder / "run" / "metrics.jsonl") if r["event"] == "train"]
    assert steps == [1, *range(10, 1501, 10)]


@pytest.mark.skipif(sys.platform == "win32", reason="flock is POSIX")
def test_two_processes_in_one_folder(minilm, monkeypatch, capsys):
    first = minilm.start(f"train --corpus t.txt --out run {LONG.replace('1500', '100000')}")
    wait_for_steps(first, minilm.folder / "run")
    try:
        monkeypatch.chdir(minilm.folder)
        second = CommandLine(minilm.folder, capsys)
        assert "already holds a run" in refusal(second(f"train --corpus t.txt --out run {TINY}"))
        assert "another process is training in run" in refusal(second("train --resume run"))
        assert second("generate run --checkpoint last --max-new-tokens 5").code == 0  # reading is allowed
    finally:
        first.send_signal(signal.SIGINT)
        out, err = first.communicate(timeout=60)
    assert first.returncode == 130, out + err


def test_generation_streams(trained):
    process = trained.start("generate 'my run' --max-new-tokens 100000000")
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        first = os.read(process.stdout.fileno(), 8192)
        assert 0 < len(first) < 8192  # a token or some; unflushed, it would come 8192 bytes at a time
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        watchdog.cancel()
        process.kill()
    assert (process.returncode, err) == (130, "minilm: stopped\n")


@pytest.mark.parametrize("line", ["generate 'my run' --max-new-tokens 100000000", "info 'my run'"])
def test_a_reader_that_goes_away_is_no_error(trained, line):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command(line),
        cwd=trained.folder,
        env=environment(),
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_terminal_that_lacks_characters(trained):
    result = trained.fresh("info 'my run'", PYTHONIOENCODING="ascii")
    assert result.code == 0, result.err
    assert "16 ? 16" in result.out


def test_a_learning_rate_that_is_far_too_high(minilm):
    options = "--training.optimizer sgd --training.learning_rate 1e6 --training.max_grad_norm 0 --training.save_steps 1"
    line = f"train --corpus t.txt --out run --quiet {TINY} {options}".replace("max_steps 6", "max_steps 50")
    result = minilm.fresh(line)
    error = refusal(result, code=1)
    found = re.search(r"became \S+ at step (\d+); the first to break was (the .* of \S+)", error)
    last = newest(minilm.folder / "run")
    assert last.step == int(found[1]) - 1
    assert f"the last good checkpoint is run/checkpoints/{last.path.name}" in error
    assert "try a lower --training.learning_rate, or clip gradients" in error
    assert all(abs(array).max() < float("inf") for array in last.weights.values())
