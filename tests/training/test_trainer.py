"""The loop: it learns, it resumes bit for bit, and it stops with a name when numbers break."""

import math

import numpy as np
import pytest

from minilm.data import RandomWindows, SequentialWindows
from minilm.errors import CheckpointError, TrainingDivergedError
from minilm.models import GPT, GPTConfig
from minilm.training import (
    Callback,
    CorpusTrainer,
    EarlyStopping,
    LogMetrics,
    MetricsLog,
    TrainingConfig,
    list_checkpoints,
    load_checkpoint,
    read_metrics,
)

TOKENS = np.tile(np.arange(11), 60)  # 0 1 2 … 10 0 1 2 …: a text that can be predicted perfectly


def make_trainer(folder=None, callbacks=(), validation=True, model_options=(), **options):
    defaults = {
        "max_steps": 12,
        "batch_size": 4,
        "warmup_steps": 2,
        "eval_steps": 4,
        "save_steps": 5,
        "learning_rate": 1e-2,
    }
    config = TrainingConfig(**{**defaults, **options})
    model_rng, batch_rng = np.random.default_rng(config.seed).spawn(2)
    shape = {"vocab_size": 11, "context_length": 8, "num_layers": 2, "num_heads": 2, "hidden_size": 16, "dropout": 0.1}
    model = GPT(GPTConfig(**{**shape, **dict(model_options)}), model_rng)
    windows = SequentialWindows(TOKENS[:100], 4, 8) if validation else None
    return CorpusTrainer(
        model, config, RandomWindows(TOKENS, config.batch_size, 8, batch_rng), windows, folder, callbacks
    )


def weights(trainer):
    return trainer.optimizer.flat.data.copy()


def test_the_loss_falls():
    trainer = make_trainer(max_steps=150, model_options={"dropout": 0.0})
    trainer.train()
    assert trainer.validation_loss < 0.2 < math.log(11)


@pytest.mark.parametrize("interrupted_at", [1, 4, 5, 7, 11])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, interrupted_at):
    whole = make_trainer(tmp_path / "whole", [EarlyStopping(100)])
    whole.train()

    class StopAt(Callback):
        def on_step_end(self, trainer):
            if trainer.step == interrupted_at:
                trainer.stop_reason = "enough"

    first = make_trainer(tmp_path / "parts", [StopAt(), EarlyStopping(100)])
    first.train()
    assert first.step == interrupted_at
    second = make_trainer(tmp_path / "parts", [EarlyStopping(100)])
    second.resume(load_checkpoint(list_checkpoints(tmp_path / "parts")[-1]))
    second.train()
    np.testing.assert_array_equal(weights(second), weights(whole))
    for name, array in whole.optimizer.state.items():
        np.testing.assert_array_equal(second.optimizer.state[name], array)
    assert second.best_loss == whole.best_loss
    assert second.callbacks[-1].state_dict() == whole.callbacks[-1].state_dict()


def test_accumulated_batches_are_one_large_batch():
    small = make_trainer(batch_size=2, gradient_accumulation_steps=3, model_options={"dropout": 0.0})
    large = make_trainer(batch_size=6, model_options={"dropout": 0.0})
    inputs, targets = large.train_batches.next_batch()
    parts = iter([(inputs[i : i + 2], targets[i : i + 2]) for i in (0, 2, 4)])
    small.train_batches.next_batch = lambda: next(parts)
    large.train_batches.next_batch = lambda: (inputs, targets)
    small.training_step()
    large.training_step()
    assert small.loss == pytest.approx(large.loss, rel=1e-6)
    assert small.grad_norm == pytest.approx(large.grad_norm, rel=1e-5)
    np.testing.assert_allclose(weights(small), weights(large), atol=2e-5)


def test_early_stopping_counts_evaluations_without_improvement():
    trainer = make_trainer(callbacks=[EarlyStopping(2)], learning_rate=0.0, min_learning_rate=0.0, max_steps=100)
    trainer.train()
    assert trainer.step == 12  # the first evaluation is the best, the second and third are no better
    assert "has not improved in 2 evaluations" in trainer.stop_reason


class Poison(Callback):
    """Breaks a matrix after step 6."""

    def __init__(self, name, value):
        self.name, self.value = name, value

    def on_step_end(self, trainer):
        if trainer.step == 6:
            dict(trainer.model.named_parameters())[self.name].data[...] = self.value


@pytest.mark.parametrize(
    ("name", "value", "broken"),
    [
        ("blocks.1.feed_forward.up.weight", np.nan, r"the parameter blocks\.1\.feed_forward\.up\.weight"),
        ("blocks.0.feed_forward.up.weight", 3e38, r"the output of blocks\.0\.feed_forward\.up \(Linear\)"),
    ],
)
def test_a_loss_that_breaks_names_step_and_layer_and_keeps_the_checkpoint(tmp_path, name, value, broken):
    trainer = make_trainer(tmp_path, [Poison(name, value)], max_grad_norm=1.0)
    with pytest.raises(TrainingDivergedError, match=rf"at step 7; the first to break was {broken}.*step-000005"):
        trainer.train()
    assert np.isfinite(load_checkpoint(list_checkpoints(tmp_path)[-1]).weights[name]).all()


def test_weights_that_broke_are_never_saved(tmp_path):
    class PoisonFive(Poison):
        def on_step_end(self, trainer):
            if trainer.step == 5:
                trainer.optimizer.flat.data[3] = np.inf

    with pytest.raises(TrainingDivergedError):
        make_trainer(tmp_path, [PoisonFive("", 0)], validation=False).train()
    assert list_checkpoints(tmp_path) == []


def test_a_checkpoint_of_another_model_or_optimizer_is_refused(tmp_path):
    make_trainer(tmp_path).train()
    checkpoint = load_checkpoint(list_checkpoints(tmp_path)[-1])
    with pytest.raises(CheckpointError, match="another model"):
        make_trainer(model_options={"hidden_size": 32}).resume(checkpoint)
    with pytest.raises(CheckpointError, match="trained with AdamW"):
        make_trainer(optimizer="sgd").resume(checkpoint)


def test_the_log_has_a_line_per_event_and_forgets_the_future(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    make_trainer(callbacks=[LogMetrics(log)], logging_steps=3).train()
    records = read_metrics(log.path)
    assert [r["step"] for r in records if r["event"] == "train"] == [1, 3, 6, 9, 12]
    assert [r["step"] for r in records if r["event"] == "evaluation"] == [4, 8, 12]
    log.forget_after(8)
    assert max(r["step"] for r in read_metrics(log.path)) == 8


def test_a_log_that_cannot_be_written_waits(tmp_path):
    log = MetricsLog(tmp_path / "missing" / "metrics.jsonl")
    with pytest.warns(UserWarning, match="wait in memory"):
        log.append(event="train", step=1)
    log.append(event="train", step=2)
    (tmp_path / "missing").mkdir()
    log.append(event="train", step=3)
    assert [r["step"] for r in read_metrics(log.path)] == [1, 2, 3]


def test_a_checkpoint_that_cannot_be_written_does_not_end_training(tmp_path):
    (tmp_path / "blocked").write_text("a file where the folder should be")
    failures = []

    class Count(Callback):
        def on_save_failed(self, trainer):
            failures.append(str(trainer.save_error))
            (tmp_path / "blocked").unlink(missing_ok=True)  # the user makes room

    trainer = make_trainer(tmp_path / "blocked", [Count()])
    trainer.train()
    assert len(failures) == 1
    assert [p.name for p in list_checkpoints(tmp_path / "blocked")][-1] == "step-000012"
