"""BERT's heads: every gradient, every loss by its formula, and labels that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from bert_cases import HEADS, OK, SHAPE, B, T, cross_entropy, labels_for, make

from minilm.errors import InputError
from minilm.models import bert_heads
from minilm.models.bert_config import BertConfig
from minilm.tape import no_grad


@pytest.mark.parametrize("name", HEADS)
def test_every_gradient_along_a_random_direction(name, ids, generator):
    """Σ g · d = (L(p + h d) − L(p − h d)) / 2h for each parameter p, with a random direction d."""
    model = make(name, pad_token_id=None)
    inputs = {"input_ids": ids, "attention_mask": np.ones((B, T), int), **labels_for(name, generator)}
    inputs["attention_mask"][0, 5:] = 0
    model(**inputs).loss.backward()
    step = 1e-6
    for key, p in model.named_parameters():
        assert p.grad is not None, key
        direction, saved, losses = generator.standard_normal(p.shape), p.data.copy(), []
        for sign in (1, -1):
            p.data[...] = saved + sign * step * direction
            with no_grad():
                losses.append(model(**inputs).loss.item())
        p.data[...] = saved
        numeric = (losses[0] - losses[1]) / (2 * step)
        assert numeric == pytest.approx(float((p.grad * direction).sum()), rel=2e-5, abs=2e-8), key


@pytest.mark.parametrize("name", HEADS)
def test_without_labels_there_is_no_loss_and_states_are_handed_on(name, ids):
    output = make(name)(ids, output_hidden_states=True, output_attentions=True)
    assert "loss" not in output
    assert [h.shape for h in output.hidden_states] == [(B, T, 12)] * 3
    assert [a.shape for a in output.attentions] == [(B, 3, T, T)] * 2


@pytest.mark.parametrize("name", ["BertForMaskedLM", "BertForNextSentencePrediction", "BertForTokenClassification"])
def test_cross_entropy_of_the_labels_that_count(name, ids, generator):
    labels = labels_for(name, generator)["labels"]
    labels.flat[1] = -100
    output = make(name)(ids, labels=labels)
    assert output.loss.item() == pytest.approx(cross_entropy(output.logits.data, labels), rel=1e-10)


def test_the_joint_loss_is_the_sum_of_both(ids, generator):
    """[F16]: words and next sentence together; either alone where only its labels are given."""
    model = make("BertForPreTraining")
    labels = labels_for("BertForPreTraining", generator)
    output = model(ids, **labels)
    words = cross_entropy(output.prediction_logits.data, labels["labels"])
    follows = cross_entropy(output.seq_relationship_logits.data, labels["next_sentence_label"])
    assert output.loss.item() == pytest.approx(words + follows, rel=1e-10)
    assert model(ids, labels=labels["labels"]).loss.item() == pytest.approx(words, rel=1e-10)
    one = model(ids, next_sentence_label=labels["next_sentence_label"])
    assert one.loss.item() == pytest.approx(follows, rel=1e-10)


CLASSES, SEVERAL = np.array([2, 0, 1]), np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1.0]])


def mean_square(z, y):
    return ((z - y.reshape(z.shape)) ** 2).mean()


def binary(z, y):
    p = 1 / (1 + np.exp(-z))
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()


@pytest.mark.parametrize(
    ("num_labels", "given", "labels", "problem_type", "formula"),
    [
        (3, None, CLASSES, "single_label_classification", cross_entropy),
        (3, None, CLASSES[:, None], "single_label_classification", cross_entropy),
        (3, None, SEVERAL, "multi_label_classification", binary),
        (3, "multi_label_classification", SEVERAL.astype(int), "multi_label_classification", binary),
        (1, None, np.array([0.5, -2, 1.25]), "regression", mean_square),
        (1, None, np.array([[0.5], [-2], [1]]), "regression", mean_square),
        (1, None, CLASSES, "regression", mean_square),
        (3, "regression", SEVERAL - 0.5, "regression", mean_square),
        (2, "single_label_classification", np.array([1, -100, 0]), "single_label_classification", cross_entropy),
    ],
)
def test_the_three_kinds_of_labels_of_a_text(ids, num_labels, given, labels, problem_type, formula):
    model = make("BertForSequenceClassification", num_labels=num_labels, problem_type=given)
    output = model(ids, labels=labels)
    assert output.logits.shape == (B, num_labels)
    assert output.loss.item() == pytest.approx(formula(output.logits.data, labels), rel=1e-10)
    assert model.config.problem_type == problem_type


def test_large_scores_of_several_labels_do_not_overflow(ids):
    model = make("BertForSequenceClassification", num_labels=3)
    model.classifier.bias.data[...] = [1e4, -1e4, 0]
    output = model(ids, labels=np.array([[1.0, 0, 0]] * B))
    output.loss.backward()
    assert output.loss.item() < 10
    assert np.isfinite(model.classifier.weight.grad).all()


def test_answers_outside_the_text_do_not_count(ids):
    model = make("BertForQuestionAnswering")
    start, end = np.array([1, 0, T]), np.array([[2], [T + 5], [3]])
    output = model(ids, start_positions=start, end_positions=end)
    scores = model.qa_outputs(model.bert(ids).last_hidden_state).data
    assert np.array_equal(output.start_logits.data, scores[..., 0])
    assert np.array_equal(output.end_logits.data, scores[..., 1])
    first = cross_entropy(output.start_logits.data, [1, 0, -100])
    last = cross_entropy(output.end_logits.data, [2, -100, 3])
    assert output.loss.item() == pytest.approx((first + last) / 2, rel=1e-10)


def test_a_classifier_drops_what_it_is_told_to(ids):
    config = BertConfig(**SHAPE, hidden_dropout_prob=0.2, classifier_dropout=0.4)
    assert bert_heads.BertForTokenClassification(config).dropout.p == 0.4
    config = BertConfig(**SHAPE, hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.3)
    model = bert_heads.BertForSequenceClassification(config)
    assert model.dropout.p == model.bert.dropout.p == 0.2
    assert model.bert.blocks[1].attention.attention_dropout == 0.3
    assert model.bert.blocks[1].attention.output_dropout.p == 0.2


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("BertForMaskedLM", {"labels": OK * 23}, "labels hold 23; the classes are 0 to 22, and -100 marks"),
        ("BertForMaskedLM", {"labels": OK[:, 1:]}, r"labels have shape \(3, 6\); this head wants \(3, 7\)"),
        ("BertForTokenClassification", {"labels": OK - 2}, "labels hold -1; the classes are 0 to 1"),
        ("BertForTokenClassification", {"labels": OK * 1.0}, "labels hold float64; they must be integers"),
        ("BertForNextSentencePrediction", {"labels": [0, 1, 2]}, "labels hold 2; the classes are 0 to 1"),
        ("BertForPreTraining", {"next_sentence_label": [0, 1, 2]}, "next_sentence_label hold 2"),
        ("BertForSequenceClassification", {"labels": [0, 5, 1]}, "labels hold 5"),
        ("BertForSequenceClassification", {"labels": [0, 1]}, r"labels have shape \(2,\); this head wants \(3,\)"),
        ("BertForSequenceClassification", {"labels": [0.0, 1.0, 1.0]}, "'multi_label_classification' wants numbers of shape"),
        ("BertForSequenceClassification", {"labels": [[0.0, 1.5]] * 3}, "labels run from 0 to 1.5"),
        ("BertForSequenceClassification", {"labels": [[0.0, np.nan]] * 3}, "not finite"),
        ("BertForQuestionAnswering", {"start_positions": [1, 1, 1]}, "end_positions; one of them is missing"),
        ("BertForQuestionAnswering", {"start_positions": [1, -1, 1], "end_positions": [1, 1, 1]}, "start_positions hold -1"),
        ("BertForQuestionAnswering", {"start_positions": [1, 1, 1], "end_positions": [1, 1]}, "end_positions have shape"),
    ],
)  # fmt: skip
def test_labels_that_do_not_fit(name, labels, message):
    with pytest.raises(InputError, match=message):
        make(name)(OK, **labels)
