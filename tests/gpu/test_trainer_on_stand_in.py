"""The Trainer on CuPy's arrays: 16 bits, evaluations in one copy per batch, heads that need no look at the device, files."""

from __future__ import annotations

import numpy as np
import pytest
from gpu import stand_in
from gpu.engine_cases import CASES, gpt_of, rng, words
from gpu.test_training_on_stand_in import close, tokens
from training import trainer_cases

import minilm
import minilm_kernels
from minilm.data import SequentialWindows
from minilm.devices import to_host
from minilm.errors import InputError
from minilm.hub import AutoModelForSequenceClassification
from minilm.metrics import evaluate_loss
from minilm.optim import AdamW
from minilm.training import LoraConfig, Trainer, TrainingArguments, get_peft_model, load_adapter, save_adapter
from minilm.training.device_batches import check_batch, sent
from minilm.training.model_files import read_model, write_model

pytestmark = pytest.mark.usefixtures("cupy", "reference")
HALVES = [("fp16", "float16"), pytest.param("bf16", "bfloat16", marks=pytest.mark.slow)]


def trained(folder, device="cuda", model=None, **options):
    model = (trainer_cases.make_model(dropout=0.0) if model is None else model).to(device)
    trainer = trainer_cases.make(folder, model, eval_data=trainer_cases.reviews(7, 1), logging_steps=1, **options)
    trainer.train()
    return trainer


def losses_of(trainer):
    return np.array([line["loss"] for line in trainer.state.log_history if "loss" in line])


class Watch(trainer_cases.TrainerCallback):
    """Notes the dtypes of all weights after each step."""

    def __init__(self):
        self.seen = []

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.seen.append(dtypes_of(model))


def dtypes_of(model):
    return {str(parameter.dtype) for parameter in model.parameters()}


# --- 16 bits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("option", "name"), HALVES)
def test_the_trainer_in_16_bits(tmp_path, option, name):
    if option == "bf16":
        pytest.importorskip("ml_dtypes")
    here = losses_of(trained(tmp_path / "cpu", "cpu"))
    watch = Watch()
    with minilm_kernels.use_kernels("reference" if option == "fp16" else "cupy"):  # NumPy has no bfloat16
        trainer = trained(
            tmp_path / name, callbacks=[watch], eval_strategy="steps", eval_steps=6, save_steps=6, **{option: True}
        )
        there = losses_of(trainer)
    assert watch.seen == [{name}] * 12
    assert not np.array_equal(there, here)
    np.testing.assert_allclose(there, here, atol=0.03 if option == "fp16" else 0.1)
    assert dtypes_of(trainer.model) == {"float32"}  # as transformers leaves it
    saved = AutoModelForSequenceClassification.from_pretrained(tmp_path / name / "checkpoint-12").state_dict()
    for key, array in trainer.model.state_dict().items():
        np.testing.assert_array_equal(saved[key], to_host(array))  # all bits of them
    rounded = next(iter(saved.values())).astype(np.float16).astype(np.float32)
    assert not np.array_equal(rounded, next(iter(saved.values())))
    with minilm_kernels.use_kernels("reference"):
        predicted = trainer.predict(trainer_cases.reviews(5, 2)).predictions
        assert predicted.dtype == np.float32
        before = losses_of(trainer)[-1]
        trainer.state.log_history.clear()
        if option == "fp16":
            trainer.train()  # once more, from these weights
            assert losses_of(trainer)[0] < before + 0.5


def test_predictions_while_training_are_float32(tmp_path):
    seen = []

    def metrics(prediction):
        seen.append((prediction.predictions.dtype, prediction.predictions.shape))
        return {"one": 1.0}

    trained(tmp_path, metrics=metrics, eval_strategy="steps", eval_steps=6, fp16=True)
    assert seen == [(np.dtype(np.float32), (7, 2))] * 2


