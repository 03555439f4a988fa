"""The Trainer's checkpoints: from_pretrained opens them, a resumed training ends with the same bits, the best stays."""

import json

import numpy as np
import pytest
from trainer_cases import SHAPE, StopAt, Tokens, assert_same_weights, make, make_model, reviews, weights

from minilm import BertConfig, BertForSequenceClassification, nn
from minilm import functional as F
from minilm.data.collators import DataCollatorForLanguageModeling
from minilm.errors import CheckpointError
from minilm.hub.bert import BertForMaskedLM
from minilm.training import (
    EarlyStoppingCallback,
    LoraConfig,
    TrainerCallback,
    get_peft_model,
    read_metrics,
)


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
