"""kill -9 at fifty random moments: there is always a loadable checkpoint, and the end has the same bits."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from minilm.training import list_checkpoints, load_checkpoint

STEPS = 400


def command(corpus, folder, resume):
    run = ["--resume", str(folder)] if resume else ["--out", str(folder)]
    if resume and not (folder / "config.yaml").exists():
        run = ["--out", str(folder)]
    options = (
        "--model.num_layers 1 --model.num_heads 2 --model.hidden_size 16 --model.context_length 16 --model.dropout 0.1"
    )
    training = f"--training.max_steps {STEPS} --training.save_steps 1 --training.eval_steps 50 --training.batch_size 4"
    return [sys.executable, "-m", "minilm", "train", "--corpus", str(corpus), "--quiet", *run,
            *(options + " " + training).split()]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
def test_fifty_kills(tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("".join(random.Random(0).choices("abcdefgh \n", k=4000)))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    subprocess.run(command(corpus, tmp_path / "whole", False), env=env, check=True, capture_output=True)
    expected = load_checkpoint(list_checkpoints(tmp_path / "whole" / "checkpoints")[-1])
    assert expected.step == STEPS

    moments = random.Random(1)
    kills = finished = 0
    steps_seen = []
    while kills < 50 or finished == 0:
        folder = tmp_path / f"killed-{finished}"
        process = subprocess.Popen(
            command(corpus, folder, folder.exists()), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        saved = len(steps_seen)
        deadline = time.monotonic() + 60
        before = newest_step(folder)
        # let it make some progress once the interpreter is up, then strike at a random moment
        while kills < 50 and process.poll() is None and newest_step(folder) == before and time.monotonic() < deadline:
            time.sleep(0.01)
        if kills < 50:
            time.sleep(moments.uniform(0, 0.4))
            process.send_signal(signal.SIGKILL)
        output = process.communicate()[0].decode()
        if process.returncode == -signal.SIGKILL:
            kills += 1
            paths = list_checkpoints(folder / "checkpoints")
            assert paths, "no checkpoint survived"
            for path in paths:
                steps_seen.append(load_checkpoint(path).step)
            assert len(steps_seen) > saved
        else:
            assert process.returncode == 0, output
            last = load_checkpoint(list_checkpoints(folder / "checkpoints")[-1])
            assert last.step == STEPS
            for name, array in expected.weights.items():
                np.testing.assert_array_equal(last.weights[name], array)
            for name, array in expected.optimizer.items():
                np.testing.assert_array_equal(last.optimizer[name], array)
            finished += 1
    assert kills == 50


def newest_step(folder):
    steps = [int(path.name[5:]) for path in (folder / "checkpoints").glob("step-*")]
    return max(steps, default=-1)