def test_a_run_in_16_bits_is_resumed_to_the_same_weights(tmp_path):
    whole = trained(tmp_path / "whole", fp16=True, save_steps=6)
    resumed = trainer_cases.make(tmp_path / "parts", trainer_cases.make_model(dropout=0.0).to("cuda"), fp16=True)
    resumed.train(resume_from_checkpoint=tmp_path / "whole" / "checkpoint-6")
    for name, array in whole.model.state_dict().items():
        close(to_host(resumed.model.state_dict()[name]), to_host(array))


def test_frozen_weights_get_16_bits_and_keep_32(tmp_path):
    """With LoRA most weights are not trained; they compute in 16 bits too and come back bit for bit."""
    model = get_peft_model(trainer_cases.make_model(dropout=0.0), LoraConfig(r=2), rng())
    frozen = {name: p.data.copy() for name, p in model.named_parameters() if not p.requires_grad}
    assert len(frozen) > 10
    watch = Watch()
    trainer = trained(tmp_path, model=model, fp16=True, save_steps=6, callbacks=[watch])
    assert watch.seen == [{"float16"}] * 12
    assert dtypes_of(model) == {"float32"}
    for name, p in model.named_parameters():
        if name in frozen:
            np.testing.assert_array_equal(to_host(p.data), frozen[name])
    assert trainer.optimizer.steps == 12
    again = get_peft_model(trainer_cases.make_model(dropout=0.0).to("cuda"), LoraConfig(r=2), rng())
    load_adapter(again, tmp_path / "checkpoint-12")
    batch = {"input_ids": words() % 20}
    close(to_host(again.eval()(**batch).logits.data), to_host(model.eval()(**batch).logits.data))


def test_files_hold_all_bits_of_frozen_weights(tmp_path):
    model = trainer_cases.make_model(dropout=0.0)
    for name, p in model.named_parameters():
        p.requires_grad = name.startswith("classifier")
    before = {name: array.copy() for name, array in model.state_dict().items()}
    trained(tmp_path, model=model, fp16=True, save_steps=6)
    saved = AutoModelForSequenceClassification.from_pretrained(tmp_path / "checkpoint-12").state_dict()
    for name, array in before.items():
        assert np.array_equal(saved[name], array) != name.startswith("classifier"), name


@pytest.mark.parametrize("name", CASES)
def test_a_loss_is_a_float32_number_whatever_computes_it(name):
    """And nearly that of float32: its own rounding would add an error of 2⁻¹¹, and the scale would leave float16's range."""
    model, batch = CASES[name]()
    model.eval()
    full = model(**batch)
    optimizer = AdamW([p for p in model.to("cuda").parameters() if p.requires_grad])
    optimizer.compute_in("float16", model.parameters())
    half = model(**batch)
    full, half = (outputs[1] if isinstance(outputs, tuple) else outputs.loss for outputs in (full, half))
    assert half.dtype == np.float32
    assert half.item() == pytest.approx(full.item(), rel=2e-3)


@pytest.mark.parametrize(
    ("model", "option", "message"),
    [
        (lambda: trainer_cases.make_model(), "fp16", r"fp16 is True, which needs a GPU, .*call model\.to\('cuda'\)"),
        (lambda: trainer_cases.make_model(), "bf16", r"bf16 is True, which needs a GPU"),
        (lambda: trainer_cases.make_model().double().to("cuda"), "fp16", "starts from float32 weights, .* has float64"),
    ],
)
def test_16_bits_that_cannot_be_are_refused_before_anything_is_written(tmp_path, model, option, message):
    trainer = trainer_cases.make(tmp_path / "out", model(), **{option: True})
    with pytest.raises(InputError, match=message):
        trainer.train()
    assert not (tmp_path / "out").exists()


# --- one copy per batch -----------------------------------------------------------------------------------------------


