"""What a Trainer cannot train on, or write to, is said before the first step."""

import numpy as np
import pytest
from trainer_cases import StopAt, accuracy, make, make_model, reviews

from minilm import BertForMaskedLM, T5Config, T5ForConditionalGeneration
from minilm.errors import InputError, TrainingDivergedError
from minilm.training import TrainerCallback
from minilm.training.example_check import check_examples


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


def test_a_loss_that_breaks_names_what_to_change(tmp_path):
    class Poison(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            if state.global_step == 3:
                model.classifier.weight.data[...] = np.nan

    with pytest.raises(TrainingDivergedError, match=r"at step 4; .*classifier\.weight.*lower learning_rate"):
        make(tmp_path, callbacks=[Poison()]).train()


MODELS = {
    "BERT": lambda: make_model(kind=BertForMaskedLM),
    "T5": lambda: T5ForConditionalGeneration(T5Config(vocab_size=30, d_model=8, d_ff=8, num_layers=1, num_heads=2)),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_labels_that_are_words_are_compared_with_the_vocabulary(model):
    check_examples(model(), [{"input_ids": [5, 6], "labels": [-100, 29]}], "data")
    with pytest.raises(InputError, match="the label 30; the words are 0 to 29"):
        check_examples(model(), [{"input_ids": [5, 6], "labels": [-100, 30]}], "data")
