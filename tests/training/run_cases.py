"""Small runs, things done in the midst of them, and what they leave."""

import numpy as np

from minilm.models import GPTConfig
from minilm.training import (
    Callback,
    RunConfig,
    TrainingConfig,
    list_checkpoints,
    load_checkpoint,
    read_metrics,
)

STEPS = 12
MEASURED = ("seconds", "tokens_per_second")


def silent(line):
    pass


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
