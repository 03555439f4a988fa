"""The Trainer against transformers' own and against the plain PyTorch loop: the same losses, norms, rates and weights."""

from __future__ import annotations

import numpy as np
import pytest

from minilm import BertForMaskedLM, BertForSequenceClassification, GPT2LMHeadModel, T5ForConditionalGeneration
from minilm.training import Trainer, TrainingArguments

torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests and is not installed")
transformers = pytest.importorskip(
    "transformers", reason="transformers is the oracle of these tests and is not installed"
)

torch.set_num_threads(1)
STEPS = 20
BERT = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 16, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
OPTIONS = {
    "max_steps": STEPS, "per_device_train_batch_size": 4, "learning_rate": 3e-3, "weight_decay": 0.1,
    "adam_beta2": 0.99, "max_grad_norm": 0.5, "logging_steps": 1, "save_strategy": "no", "report_to": "none",
    "disable_tqdm": True, "train_sampling_strategy": "sequential",
}  # fmt: skip
SCHEDULES = {
    "linear": {"lr_scheduler_type": "linear"},
    "linear, warm-up of 5 steps": {"lr_scheduler_type": "linear", "warmup_steps": 5},
    "cosine, warm-up of a share": {"lr_scheduler_type": "cosine", "warmup_steps": 0.13},
    "constant": {"lr_scheduler_type": "constant"},
    "constant after a warm-up": {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 3},
}


def examples(seed=0, n=26, labels=2, length=9):
    rng = np.random.default_rng(seed)
    return [{"input_ids": rng.integers(4, 40, length).tolist(), "labels": int(rng.integers(labels))} for _ in range(n)]


