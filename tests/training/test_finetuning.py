"""The Trainer: it learns, evaluates, saves what from_pretrained opens, resumes bit for bit, and tells callbacks."""

import json

import numpy as np
import pytest

from minilm import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel, nn
from minilm import functional as F
from minilm.data.collators import DataCollatorForLanguageModeling
from minilm.errors import CheckpointError, InputError, TrainingDivergedError
from minilm.hub.bert import BertForMaskedLM, BertForQuestionAnswering
from minilm.optim import SGD, LRScheduler
from minilm.training import (
    EarlyStoppingCallback,
    LoraConfig,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    get_peft_model,
    read_metrics,
)
from minilm.training.recipe import make_optimizer

SHAPE = {
    "vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12,
    "max_position_embeddings": 16,
}  # fmt: skip


class Tokens:
    """What the Trainer needs of a tokenizer."""

    pad_token_id, mask_token_id, padding_side, all_special_ids = 0, 3, "right", (0, 1, 2, 3)

    def __len__(self):
        return 30

    def save_pretrained(self, folder):
        (folder / "vocab.txt").write_text("[PAD]\n")


def reviews(n=24, seed=0):
    """Texts whose class is their first token's."""
    rng = np.random.default_rng(seed)
    texts = [rng.integers(4, 30, rng.integers(2, 9)).tolist() for _ in range(n)]
    return [{"text": "left out", "input_ids": ids, "label": int(ids[0] >= 17)} for ids in texts]


