"""A disk that is full, from the start or in the middle: nothing is lost, and the message says where it is."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from command_line import TINY, TINY_MODEL, CommandLine, Result, command, environment, refusal, run_here, some_text

from minilm.training import list_checkpoints, load_checkpoint, read_metrics

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits and mounts are POSIX")
LONG = f"{TINY_MODEL} --training.batch_size 2 --training.max_steps 2000 --training.save_steps 100 --training.eval_steps 5000"


@pytest.fixture
def minilm(tmp_path):
    (tmp_path / "t.txt").write_text(some_text())
    return CommandLine(tmp_path, None)


def with_small_files(minilm, line, size):
    """Run a command that cannot make any file longer than `size` bytes."""
    import resource

    done = subprocess.run(
        command(line), cwd=minilm.folder, env=environment(), capture_output=True, text=True, timeout=120, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("size", [0, 5000])
def test_no_room_to_begin(minilm, size):
    before = minilm.snapshot()
    error = refusal(with_small_files(minilm, f"train --corpus t.txt --out new/run {TINY} --quiet", size))
    assert "cannot write" in error
    assert minilm.snapshot() == before


def test_no_room_for_checkpoints_nor_for_the_log(minilm):
    options = TINY.replace("max_steps 6", "max_steps 80") + " --training.logging_steps 1 --training.save_steps 40"
    result = with_small_files(minilm, f"train --corpus t.txt --out run {options} --quiet", 10_000)
    assert result.code == 2
    *warnings, error = result.err.splitlines()
    assert re.search(r"cannot save the checkpoint run/checkpoints/step-000080.*nor could .* be written", error)
    assert error.endswith("continue with minilm train --resume run")
    assert all(line.startswith("minilm: warning: cannot ") for line in warnings)
    assert sum("metrics.jsonl" in line for line in warnings) == 1  # said once, not at every step
    log = (minilm.folder / "run" / "metrics.jsonl").read_text()
    assert len(log) > 8000
    assert all(json.loads(line) for line in log.splitlines())  # whole lines only
    assert log.endswith("\n")
    assert run_here(minilm.folder, "train --resume run --quiet") == 0  # there is room again
    assert len([r for r in read_metrics(minilm.folder / "run" / "metrics.jsonl") if r["event"] == "train"]) == 80


def private_mounts() -> list[str]:
    """How to run a shell that may mount a small disk only for itself, or skip."""
    for prefix in (["unshare", "-m"], ["unshare", "-rm"]):
        if shutil.which("unshare") and not subprocess.run(
            [*prefix, "sh", "-c", "mkdir -p /tmp && mount -t tmpfs -o size=1m none /mnt"], capture_output=True, check=False
        ).returncode:  # fmt: skip
            return [*prefix, "sh", "-eu", "-c"]
    pytest.skip("a small disk cannot be mounted here: `unshare -rm` with `mount -t tmpfs` is not permitted")


@pytest.mark.slow
def test_a_disk_that_fills_up_in_the_middle(minilm):
    shell = private_mounts()
    assert minilm.fresh(f"train --corpus t.txt --out whole --quiet {LONG}").code == 0
    (minilm.folder / "disk").mkdir()
    (minilm.folder / "shelter").mkdir()
    minilm_command = f"{sys.executable} -m minilm"
    script = f"""
        mount -t tmpfs -o size=2m none disk
        {minilm_command} train --corpus t.txt --out disk/run --quiet {LONG} > out 2> err & process=$!
        until ls -d disk/run/checkpoints/step-* 2> /dev/null; do kill -0 $process; sleep 0.01; done
        dd if=/dev/zero of=disk/ballast bs=4k 2> /dev/null || true     # until nothing more fits
        code=0; wait $process || code=$?; echo $code > code
        rm disk/ballast                                                # "mend that,"
        mv shelter/minilm-run-*/step-* disk/run/checkpoints/           # "move this folder into ...,"
        {minilm_command} train --resume disk/run --quiet               # "then continue with ..."
        cp -r disk/run finished
    """
    done = subprocess.run(
        [*shell, script], cwd=minilm.folder, env=environment(TMPDIR=str(minilm.folder / "shelter")), capture_output=True,
        text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr + (minilm.folder / "err").read_text()
    assert (minilm.folder / "code").read_text() == "2\n"
    *warnings, error = (minilm.folder / "err").read_text().splitlines()
    assert "No space left on device" in error
    assert re.search(
        r"the weights of step 2000 are safe in \S+/shelter/minilm-run-\w+/step-002000: mend that, move", error
    )
    assert error.endswith("continue with minilm train --resume disk/run")
    assert warnings
    assert all(line.startswith("minilm: warning: ") and "No space left" in line for line in warnings)
    finished, whole = (
        load_checkpoint(list_checkpoints(minilm.folder / name / "checkpoints")[-1]) for name in ("finished", "whole")
    )
    assert finished.step == whole.step == 2000
    for name, array in {**whole.weights, **whole.optimizer}.items():
        assert array.tobytes() == {**finished.weights, **finished.optimizer}[name].tobytes()
