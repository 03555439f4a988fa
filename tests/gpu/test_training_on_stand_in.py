"""Training and generation on CuPy's arrays: the CPU's losses and texts, one copy to the device per batch, nothing back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import some_text
from generation.generation_models import FAMILIES, ROWS
from gpu import stand_in
from gpu.engine_cases import V, gpt_of, rng
from training import trainer_cases

import minilm_kernels
from minilm import optim
from minilm.data import RandomWindows, SequentialWindows
from minilm.errors import InputError, TrainingDivergedError
from minilm.generation import GenerationConfig, generate, generate_tokens
from minilm.hub import AutoModelForSequenceClassification
from minilm.metrics import evaluate_loss
from minilm.models import GPTConfig
from minilm.training import CorpusTrainer, RunConfig, TrainingConfig, open_run, resume_run, start_run
from minilm.training import run as run_module
from minilm.training.checkpoint import list_checkpoints, load_checkpoint

STEPS = 6
pytestmark = pytest.mark.usefixtures("cupy")


def tokens(n=200):
    return rng().integers(0, V, n)


def make_trainer(device, precision="float32", folder=None, model=None, **changes):
    options = {
        "max_steps": STEPS, "batch_size": 4, "learning_rate": 1e-2, "min_learning_rate": 1e-3, "warmup_steps": 2,
        "eval_steps": 100, "save_steps": 100, "logging_steps": 3,
    }  # fmt: skip
    config = TrainingConfig(**{**options, **changes})
    model = (gpt_of(dropout=0.1) if model is None else model).to(device)
    batches = RandomWindows(tokens(), config.batch_size, 8, np.random.default_rng(1))
    trainer = CorpusTrainer(model, config, batches, checkpoint_folder=folder)
    trainer.compute_in(precision)
    return trainer


def close(there, here):
    """Equal but for the last bits: a BLAS rounds by where an array lies in memory, and Adam divides small by small."""
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-5)


def losses_of(trainer, steps=STEPS):
    """Loss and norm of each step, read as a log reads them."""
    seen = []
    for _ in range(steps):
        trainer.training_step()
        trainer.step += 1
        seen.append((trainer.loss, trainer.grad_norm))
    return np.array(seen)


# --- the loop ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize(
    "changes", [{}, {"gradient_accumulation_steps": 2}, {"optimizer": "sgd"}, {"max_grad_norm": 0.0}]
)
def test_a_run_has_the_cpus_losses(changes):
    here, there = make_trainer("cpu", **changes), make_trainer("cuda", **changes)
    close(losses_of(there), losses_of(here))
    for name, array in here.model.state_dict().items():
        close(there.model.state_dict()[name].get(), array)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_one_copy_per_batch_and_nothing_back(precision):
    """With CuPy's kernels, which serve by themselves. float16 asks once per step whether a gradient overflowed."""
    if precision == "bfloat16":
        pytest.importorskip("ml_dtypes")
    trainer = make_trainer("cuda", precision, gradient_accumulation_steps=2)
    trainer.training_step()  # the optimizer's first step, and the compilation of the kernels
    stand_in.transfers.clear()
    with minilm_kernels.use_kernels("cupy"):
        for _ in range(3):
            trainer.training_step()
    assert len(stand_in.transfers.in_) == 3 * 2, stand_in.transfers.in_
    # inputs and targets of 4 windows of 8 tokens, 8 bytes each
    assert {size for size, _ in stand_in.transfers.in_} == {2 * 4 * 8 * 8}
    assert len(stand_in.transfers.out) == (3 if precision == "float16" else 0), stand_in.transfers.out
    assert not trainer.loss_is_here
    assert np.isfinite(trainer.loss)  # which fetches it
    assert trainer.loss_is_here


@pytest.mark.usefixtures("reference")
def test_ids_that_the_model_lacks_are_noticed_before_they_are_sent():
    trainer = make_trainer("cuda", model=gpt_of(vocab_size=10))
    stand_in.transfers.clear()
    with pytest.raises(InputError, match=r"inputs of a batch hold \d+, the model knows 0 to 9"):
        trainer.training_step()
    assert stand_in.transfers.in_ == []


@pytest.mark.usefixtures("reference")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_broken_training_is_noticed_where_the_loss_is_read(tmp_path, cupy, monkeypatch):
    # CuPy's kernels leave the norm on the device, the reference does not
    monkeypatch.setattr(optim.Optimizer, "clip_grad_norm", lambda *args, **kwargs: cupy.ones(()))
    trainer = make_trainer("cuda", folder=tmp_path, learning_rate=1e30, warmup_steps=0)
    with pytest.raises(
        TrainingDivergedError, match=r"loss became (nan|inf) at step \d+; the first to break was the parameter"
    ):
        losses_of(trainer)
    trainer = make_trainer("cuda", folder=tmp_path, learning_rate=1e30, warmup_steps=0)
    with pytest.raises(TrainingDivergedError, match="weights became nan"):
        trainer.train()  # which reads no loss, but looks at the weights before it writes them
    assert list_checkpoints(tmp_path) == []


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize(("first", "second"), [("cuda", "cpu"), ("cpu", "cuda"), ("cuda", "cuda")])
def test_a_checkpoint_knows_no_device(tmp_path, first, second):
    whole = losses_of(make_trainer("cpu"))
    begun = make_trainer(first)
    half = losses_of(begun, 3)
    path = begun.write_checkpoint(tmp_path)
    resumed = make_trainer(second)
    resumed.resume(load_checkpoint(path))
    close(np.concatenate([half, losses_of(resumed, 3)]), whole)