def make_model(seed=0, dropout=0.1, kind=BertForSequenceClassification):
    config = BertConfig(**SHAPE, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
    return kind(config, np.random.default_rng(seed))


def make(folder, model=None, data=None, callbacks=(), eval_data=None, collator=None, metrics=None, **options):
    defaults = {"max_steps": 12, "per_device_train_batch_size": 4, "learning_rate": 1e-2, "disable_tqdm": True}
    args = TrainingArguments(folder, **{**defaults, **options})
    return Trainer(
        model or make_model(), args, collator, reviews() if data is None else data, eval_data, Tokens(),
        compute_metrics=metrics, callbacks=list(callbacks),
    )  # fmt: skip


def accuracy(prediction):
    scores, labels = prediction
    return {"accuracy": (scores.argmax(-1) == labels).mean()}


def weights(trainer):
    return {name: array.copy() for name, array in trainer.model.state_dict().items()}


def assert_same_weights(a, b):
    for name, array in weights(a).items():
        np.testing.assert_array_equal(array, weights(b)[name], err_msg=name)


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


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            control.should_training_stop = control.should_save = True


def masked(seed=0):
    return DataCollatorForLanguageModeling(Tokens(), seed=seed)


@pytest.mark.parametrize("interrupted_at", [1, 3, 6, 7, 11])
@pytest.mark.parametrize("task", ["classes", "masked words, LoRA", "masked words"])
def test_a_resumed_training_ends_with_the_same_bits(tmp_path, interrupted_at, task):
    def trainer(name, *callbacks):
        model, collator, data = make_model(), None, reviews()
        if task != "classes":
            model, collator = make_model(kind=BertForMaskedLM), masked()
            data = [{"input_ids": example["input_ids"]} for example in data]
        if "LoRA" in task:
            get_peft_model(model, LoraConfig(r=2, lora_dropout=0.1), np.random.default_rng(5))
        return make(
            tmp_path / name, model, data, [EarlyStoppingCallback(100), *callbacks], data, collator, logging_steps=4,
            eval_strategy="steps", eval_steps=5, save_steps=5, metric_for_best_model="loss",
            logging_dir=str(tmp_path / name / "logs"), gradient_accumulation_steps=2,
        )  # fmt: skip

    whole = trainer("whole")
    whole.train()
    trainer("parts", StopAt(interrupted_at)).train()
    second = trainer("parts")
    second.train(resume_from_checkpoint=True)
    assert_same_weights(second, whole)
    for name, array in whole.optimizer.state.items():
        np.testing.assert_array_equal(second.optimizer.state[name], array)
    assert second.state.best_metric == whole.state.best_metric

    def logged(log):
        return [{k: v for k, v in line.items() if not k.endswith(("runtime", "second"))} for line in log]

    assert logged(second.state.log_history)[:-1] == logged(whole.state.log_history)[:-1]
    files = [read_metrics(tmp_path / name / "logs" / "metrics.jsonl") for name in ("parts", "whole")]
    assert logged(files[0])[:-1] == logged(files[1])[:-1]


def test_a_checkpoint_is_a_model_folder(tmp_path):
    trainer = make(tmp_path, max_steps=4, save_steps=2)
    trainer.train()
    folder = tmp_path / "checkpoint-4"
    assert {"config.json", "model.safetensors", "vocab.txt", "trainer_state.json"} <= {p.name for p in folder.iterdir()}
    opened = BertForSequenceClassification.from_pretrained(folder)
    np.testing.assert_array_equal(opened.classifier.weight.data, trainer.model.classifier.weight.data)
    trainer.save_model(tmp_path / "model")
    BertForSequenceClassification.from_pretrained(tmp_path / "model")
    assert json.loads((folder / "trainer_state.json").read_text())["global_step"] == 4


def test_old_checkpoints_go_and_the_best_stays(tmp_path):
    data = reviews()
    scores = iter([0.1, 0.9, 0.2, 0.3, 0.4, 0.5])
    trainer = make(
        tmp_path, eval_data=data, metrics=lambda p: {"score": next(scores)}, eval_strategy="steps", eval_steps=2,
        save_steps=2, save_total_limit=2, load_best_model_at_end=True, metric_for_best_model="score",
    )  # fmt: skip
    seen = {}
    trainer.add_callback(
        type("Keep", (TrainerCallback,), {"on_save": lambda self, a, s, c, **k: seen.update({s.global_step: weights(trainer)})})
    )  # fmt: skip
    trainer.train()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-12", "checkpoint-4"]
    assert trainer.state.best_global_step == 4
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-4")
    for name, array in seen[4].items():
        np.testing.assert_array_equal(trainer.model.state_dict()[name], array)


def test_the_best_of_those_saved_stays_if_the_best_of_all_was_not_saved(tmp_path):
    scores = iter([0.1, 0.5, 0.9, 0.2, 0.3, 0.4])
    trainer = make(
        tmp_path, eval_data=reviews(), metrics=lambda p: {"score": next(scores)}, eval_strategy="steps", eval_steps=2,
        save_steps=4, save_total_limit=1, load_best_model_at_end=True, metric_for_best_model="score",
    )  # fmt: skip
    trainer.train()
    assert trainer.state.best_global_step == 6
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-12", "checkpoint-4"]


def test_a_model_of_ones_own_resumes_with_its_dropout(tmp_path):
    """A Module without config, generator or from_pretrained, whose dropout was made without a generator."""

    class Bag(nn.Module):
        def __init__(self):
            rng = np.random.default_rng(0)
            self.table, self.head = nn.Embedding(30, 6, rng), nn.Linear(6, 2, generator=rng)
            self.dropout = nn.Dropout(0.3)

        def forward(self, input_ids, attention_mask, labels):
            x = (self.table(input_ids) * attention_mask[..., None].astype(np.float32)).sum(1)
            return F.cross_entropy(self.head(self.dropout(x)), labels), x

    whole = make(tmp_path / "whole", Bag())
    whole.train()
    make(tmp_path / "parts", Bag(), callbacks=[StopAt(5)]).train()
    second = make(tmp_path / "parts", Bag())
    second.train(resume_from_checkpoint=True)
    assert_same_weights(second, whole)


def test_checkpoints_of_an_earlier_training_with_more_steps_do_not_push_out_the_new_ones(tmp_path):
    make(tmp_path, max_steps=20, save_steps=10).train()
    make(tmp_path, max_steps=6, save_steps=2, save_total_limit=2).train()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-4", "checkpoint-6"]


def test_saving_only_the_best(tmp_path):
    scores = iter([0.5, 0.7, 0.6, 0.8])
    trainer = make(
        tmp_path, eval_data=reviews(), metrics=lambda p: {"score": next(scores)}, eval_strategy="steps", eval_steps=3,
        save_strategy="best", metric_for_best_model="score",
    )  # fmt: skip
    trainer.train()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-12", "checkpoint-3", "checkpoint-6"]


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


def test_callbacks_hear_everything_in_order(tmp_path):
    heard = []

    class Listen(TrainerCallback):
        pass

    for name in [name for name in vars(TrainerCallback) if name.startswith("on_")]:
        setattr(Listen, name, lambda self, args, state, control, _name=name, **kwargs: heard.append(_name[3:]))
    trainer = make(
        tmp_path, callbacks=[Listen], eval_data=reviews(4), max_steps=2, gradient_accumulation_steps=2, logging_steps=2,
        eval_strategy="steps", eval_steps=2, per_device_eval_batch_size=2,
    )  # fmt: skip
    trainer.train()
    trainer.predict(reviews(2))
    step = ["step_begin", "substep_end", "pre_optimizer_step", "optimizer_step", "step_end"]
    evaluation = ["prediction_step", "prediction_step", "log", "evaluate"]
    start = ["init_end", "train_begin", "epoch_begin", *step, *step]
    end = ["log", *evaluation, "save", "epoch_end", "train_end", "log", "prediction_step", "predict"]
    assert heard == start + end


def test_a_callback_stops_the_training_or_the_epoch(tmp_path):
    class NextEpoch(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_epoch_stop = True
            return control

    trainer = make(tmp_path, callbacks=[StopAt(3)], save_strategy="no")
    assert trainer.train().global_step == 3
    assert trainer.pop_callback(StopAt).step == 3
    trainer.add_callback(NextEpoch())
    trainer.train()
    assert trainer.state.epoch == pytest.approx(11 + 1 / 6)  # one step of each epoch


def test_early_stopping_counts_evaluations_that_are_not_better(tmp_path):
    scores = iter([0.5, 0.6, 0.605, 0.59, 0.9])
    trainer = make(
        tmp_path, callbacks=[EarlyStoppingCallback(2, 0.01)], eval_data=reviews(), metrics=lambda p: {"f1": next(scores)},
        eval_strategy="steps", eval_steps=2, metric_for_best_model="f1", save_strategy="no",
    )  # fmt: skip
    assert trainer.train().global_step == 8
    with pytest.raises(InputError, match="needs metric_for_best_model"):
        make(tmp_path, callbacks=[EarlyStoppingCallback()], save_strategy="no").train()


def test_evaluation_strategies(tmp_path):
    def evaluated(**options):
        trainer = make(tmp_path, eval_data=reviews(5), save_strategy="no", **options)
        trainer.train()
        return [line["step"] for line in trainer.state.log_history if "eval_loss" in line]

    assert evaluated() == []
    assert evaluated(eval_strategy="steps", eval_steps=5) == [5, 10, 12]
    assert evaluated(eval_strategy="steps", eval_steps=0.25, eval_delay=5) == [6, 9, 12]
    assert evaluated(eval_strategy="epoch", max_steps=-1, num_train_epochs=2) == [6, 12]
    assert evaluated(eval_strategy="epoch", max_steps=8, eval_on_start=True) == [0, 6, 8]


def test_the_evaluation_loss_does_not_depend_on_the_batches(tmp_path):
    data = [{"input_ids": e["input_ids"], "labels": [-100, *e["input_ids"][1:]]} for e in reviews(11)]
    from minilm.data.collators import DataCollatorForTokenClassification

    model = make_model(kind=BertForMaskedLM)
    losses = []
    for size in (1, 4, 11):
        collator = DataCollatorForTokenClassification(Tokens())
        trainer = make(tmp_path, model, eval_data=data, collator=collator, per_device_eval_batch_size=size)
        losses.append(trainer.evaluate()["eval_loss"])
        predictions = trainer.predict(data)
        assert predictions.predictions.shape == (11, 8, 30)
        assert predictions.label_ids.shape == (11, 8)
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)


def test_several_evaluation_sets_each_have_names_of_their_own(tmp_path):
    trainer = make(tmp_path, eval_data={"short": reviews(4), "long": reviews(9)}, metrics=accuracy)
    metrics = trainer.evaluate()
    assert {"eval_short_loss", "eval_long_loss", "eval_short_accuracy", "eval_long_accuracy"} <= set(metrics)


def test_answers_have_two_scores_and_two_labels(tmp_path):
    data = [{"input_ids": e["input_ids"], "start_positions": 0, "end_positions": 1, "id": "a"} for e in reviews(6)]
    trainer = make(tmp_path, make_model(kind=BertForQuestionAnswering), data, max_steps=2)
    trainer.train()
    output = trainer.predict(data)
    assert [array.shape for array in output.predictions] == [(6, 7), (6, 7)]
    assert [array.shape for array in output.label_ids] == [(6,), (6,)]
    assert "test_loss" in output.metrics


def test_without_labels_there_are_predictions_and_no_loss(tmp_path):
    data = [{"input_ids": e["input_ids"]} for e in reviews(5)]
    output = make(tmp_path, metrics=accuracy).predict(data)
    assert output.predictions.shape == (5, 2)
    assert output.label_ids is None
    assert "test_loss" not in output.metrics
    assert "test_accuracy" not in output.metrics


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


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "there is no train_dataset"),
        ([], "train_dataset is empty"),
        ({"input_ids": [[1, 2]]}, "train_dataset is a dict; give a list"),
        ([([1, 2], 0)], "an example of train_dataset is a tuple"),
        ([{"text": "a review", "stars": 3}], "have text, stars, of which the model takes nothing; tokenize"),
        (
            [{"input_ids": [5, 6], "label": 1}] * 9 + [{"input_ids": [5, 6], "label": 7}],
            "example 9 of train_dataset has the label 7",
        ),
        (
            [{"input_ids": [5, 6], "label": 1}, {"input_ids": [5, 600], "label": 1}],
            "example 1 .* the id 600, the model knows 0 to 29",
        ),
        ([{"input_ids": [5, 6], "label": -1}], "has the label -1; the classes are 0 to 1"),
        ([{"input_ids": [5] * 17, "label": 1}], "example 0 of train_dataset has 17 tokens, the model has 16 positions"),
        ([{"input_ids": [], "label": 1}], "has no tokens"),
        ([{"input_ids": [5, 6]}], "returned no loss for input_ids, attention_mask; give labels"),
    ],
)
def test_data_that_cannot_work(tmp_path, data, message):
    trainer = make(tmp_path / "out", data=[{"input_ids": [1], "label": 0}])
    trainer.train_dataset = data
    with pytest.raises(InputError, match=message):
        trainer.train()
    assert trainer.step == 0
    assert not (tmp_path / "out" / "checkpoint-1").exists()


