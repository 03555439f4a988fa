"""The Trainer evaluates, predicts, stops early and tells its callbacks."""

import numpy as np
import pytest
from trainer_cases import StopAt, Tokens, accuracy, make, make_model, reviews

from minilm.errors import InputError
from minilm.hub.bert import BertForMaskedLM, BertForQuestionAnswering
from minilm.training import (
    EarlyStoppingCallback,
    TrainerCallback,
)


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