@pytest.mark.usefixtures("reference")
def test_a_run_by_name_on_either_device(tmp_path, monkeypatch):
    """start_run, resume_run on the other device, open_run: the same numbers as a run that stayed on the CPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_module, "plot_runs", lambda folders, path: path)
    text = Path("t.txt")
    text.write_text(some_text())
    shape = GPTConfig(context_length=8, num_layers=1, num_heads=2, hidden_size=8, dropout=0.1)
    config = RunConfig(str(text), model=shape, training=TrainingConfig(max_steps=6, batch_size=2, eval_steps=3))
    alone = start_run(config, Path("cpu"), say=lambda line: None, progress=False)
    begun = replace(config, device="cuda", training=replace(config.training, max_steps=3, min_learning_rate=1e-3))
    start_run(begun, Path("both"), say=lambda line: None, progress=False)
    saved = RunConfig.load("both/config.yaml")
    assert saved.device == "cuda"
    there = start_run(replace(config, device="cuda"), Path("gpu"), say=lambda line: None, progress=False)
    assert there.loss == pytest.approx(alone.loss, rel=1e-5)
    resumed = resume_run(
        replace(saved, device="cpu", training=config.training), Path("both"), say=lambda line: None, progress=False
    )
    assert resumed.step == 6
    assert str(open_run("gpu").model.device) == "cpu"


# --- the Trainer ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("reference")
def test_the_trainer_has_the_cpus_losses_and_files(tmp_path):
    logs, folders = [], {}
    for device in ("cpu", "cuda"):
        folders[device] = tmp_path / device
        model = trainer_cases.make_model().to(device)
        trainer = trainer_cases.make(
            folders[device], model, eval_data=trainer_cases.reviews(8, 1), metrics=trainer_cases.accuracy,
            eval_strategy="steps", eval_steps=6, logging_steps=3, save_steps=6, load_best_model_at_end=True,
        )  # fmt: skip
        trainer.train()
        predicted = trainer.predict(trainer_cases.reviews(5, 2)).predictions
        assert isinstance(predicted, np.ndarray)
        clock = ("runtime", "second")
        lines = [
            {k: v for k, v in line.items() if not any(c in k for c in clock)} for line in trainer.state.log_history
        ]
        logs.append((lines, predicted))
    for here, there in zip(logs[0][0], logs[1][0], strict=True):
        assert there == pytest.approx(here, rel=1e-4)
    close(logs[1][1], logs[0][1])
    opened = [
        AutoModelForSequenceClassification.from_pretrained(folder / "checkpoint-12").state_dict()
        for folder in folders.values()
    ]
    for name in opened[0]:
        close(opened[1][name], opened[0][name])


@pytest.mark.usefixtures("reference")
def test_the_trainer_resumes_on_the_other_device(tmp_path):
    whole = trainer_cases.make(tmp_path / "whole")
    whole.train()
    there = trainer_cases.make(tmp_path / "parts", trainer_cases.make_model().to("cuda"), max_steps=12, save_steps=6)
    there.train()
    here = trainer_cases.make(tmp_path / "parts", max_steps=12)
    here.train(resume_from_checkpoint=tmp_path / "parts" / "checkpoint-6")
    for name, array in trainer_cases.weights(whole).items():
        close(here.model.state_dict()[name], array)


# --- measuring and writing --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("reference")
def test_measuring():
    model = gpt_of()
    windows = SequentialWindows(tokens(), 4, 8)
    here = evaluate_loss(model, windows)
    assert evaluate_loss(model.to("cuda"), windows) == pytest.approx(here, rel=1e-6)


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("options", [
    {"max_new_tokens": 6}, {"max_new_tokens": 6, "use_cache": False}, {"max_new_tokens": 5, "num_beams": 3},
    {"max_new_tokens": 6, "do_sample": True, "num_return_sequences": 2},
], ids=["greedy", "no cache", "beams", "sampled"])  # fmt: skip
def test_the_cpus_texts(family, options):
    here, there = family(), family().to("cuda")
    texts = [
        generate(model, ROWS, generator=np.random.default_rng(0), pad_token_id=0, **options) for model in (here, there)
    ]
    assert isinstance(texts[1], np.ndarray)
    np.testing.assert_array_equal(*texts)


@pytest.mark.usefixtures("reference")
def test_a_token_costs_one_copy_each_way():
    config = GenerationConfig(max_new_tokens=20, top_k=5)
    here, there = gpt_of(), gpt_of().to("cuda")
    # past the 16 positions of the model
    written = list(generate_tokens(here, [1, 2, 3], config, np.random.default_rng(0)))
    stand_in.transfers.clear()
    assert list(generate_tokens(there, [1, 2, 3], config, np.random.default_rng(0))) == written
    assert len(stand_in.transfers.in_) == len(stand_in.transfers.out) == 20
    assert {size for size, _ in stand_in.transfers.out} == {4 * V}  # the scores of one position
