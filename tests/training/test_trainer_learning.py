"""The Trainer learns: seeds, accumulated batches, losses, optimizers and schedules of one's own, what it prints."""

import numpy as np
import pytest
from trainer_cases import Tokens, accuracy, assert_same_weights, make, make_model, reviews

from minilm import GPT2Config, GPT2LMHeadModel
from minilm.optim import SGD, LRScheduler
from minilm.training import (
    Trainer,
    TrainingArguments,
)
from minilm.training.recipe import make_optimizer


def test_it_learns(tmp_path):
    data = reviews(64)
    trainer = make(tmp_path, make_model(dropout=0.0), data, eval_data=data, max_steps=120, metrics=accuracy)
    output = trainer.train()
    assert output.global_step == 120
    assert output.training_loss == output.metrics["train_loss"]
    assert not trainer.model.training
    assert trainer.evaluate()["eval_accuracy"] > 0.95


def test_the_same_seed_gives_the_same_bits_whatever_the_model_was_made_with(tmp_path):
    one = make(tmp_path, make_model())
    model = make_model()
    before = model.generator
    model.generator.random(5)
    state = before.bit_generator.state
    two = make(tmp_path, model)
    one.train()
    two.train()
    assert_same_weights(one, two)
    assert before.bit_generator.state == state  # the caller's own generator is left alone


def test_accumulated_batches_are_one_large_batch(tmp_path):
    """Also where the parts have different numbers of labels."""
    data = [{"input_ids": e["input_ids"], "labels": e["input_ids"]} for e in reviews()]
    config = GPT2Config(
        vocab_size=30, n_embd=8, n_layer=1, n_head=2, n_positions=16, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )

    def collate(examples):
        width = max(len(e["input_ids"]) for e in examples)
        rows = [e["input_ids"] + [0] * (width - len(e["input_ids"])) for e in examples]
        labels = [e["labels"] + [-100] * (width - len(e["labels"])) for e in examples]
        return {"input_ids": np.array(rows), "labels": np.array(labels)}

    logs = []
    for size, parts in ((2, 4), (8, 1)):
        model = GPT2LMHeadModel(config, np.random.default_rng(0))
        trainer = make(
            tmp_path / str(size), model, data, collator=collate, per_device_train_batch_size=size,
            gradient_accumulation_steps=parts, logging_steps=1, max_steps=3,
        )  # fmt: skip
        trainer.train()
        logs.append(trainer.state.log_history[:3])
    for small, large in zip(*logs, strict=True):
        assert small["loss"] == pytest.approx(large["loss"], rel=1e-5)
        assert small["grad_norm"] == pytest.approx(large["grad_norm"], rel=1e-4)


def test_a_loss_of_ones_own(tmp_path):
    class Doubled(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False):
            labels = inputs.pop("labels")
            outputs = model(**inputs, labels=labels)
            return (outputs.loss * 2, outputs) if return_outputs else outputs.loss * 2

    args = {"max_steps": 1, "logging_steps": 1, "disable_tqdm": True, "save_strategy": "no"}
    losses = []
    for kind in (Trainer, Doubled):
        trainer = kind(
            make_model(), TrainingArguments(tmp_path, **args), train_dataset=reviews(), processing_class=Tokens()
        )
        trainer.train()
        losses.append(trainer.state.log_history[0]["loss"])
    assert losses[1] == pytest.approx(2 * losses[0])
    ours = Trainer(
        make_model(), TrainingArguments(tmp_path, **args), train_dataset=reviews(), processing_class=Tokens(),
        compute_loss_func=lambda outputs, labels: outputs.loss * 3,
    )  # fmt: skip
    ours.train()
    assert ours.state.log_history[0]["loss"] == pytest.approx(3 * losses[0])


def test_an_optimizer_and_a_schedule_of_ones_own(tmp_path):
    model = make_model(dropout=0.0)
    optimizer = SGD(model.parameters(), lr=0.5)
    schedule = LRScheduler(optimizer, lambda step: 1 / (step + 1))
    args = TrainingArguments(tmp_path, max_steps=4, logging_steps=1, disable_tqdm=True)
    trainer = Trainer(model, args, train_dataset=reviews(), processing_class=Tokens(), optimizers=(optimizer, schedule))
    trainer.train()
    assert [line["learning_rate"] for line in trainer.state.log_history[:4]] == [0.5, 0.25, 0.5 / 3, 0.125]


def test_training_again_begins_with_the_optimizers_own_learning_rate(tmp_path):
    model = make_model()
    args = TrainingArguments(tmp_path, max_steps=2, logging_steps=1, disable_tqdm=True, save_strategy="no")
    optimizers = (SGD(model.parameters(), lr=0.5), None)
    trainer = Trainer(model, args, train_dataset=reviews(), processing_class=Tokens(), optimizers=optimizers)
    for _ in range(2):
        trainer.train()
        assert [line["learning_rate"] for line in trainer.state.log_history[:2]] == [0.5, 0.25]


def test_biases_and_norms_do_not_decay():
    model = make_model()
    optimizer = make_optimizer(model, TrainingArguments("out", weight_decay=0.1))
    names = {id(p): name for name, p in model.named_parameters()}
    for group in optimizer.param_groups:
        for p in group["params"]:
            plain = "norm" in names[id(p)] or names[id(p)].endswith("bias")
            assert group["weight_decay"] == (0.0 if plain else 0.1), names[id(p)]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(names)


def test_the_old_name_tokenizer(tmp_path):
    with pytest.warns(DeprecationWarning, match="tokenizer is called processing_class now"):
        trainer = Trainer(make_model(), TrainingArguments(tmp_path), tokenizer=Tokens())
    assert isinstance(trainer.processing_class, Tokens)


def test_what_is_printed(tmp_path, capsys):
    make(tmp_path, max_steps=2, logging_steps=1, save_strategy="no").train()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("{'loss': ")
    assert "'train_runtime'" in lines[-1]


def test_a_bar_is_drawn_without_disturbing_the_lines(tmp_path, capsys):
    make(tmp_path, max_steps=2, logging_steps=1, save_strategy="no", disable_tqdm=False, eval_data=reviews()).train()
    captured = capsys.readouterr()
    assert "training: 100%" in captured.err
    assert captured.out.count("{'loss'") == 2