def test_a_missing_evaluation_set_is_noticed_before_the_training(tmp_path):
    trainer = make(tmp_path, eval_strategy="epoch", callbacks=[StopAt(1)])
    with pytest.raises(InputError, match="there is no eval_dataset"):
        trainer.train()
    assert trainer.step == 0


def test_a_metric_that_is_not_there_is_named(tmp_path):
    trainer = make(
        tmp_path, eval_data=reviews(), metrics=accuracy, eval_strategy="steps", eval_steps=1, metric_for_best_model="f1"
    )
    with pytest.raises(InputError, match=r"metric_for_best_model is eval_f1, but the evaluation gave .*eval_accuracy"):
        trainer.train()


def test_a_folder_that_cannot_be_written_is_noticed_first(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    trainer = make(tmp_path / "file")
    with pytest.raises(InputError, match="cannot write to"):
        trainer.train()
    assert trainer.step == 0


def test_resuming_from_nothing_or_from_something_else(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        make(tmp_path).train(resume_from_checkpoint=True)
    make(tmp_path, max_steps=3, save_only_model=True).train()
    with pytest.raises(CheckpointError, match="holds the model alone"):
        make(tmp_path).train(resume_from_checkpoint=True)
    make(tmp_path, max_steps=3).train()
    with pytest.raises(CheckpointError, match="trained with batch size 4, not 5"):
        make(tmp_path, per_device_train_batch_size=5).train(resume_from_checkpoint=tmp_path / "checkpoint-3")
    other = BertForSequenceClassification(BertConfig(**{**SHAPE, "num_attention_heads": 4}), np.random.default_rng(0))
    with pytest.raises(CheckpointError, match="num_attention_heads is 2 there and 4 here"):
        make(tmp_path, other).train(resume_from_checkpoint=True)


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    make(tmp_path, max_steps=4, save_steps=2).train()
    (tmp_path / "checkpoint-4" / "model.safetensors").write_bytes(b"half")
    trainer = make(tmp_path, max_steps=4, save_steps=2)
    with pytest.warns(UserWarning, match="going on from checkpoint-2"):
        trainer.train(resume_from_checkpoint=True)
    assert trainer.step == 4


def test_a_loss_that_breaks_names_what_to_change(tmp_path):
    class Poison(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            if state.global_step == 3:
                model.classifier.weight.data[...] = np.nan

    with pytest.raises(TrainingDivergedError, match=r"at step 4; .*classifier\.weight.*lower learning_rate"):
        make(tmp_path, callbacks=[Poison()]).train()


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
