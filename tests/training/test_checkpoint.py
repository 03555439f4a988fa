"""A checkpoint is whole or not there, and what is read is what was written."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilm.errors import CheckpointError, InputError
from minilm.training import list_checkpoints, load_checkpoint, save_checkpoint
from minilm.training.checkpoint import newest_checkpoint, prune_checkpoints

WEIGHTS = {"a.weight": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.float32([np.pi])}
ARRAYS = {"m": np.ones(13, np.float32), "v": np.zeros(13, np.float32)}
STATE = {"step": 7, "best_loss": float("inf"), "big": 2**120, "nested": {"betas": [0.9, 0.99]}}


def save(folder, step=7):
    return save_checkpoint(folder, WEIGHTS, ARRAYS, {**STATE, "step": step})


def test_round_trip(tmp_path):
    read = load_checkpoint(save(tmp_path))
    assert read.step == 7
    assert read.state["big"] == 2**120
    assert read.state["best_loss"] == float("inf")
    for name, array in {**WEIGHTS, **ARRAYS}.items():
        np.testing.assert_array_equal({**read.weights, **read.optimizer}[name], array)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_every_flipped_bit_is_noticed(tmp_path_factory, name):
    original = (save(tmp_path_factory.mktemp("original")) / name).read_bytes()

    @given(st.integers(0, 8 * len(original) - 1))
    def flip(bit):
        path = save(tmp_path_factory.mktemp("flipped"))
        data = bytearray(original)
        data[bit // 8] ^= 1 << bit % 8
        (path / name).write_bytes(bytes(data))
        try:
            read = load_checkpoint(path)
        except CheckpointError:
            pass
        else:  # a flipped bit in the white space of the JSON text changes nothing
            assert name == "state.json"
            assert read.state["big"] == 2**120
            assert read.step == 7
        finally:
            shutil.rmtree(path.parent)

    flip()


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path, name, keep):
    path = save(tmp_path)
    data = (path / name).read_bytes()
    (path / name).write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


def test_missing_file_is_named(tmp_path):
    path = save(tmp_path)
    (path / "optimizer.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors"):
        load_checkpoint(path)
    assert load_checkpoint(path, with_optimizer=False).step == 7


def test_newer_format_asks_for_an_upgrade(tmp_path):
    path = save(tmp_path)
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**state, "format_version": 99}))
    with pytest.raises(CheckpointError, match="upgrade"):
        load_checkpoint(path)


def test_newest_whole_checkpoint_is_found_behind_a_damaged_one(tmp_path):
    save(tmp_path, 1)
    (save(tmp_path, 2) / "model.safetensors").write_bytes(b"half")
    with pytest.warns(UserWarning, match="is damaged.* going on from step-000001"):
        assert newest_checkpoint(tmp_path).step == 1
    (tmp_path / "step-000001" / "state.json").unlink()
    with pytest.raises(CheckpointError):
        newest_checkpoint(tmp_path)


def test_pruning_keeps_the_newest_and_the_best(tmp_path):
    for step in range(1, 7):
        save(tmp_path, step)
    (tmp_path / ".tmp-step-000009-1").mkdir()
    prune_checkpoints(tmp_path, 2, keep={3})
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000003", "step-000005", "step-000006"]
    assert not list(tmp_path.glob(".*"))


def test_killed_between_the_two_renames_of_a_replacement(tmp_path):
    path = save(tmp_path)
    os.replace(path, tmp_path / ".replaced-step-000007")
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-000007"]
    assert load_checkpoint(path).step == 7


def test_saving_a_step_twice_keeps_the_second(tmp_path):
    save(tmp_path)
    path = save_checkpoint(tmp_path, {"a.weight": WEIGHTS["a.weight"] + 1}, ARRAYS, STATE)
    assert load_checkpoint(path).weights["a.weight"][0, 0] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["step-000007"]


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="cannot save the checkpoint"):
        save(tmp_path / "file")


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_full_disk_leaves_the_earlier_checkpoint_alone(tmp_path):
    save(tmp_path, 1)
    # a limit on file sizes makes the write of the large array fail half way, as a full disk does
    script = f"""
import resource, numpy as np
from minilm.errors import InputError
from minilm.training import save_checkpoint
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint({str(tmp_path)!r}, {{"w": np.ones(100_000, np.float32)}}, {{}}, {{"step": 2}})
except InputError as error:
    print("refused:", error)
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(), check=False
    )
    assert "refused: cannot save the checkpoint" in result.stdout, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]
    assert load_checkpoint(tmp_path / "step-000001").step == 1


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
