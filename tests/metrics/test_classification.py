"""Accuracy, precision, recall and F1: values counted by hand, laws that hold for any labels, and bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilm.errors import InputError
from minilm.metrics import (
    accuracy,
    average_scores,
    classification_report,
    confusion_matrix,
    f_score,
    precision_recall_f1,
    scores_of,
)

# reference a a a a b b c, prediction a a b c b a c
REFERENCES = list("aaaabbc")
PREDICTIONS = list("aabcbac")
PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1)


def test_by_hand():
    report = classification_report(PREDICTIONS, REFERENCES)
    assert report.accuracy == pytest.approx(4 / 7)
    assert report.confusion.labels == ("a", "b", "c")
    assert report.confusion.counts.tolist() == [[2, 1, 1], [1, 1, 0], [0, 0, 1]]
    # a: 3 predicted, 4 actual, 2 right; b: 2, 2, 1; c: 2, 1, 1
    assert report.per_class["a"] == pytest.approx((2 / 3, 2 / 4, 4 / 7, 4))
    assert report.per_class["b"] == pytest.approx((1 / 2, 1 / 2, 1 / 2, 2))
    assert report.per_class["c"] == pytest.approx((1 / 2, 1, 2 / 3, 1))
    assert report.micro == pytest.approx((4 / 7, 4 / 7, 4 / 7, 7))
    assert report.macro == pytest.approx((5 / 9, 2 / 3, (4 / 7 + 1 / 2 + 2 / 3) / 3, 7))
    assert report.weighted.precision == pytest.approx((4 * 2 / 3 + 2 / 2 + 1 / 2) / 7)
    assert report.weighted.f1 == pytest.approx((4 * 4 / 7 + 2 / 2 + 2 / 3) / 7)


def test_f_score_by_hand():
    assert f_score(0.5, 1.0) == pytest.approx(2 / 3)
    assert f_score(0.5, 1.0, beta=2) == pytest.approx(5 * 0.5 / (4 * 0.5 + 1))
    assert f_score(0.0, 0.0) == 0.0


def test_nothing_predicted_and_nothing_there():
    assert scores_of(0, 0, 3) == (0.0, 0.0, 0.0, 3)
    assert scores_of(0, 3, 0) == (0.0, 0.0, 0.0, 0)
    assert average_scores(np.zeros((0, 3), int), "macro") == (0.0, 0.0, 0.0, 0)
    assert average_scores(np.array([[0, 3, 0]]), "weighted") == (0.0, 0.0, 0.0, 0)


@given(PAIRS)
def test_micro_is_accuracy(pairs):
    predictions, references = zip(*pairs)
    share = accuracy(predictions, references)
    assert precision_recall_f1(predictions, references, "micro")[:3] == pytest.approx((share,) * 3)


@given(PAIRS)
def test_exchanging_the_sides_exchanges_precision_and_recall(pairs):
    predictions, references = zip(*pairs)
    there = confusion_matrix(predictions, references)
    back = confusion_matrix(references, predictions)
    assert np.array_equal(there.counts, back.counts.T)
    for average in ("micro", "macro"):
        one = precision_recall_f1(predictions, references, average)
        other = precision_recall_f1(references, predictions, average)
        assert one[:3] == pytest.approx((other.recall, other.precision, other.f1))


def test_rows_are_references_and_columns_predictions():
    confusion = confusion_matrix(predictions=["spam"], references=["ham"])
    assert confusion.labels == ("ham", "spam")
    assert confusion.counts.tolist() == [[0, 1], [0, 0]]


def test_labels_in_an_order_of_their_own():
    confusion = confusion_matrix(PREDICTIONS, REFERENCES, ["c", "x", "a", "b"])
    assert confusion.labels == ("c", "x", "a", "b")
    assert confusion.counts.tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 2, 1], [0, 0, 1, 1]]


def test_all_integer_types():
    assert accuracy(np.array([1, 2], np.uint8), [1, 3]) == 0.5
    assert accuracy([True, False], [True, True]) == 0.5


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([], [], "no predictions"),
        ([1, 2], [1], "2 predictions for 1 references"),
        ([[0.1, 0.9]], [1], r"predictions have shape \(1, 2\); .*argmax"),
        ([0.1], [1], "predictions are float64; give labels"),
        (["1"], [1], "give both as strings or both as numbers"),
        ([None], [1], "predictions are object"),
    ],
)
def test_bad_input(predictions, references, message):
    for metric in (accuracy, classification_report, precision_recall_f1):
        with pytest.raises(InputError, match=message):
            metric(predictions, references)


def test_bad_labels_and_average():
    with pytest.raises(InputError, match="the label 'b' is not among the 2 given"):
        confusion_matrix(["a"], ["b"], ["a", "c"])
    with pytest.raises(InputError, match="named twice"):
        confusion_matrix(["a"], ["a"], ["a", "a"])
    with pytest.raises(InputError, match="no average 'mean'; give 'micro'"):
        precision_recall_f1(["a"], ["a"], "mean")