def tokens(seed=0, n=26, length=9):
    """Examples for a language model, of which a third of the labels does not count."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(4, 40, (n, length))
    ignored = rng.random((n, length)) < rng.random((n, 1)) * 0.6
    return [
        {"input_ids": row.tolist(), "labels": labels.tolist()} for row, labels in zip(ids, np.where(ignored, -100, ids))
    ]


def pair(theirs, own_class, folder):
    """The same model twice: theirs, and ours opened from what theirs saved."""
    torch.manual_seed(0)
    theirs.save_pretrained(folder)
    return theirs, own_class.from_pretrained(folder)


def bert(folder, name="BertForSequenceClassification", own=BertForSequenceClassification):
    torch.manual_seed(0)
    return pair(getattr(transformers, name)(transformers.BertConfig(**BERT)), own, folder)


def both(theirs, own, data, folder, theirs_differ=None, **options):
    """Train both; returns the two trainers' log histories. theirs_differ: options of transformers alone.

    transformers 5 sums the mean losses of the parts of a step for models that take **kwargs but do not scale their loss
    (BERT, T5), and counts one label too many per text for GPT-2; without model_accepts_loss_kwargs it takes plain means.
    """
    pytest.importorskip("accelerate", reason="transformers' Trainer needs accelerate, which is not installed")
    options = {**OPTIONS, **options}
    reference = transformers.Trainer(
        theirs,
        transformers.TrainingArguments(str(folder / "a"), use_cpu=True, **{**options, **(theirs_differ or {})}),
        train_dataset=data,
        data_collator=transformers.default_data_collator,
    )
    reference.model_accepts_loss_kwargs = False
    reference.train()
    trainer = Trainer(own, TrainingArguments(folder / "b", use_cpu=True, **options), train_dataset=data)
    trainer.train()
    return reference.state.log_history, trainer.state.log_history


def assert_same(theirs, ours, steps=STEPS):
    theirs, ours = [[line for line in log if "loss" in line] for log in (theirs, ours)]
    assert [line["step"] for line in ours] == [line["step"] for line in theirs] == list(range(1, steps + 1))
    for name, tolerance in (("loss", 1e-4), ("grad_norm", 1e-3)):
        np.testing.assert_allclose(
            [line[name] for line in ours], [line[name] for line in theirs], rtol=tolerance, atol=tolerance, err_msg=name
        )
    for name in ("learning_rate", "epoch"):
        np.testing.assert_allclose(
            [line[name] for line in ours],
            [line[name] for line in theirs],
            rtol=1e-12,
            atol=1e-4 if name == "epoch" else 1e-15,
        )


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_classifier_trains_as_with_transformers(tmp_path, schedule):
    theirs, own = bert(tmp_path / "model")
    assert_same(*both(theirs, own, examples(), tmp_path, **SCHEDULES[schedule]))
    weights = {name: p.detach().numpy() for name, p in theirs.named_parameters()}
    saved = dict(own.mapping(own.config).to_file(own.state_dict().items(), own.is_base))
    for name, array in saved.items():
        np.testing.assert_allclose(array, weights[name], atol=2e-4, err_msg=name)


def test_epochs_and_steps_of_several_batches_are_cut_alike(tmp_path):
    """26 examples in batches of 4, three batches a step: 3 steps an epoch, the last of one batch with 2 examples."""
    theirs, own = bert(tmp_path / "model")
    logs = both(theirs, own, examples(), tmp_path, gradient_accumulation_steps=3, max_steps=-1, num_train_epochs=3)
    assert_same(*logs, steps=9)


LANGUAGE_MODELS = {
    "masked": lambda: (transformers.BertForMaskedLM(transformers.BertConfig(**BERT)), BertForMaskedLM),
    "causal": lambda: (
        transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=16, resid_pdrop=0.0, embd_pdrop=0.0,
                attn_pdrop=0.0, bos_token_id=1, eos_token_id=2,
            )
        ),
        GPT2LMHeadModel,
    ),
    "encoder-decoder": lambda: (
        transformers.T5ForConditionalGeneration(
            transformers.T5Config(
                vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, dropout_rate=0.0,
                decoder_start_token_id=0,
            )
        ),
        T5ForConditionalGeneration,
    ),
}  # fmt: skip


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("kind", LANGUAGE_MODELS)
def test_language_models_weigh_every_label_alike(tmp_path, kind, accumulation):
    torch.manual_seed(1)
    theirs, own = pair(*LANGUAGE_MODELS[kind](), tmp_path / "model")
    """With transformers one batch of 4 k texts, with minilm k batches of 4, whose numbers of labels differ."""
    options = {"gradient_accumulation_steps": accumulation, "max_steps": 6, "max_grad_norm": 0.0, "learning_rate": 1e-3}
    one_batch = {"gradient_accumulation_steps": 1, "per_device_train_batch_size": 4 * accumulation}
    assert_same(*both(theirs, own, tokens(n=24), tmp_path, one_batch, **options), steps=6)


def test_smoothed_labels(tmp_path):
    theirs, own = bert(tmp_path / "model")
    assert_same(*both(theirs, own, examples(), tmp_path, label_smoothing_factor=0.2, max_steps=6), steps=6)


def test_evaluation_and_prediction(tmp_path):
    pytest.importorskip("accelerate", reason="transformers' Trainer needs accelerate, which is not installed")
    theirs, own = bert(tmp_path / "model")

    def metrics(prediction):
        scores, labels = prediction
        return {"accuracy": (np.argmax(scores, -1) == labels).mean()}

    data, options = examples(3), {"per_device_eval_batch_size": 4, "report_to": "none", "disable_tqdm": True}
    reference = transformers.Trainer(
        theirs, transformers.TrainingArguments(str(tmp_path), use_cpu=True, **options),
        data_collator=transformers.default_data_collator, eval_dataset=data, compute_metrics=metrics,
    )  # fmt: skip
    trainer = Trainer(own, TrainingArguments(tmp_path, **options), eval_dataset=data, compute_metrics=metrics)
    expected, got = reference.evaluate(), trainer.evaluate()
    assert set(expected) - set(got) == {"eval_model_preparation_time"} & set(expected)
    assert got["eval_accuracy"] == expected["eval_accuracy"]
    assert got["eval_loss"] == pytest.approx(expected["eval_loss"], abs=1e-5)
    expected, got = reference.predict(data), trainer.predict(data)
    np.testing.assert_allclose(got.predictions, expected.predictions, atol=1e-5)
    np.testing.assert_array_equal(got.label_ids, expected.label_ids)
    assert got.metrics["test_accuracy"] == expected.metrics["test_accuracy"]


def test_the_plain_loop_of_pytorch(tmp_path):
    """AdamW, a linear schedule, clipping: written out with PyTorch, without anybody's Trainer."""
    theirs, own = bert(tmp_path / "model")
    data = examples()
    trainer = Trainer(own, TrainingArguments(tmp_path, **OPTIONS), train_dataset=data)
    trainer.train()
    decay = [p for name, p in theirs.named_parameters() if p.ndim > 1]
    rest = [p for name, p in theirs.named_parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (STEPS - step) / STEPS)
    theirs.train()
    losses, rates = [], []
    starts = list(range(0, len(data), 4))
    for step in range(STEPS):
        start = starts[step % len(starts)]
        part = data[start : start + 4]
        ids, labels = (torch.tensor([example[name] for example in part]) for name in ("input_ids", "labels"))
        loss = theirs(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    log = trainer.state.log_history[:STEPS]
    np.testing.assert_allclose([line["loss"] for line in log], losses, atol=1e-4)
    np.testing.assert_allclose([line["learning_rate"] for line in log], rates, rtol=1e-12)