def test_an_evaluation_sends_each_batch_once():
    model, windows = gpt_of(), SequentialWindows(tokens(), 4, 8)
    here, count = evaluate_loss(model, windows), len(list(windows))
    model.to("cuda")
    stand_in.transfers.clear()
    assert evaluate_loss(model, windows) == pytest.approx(here, rel=1e-6)
    assert len(stand_in.transfers.in_) == count > 3
    # the sum, once at the end; the reference of the loss counts its rows on the host, CuPy's kernel does not
    back = [where.partition(":")[0] for _, where in stand_in.transfers.out]
    assert [where for where in back if where != "loss.py"] == ["evaluation.py"]
    with pytest.raises((InputError, IndexError), match="99"):
        evaluate_loss(model, [(np.array([[1, 99]]), np.array([[1, 2]]))])


def test_the_trainers_evaluation_sends_each_batch_once(tmp_path):
    trainer = trained(tmp_path, max_steps=1)
    stand_in.transfers.clear()
    trainer.evaluate(trainer_cases.reviews(20, 3))
    assert len(stand_in.transfers.in_) == 3  # eight at a time
    stand_in.transfers.clear()
    trainer.predict(trainer_cases.reviews(20, 3))
    assert len(stand_in.transfers.in_) == 3


@pytest.mark.parametrize("name", ["bert_answers", "bert_pretraining", "bert_numbers", "bert_several_labels"])
def test_heads_of_every_kind_look_at_nothing_on_the_device(name):
    model, batch = CASES[name]()
    model.to("cuda")
    assert check_batch(model, batch)
    stand_in.transfers.clear()
    moved, checked = sent(model, batch)
    with checked:
        model(**moved)
    assert len(stand_in.transfers.in_) == 1
    assert [entry for entry in stand_in.transfers.out if not entry[1].startswith("loss.py")] == []


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("bert_answers", {"start_positions": np.array([1, -3, 0])}, "start_positions hold -3"),
        ("bert_pretraining", {"next_sentence_label": np.array([0, 2, 1])}, "next_sentence_label hold 2"),
        ("bert_numbers", {"labels": np.array([0.5, np.nan, 1], np.float32)}, "not finite"),
        ("bert_several_labels", {"labels": np.full((3, 3), 1.5, np.float32)}, "labels run from 1.5 to 1.5"),
    ],
)
def test_wrong_labels_are_named_on_the_device_as_on_the_host(name, changes, message):
    for device in ("cpu", "cuda"):
        model, batch = CASES[name]()
        moved, checked = sent(model.to(device), batch | changes)
        with checked, pytest.raises(InputError, match=message):
            model(**moved)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bert_classes", "gpt2_lm", "t5", "gpt"])
@pytest.mark.parametrize("pretrained", [True, False], ids=["folder", "plain"])
def test_files_go_into_a_model_that_is_on_the_device_already(tmp_path, name, pretrained):
    def build():
        model, _ = CASES[name]()
        kind = type(model)
        return getattr(minilm, kind.__name__, kind)(model.config, rng()) if pretrained else model

    model, other = build(), build()
    write_model(tmp_path, model)
    for parameter in other.parameters():
        parameter.data[...] = 0
    read_model(tmp_path, other.to("cuda"))
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(to_host(other.state_dict()[key]), array)


def test_adapters_are_made_saved_and_loaded_on_the_device(tmp_path):
    model = get_peft_model(trainer_cases.make_model(dropout=0.0).to("cuda"), LoraConfig(r=2), rng())
    assert {str(p.device) for p in model.parameters()} == {"cuda"}
    for name, p in model.named_parameters():
        if name.endswith(".B"):
            p.data += 0.1
    save_adapter(model, tmp_path)
    other = load_adapter(trainer_cases.make_model(dropout=0.0).to("cuda"), tmp_path)
    ids = words() % 20
    close(to_host(other.eval()(ids).logits.data), to_host(model.eval()(ids).logits.data))


def test_a_model_init_may_put_the_model_on_the_gpu(tmp_path):
    args = TrainingArguments(tmp_path, max_steps=2, disable_tqdm=True, fp16=True)
    trainer = Trainer(
        None, args, None, trainer_cases.reviews(), None, trainer_cases.Tokens(),
        model_init=lambda: trainer_cases.make_model().to("cuda"),
    )  # fmt: skip
    trainer.train()
    assert str(trainer.model.device) == "cuda"
