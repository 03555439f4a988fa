"""Checkpoints: a folder per step, whole or not there at all, and checked byte by byte when it is read.

    checkpoints/step-000500/model.safetensors        the weights by name
                            optimizer.safetensors    the optimizer's flat arrays
                            state.json               step, schedule, sampler, generators; sha256 of the other two files

    checkpoint-500/                                  the same of the Trainer, with the files of a model folder

A checkpoint is written under a temporary name, brought to the disk, and renamed: `kill -9` at any moment leaves
either the folder or no folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minilm.devices import to_host
from minilm.errors import CheckpointError, InputError
from minilm.files import sync
from minilm.optional import require

FORMAT_VERSION = 1
RUN_PREFIX = "step-"  # in the run folders of `minilm train`
TRAINER_PREFIX = "checkpoint-"  # in the output_dir of the Trainer, as transformers calls them


@dataclass
class Checkpoint:
    """What was read: weights by name, the optimizer's arrays by name, and everything else from state.json."""

    path: Path
    weights: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray]
    state: dict[str, Any]

    @property
    def step(self) -> int:
        return self.state["step"]


def checkpoint_name(step: int, prefix: str = RUN_PREFIX) -> str:
    """step-000012 in a run's folder, checkpoint-12 in a Trainer's."""
    return f"{prefix}{step:06d}" if prefix == RUN_PREFIX else f"{prefix}{step}"


def step_of(path: Path) -> int:
    """The step in the name of a checkpoint's folder."""
    return int(path.name.rpartition("-")[2])


def list_checkpoints(folder: str | Path, prefix: str = RUN_PREFIX) -> list[Path]:
    """All complete checkpoints in a `checkpoints` folder, oldest first."""
    folder = Path(folder)
    recover(folder)
    found = [path for path in folder.glob(f"{prefix}*") if path.name.removeprefix(prefix).isdigit() and path.is_dir()]
    return sorted(found, key=step_of if prefix == RUN_PREFIX else written)


def written(path: Path) -> tuple[int, int]:
    """When a checkpoint was written: an output_dir may hold some of an earlier training, with higher steps."""
    state = path / "state.json"
    return state.stat().st_mtime_ns if state.exists() else 0, step_of(path)


def recover(folder: Path) -> None:
    """Put back a checkpoint whose replacement was killed between its two renames."""
    for replaced in leftovers(folder, ("replaced",)):
        original = folder / replaced.name.removeprefix(".replaced-")
        if not original.exists():
            os.replace(replaced, original)


def leftovers(folder: Path, kinds: Iterable[str] = ("tmp", "removed", "replaced")) -> list[Path]:
    """What killed processes left half written, half removed or half replaced."""
    names = [f".{kind}-{prefix}*" for kind in kinds for prefix in (RUN_PREFIX, TRAINER_PREFIX)]
    return [path for name in names for path in folder.glob(name)] if folder.is_dir() else []


def save_checkpoint(
    folder: str | Path,
    weights: dict[str, np.ndarray] | None,
    optimizer: dict[str, np.ndarray] | None,
    state: dict[str, Any],
    prefix: str = RUN_PREFIX,
    write_files: Callable[[Path], None] | None = None,
) -> Path:
    """Write one checkpoint into `folder` and return its path. Raises InputError if the disk is full or not writable.

    weights, optimizer: arrays by name; None leaves the file out. write_files(folder) writes further files.
    """
    save_file = require("safetensors.numpy", "saving a checkpoint").save_file
    folder = Path(folder)
    final = folder / checkpoint_name(state["step"], prefix)
    temporary = folder / f".tmp-{final.name}-{os.getpid()}"
    try:
        temporary.mkdir(parents=True)
        if write_files is not None:
            write_files(temporary)
        for name, arrays in (("model.safetensors", weights), ("optimizer.safetensors", optimizer)):
            if arrays is not None:
                save_file(
                    {key: np.ascontiguousarray(to_host(array)) for key, array in arrays.items()}, temporary / name
                )
        checksums = {}
        for file in sorted(temporary.iterdir()):
            checksums[file.name] = file_checksum(file)
            sync(file)
        body = {"format_version": FORMAT_VERSION, **state, "sha256": checksums}
        body["sha256"]["state"] = text_checksum(body)
        (temporary / "state.json").write_text(json.dumps(body, indent=1), encoding="utf-8")
        sync(temporary / "state.json")
        sync(temporary)
        if final.exists():  # a resumed run reaches the same step again
            replaced = folder / f".replaced-{final.name}"
            shutil.rmtree(replaced, ignore_errors=True)
            os.replace(final, replaced)
            os.replace(temporary, final)
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            os.replace(temporary, final)
        sync(folder)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        recover(folder)
        # safetensors reports a full disk in an exception of its own
        if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise InputError(
                f"cannot save the checkpoint {final}: {reason}; earlier checkpoints are untouched"
            ) from error
        raise
    return final


