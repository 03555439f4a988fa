"""The part of the Trainer that writes models and checkpoints, and goes on from them.

output_dir/checkpoint-500/    a model folder (or an adapter) with its tokenizer: from_pretrained opens it
                              trainer_state.json: what was logged, for people and for transformers
                              optimizer.safetensors, state.json: what a resume needs, with checksums of all files
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from minilm.errors import CheckpointError
from minilm.files import write_text
from minilm.training.checkpoint import (
    TRAINER_PREFIX,
    Checkpoint,
    checkpoint_name,
    list_checkpoints,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
    step_of,
)
from minilm.training.device_batches import weights_on_host
from minilm.training.model_files import config_of, read_model, write_model
from minilm.training.trainer_callbacks import TrainerState
from minilm.training.trainer_telling import Telling


class Saving(Telling):
    """Model folders and checkpoints."""

    checkpoint_prefix = TRAINER_PREFIX
    data_collator: Any
    loss_sum: Any
    last_logged: int

    def save_model(self, output_dir: str | Path | None = None) -> None:
        """Write the model and its tokenizer into a folder (output_dir) that from_pretrained opens; with LoRA the adapter."""
        write_model(Path(output_dir or self.args.output_dir), self.model, self.processing_class)

    def save_state(self) -> None:
        """Write trainer_state.json into output_dir."""
        write_state(Path(self.args.output_dir), self.state)

    def write_checkpoint(self, folder: Path) -> Path:
        if self.state.best_global_step == self.step:
            self.state.best_model_checkpoint = str(folder / checkpoint_name(self.step, TRAINER_PREFIX))

        def write_files(path: Path) -> None:
            with weights_on_host(self.model, self.optimizer):
                write_model(path, self.model, self.processing_class)
            write_state(path, self.state)

        arrays = None if self.args.save_only_model else self.optimizer.state_dict()["arrays"]
        return save_checkpoint(folder, None, arrays, self.state_dict(), TRAINER_PREFIX, write_files)

    def read_model(self, checkpoint: Checkpoint) -> None:
        read_model(checkpoint.path, self.model)

    def model_config(self) -> dict[str, Any] | None:
        return config_of(self.model)

    def kept_checkpoints(self) -> tuple[int, set[int]]:
        """The newest save_total_limit, the best among them: it takes the place of the oldest, but never of the newest."""
        limit, path = self.args.save_total_limit, self.state.best_model_checkpoint
        if limit is None:
            return 0, set()
        best = None if path is None else step_of(Path(path))
        steps = [step_of(path) for path in list_checkpoints(self.args.output_dir, TRAINER_PREFIX)]
        if best is None or best not in steps or best in steps[-limit:]:
            return limit, set()
        return max(1, limit - 1), {best}

    def state_dict(self) -> dict[str, Any]:
        assert self.batches is not None
        collator = self.data_collator
        states = [callback.state_dict() for callback in self.callbacks if hasattr(callback, "state_dict")]
        names = [type(callback).__name__ for callback in self.callbacks if hasattr(callback, "state_dict")]
        return super().state_dict() | {
            "sampler": self.batches.state_dict(),
            "collator": collator.state_dict() if hasattr(collator, "state_dict") else None,
            "callbacks": {name: state for name, state in zip(names, states) if state},
            "trainer_state": self.state.to_dict(),
            "loss_sum": float(self.loss_sum),
            "last_logged": self.last_logged,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.batches.load_state_dict(state["sampler"])
        if state["collator"] is not None:
            self.data_collator.load_state_dict(state["collator"])
        if self.args.restore_callback_states_from_checkpoint:
            for callback in self.callbacks:
                if type(callback).__name__ in state["callbacks"]:
                    callback.load_state_dict(state["callbacks"][type(callback).__name__])
        own = {name: getattr(self.state, name) for name in ("max_steps", "num_train_epochs", "train_batch_size")}
        own |= {f"{kind}_steps": getattr(self.state, f"{kind}_steps") for kind in ("logging", "eval", "save")}
        known = {f.name for f in fields(TrainerState)}
        saved = {name: value for name, value in state["trainer_state"].items() if name in known}
        self.state = TrainerState(**(saved | own))
        self.loss_sum, self.last_logged = state["loss_sum"], state["last_logged"]

    def find_checkpoint(self, which: str | Path | bool) -> Checkpoint:
        """The newest checkpoint of output_dir (True), or the one at a path, whole and with what a resume needs."""
        if which is True:
            checkpoint = newest_checkpoint(self.args.output_dir, TRAINER_PREFIX)
        else:
            checkpoint = load_checkpoint(Path(str(which)))
        if not checkpoint.optimizer:
            raise CheckpointError(
                f"{checkpoint.path} holds the model alone (save_only_model); open it with from_pretrained and train anew"
            )
        return checkpoint


def write_state(folder: Path, state: TrainerState) -> None:
    """trainer_state.json, as transformers writes it."""
    write_text(folder / "trainer_state.json", json.dumps(state.to_dict(), indent=2, sort_keys=True) + "\n")