def load_checkpoint(path: str | Path, with_optimizer: bool = True) -> Checkpoint:
    """Read and verify one checkpoint folder; without the optimizer where only the weights are wanted.

    Raises CheckpointError for one that is missing, truncated, changed by a single bit, or written by a newer minilm.
    """
    load = require("safetensors.numpy", "reading a checkpoint").load
    path = Path(path)
    advice = f"use another checkpoint of {path.parent}, or train again"
    state = read_state(path, advice)
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for name, checksum in state["sha256"].items():
        if name == "optimizer.safetensors" and not with_optimizer:
            continue
        try:
            data = (path / name).read_bytes()
        except OSError as error:
            raise CheckpointError(f"cannot read {path / name}: {error.strerror}; {advice}") from error
        if hashlib.sha256(data).hexdigest() != checksum:
            raise CheckpointError(f"{path / name} is damaged: its checksum does not match; {advice}")
        if name in ("model.safetensors", "optimizer.safetensors"):
            arrays[name] = load(data)
    return Checkpoint(path, arrays.get("model.safetensors", {}), arrays.get("optimizer.safetensors", {}), state)


def newest_checkpoint(folder: str | Path, prefix: str = RUN_PREFIX) -> Checkpoint:
    """The newest checkpoint in a `checkpoints` folder that is whole; warns of damaged ones that are newer.

    Raises CheckpointError if none is whole.
    """
    damaged: list[CheckpointError] = []
    for path in reversed(list_checkpoints(folder, prefix)):
        try:
            checkpoint = load_checkpoint(path)
        except CheckpointError as error:
            damaged.append(error)
        else:
            for problem in damaged:
                warnings.warn(f"{problem}; going on from {path.name}", stacklevel=2)
            return checkpoint
    raise damaged[0] if damaged else CheckpointError(f"there is no checkpoint in {folder}; start the run anew")


def read_state(path: Path, advice: str) -> dict[str, Any]:
    """state.json of a checkpoint, its version and checksum checked."""
    file = path / "state.json"
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        version = state["format_version"]
        claimed = state["sha256"].pop("state")
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is not a checkpoint: it has no state.json; {advice}") from error
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror}; {advice}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} is damaged: it cannot be parsed; {advice}") from error
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format {version}, this minilm reads up to {FORMAT_VERSION}; upgrade with pip install -U minilm"
        )
    if text_checksum(state) != claimed:
        raise CheckpointError(f"{file} is damaged: its checksum does not match; {advice}")
    return state


def prune_checkpoints(folder: str | Path, keep_last: int, keep: set[int], prefix: str = RUN_PREFIX) -> None:
    """Remove all but the newest `keep_last` checkpoints and the steps in `keep`; leftovers of killed runs too."""
    folder = Path(folder)
    for path in list_checkpoints(folder, prefix)[:-keep_last]:
        if step_of(path) not in keep:
            # renamed first: a folder that is half removed must not look like a checkpoint
            doomed = folder / f".removed-{path.name}"
            os.replace(path, doomed)
            shutil.rmtree(doomed, ignore_errors=True)
    clean_leftovers(folder)


def clean_leftovers(folder: Path) -> None:
    """Remove what killed processes left half written or half removed."""
    for path in leftovers(folder):
        shutil.rmtree(path, ignore_errors=True)


def file_checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_checksum(state: dict[str, Any]) -> str:
    """SHA-256 of a state as JSON, in hexadecimal."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
