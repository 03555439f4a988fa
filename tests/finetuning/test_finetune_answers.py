"""From scores to answers: the best span over windows, tags of words that were cut off, what the metrics are told."""

from typing import NamedTuple

import numpy as np
import pytest
from finetune_files import answering, tagging, write_sentences
from hypothesis import given
from hypothesis import strategies as st

from minilm.data import PairExample
from minilm.finetuning import prepare
from minilm.finetuning.encoding import encode_texts
from minilm.finetuning.judging import language_of
from minilm.finetuning.spans import best_answers
from minilm.finetuning.writing import first_sentence, gathered

TEXT = "abcdefghijklmnop"


class Window(NamedTuple):
    example: int
    offsets: np.ndarray


@st.composite
def scored_windows(draw):
    """Windows of one text, two tokens of question before each: (windows, starts, ends)."""
    size, step = draw(st.integers(2, 6)), draw(st.integers(1, 3))
    windows = []
    for first in range(0, len(TEXT) - size + 1, step):
        places = np.arange(first, first + size)
        offsets = np.concatenate([np.full((2, 2), -1), np.stack([places, places + 1], 1)])
        windows.append(Window(0, offsets))
    scores = np.random.default_rng(draw(st.integers(0, 10_000))).normal(size=(2, len(windows), size + 2 + 1))
    scores[:, :, 0] += draw(st.floats(0, 4))  # so that no answer is sometimes nearly the best
    return windows, scores[0], scores[1]


@given(scored_windows(), st.integers(1, 4), st.booleans(), st.floats(-2, 2))
def test_the_best_answer_is_the_best_of_all_spans(scored, longest, may_be_none, threshold):
    windows, starts, ends = scored
    spans = {}
    for window, start, end in zip(windows, starts, ends):
        for i in range(2, len(window.offsets)):
            for j in range(i, min(i + longest, len(window.offsets))):
                key = (int(window.offsets[i, 0]), int(window.offsets[j, 1]))
                spans[key] = max(spans.get(key, -np.inf), start[i] + end[j])
    (candidates,) = best_answers([TEXT], windows, starts, ends, 3, longest, may_be_none, threshold)
    (a, b), best = max(spans.items(), key=lambda item: item[1])
    none = min(start[0] + end[0] for start, end in zip(starts, ends))
    if may_be_none and none - best > threshold:
        assert (candidates[0].text, candidates[0].start) == ("", -1)
        assert candidates[0].score == none
        candidates = candidates[1:]
    else:
        assert any(c.text == "" for c in candidates) == may_be_none
    assert (candidates[0].text, candidates[0].start) == (TEXT[a:b], a)
    kept = [c.score for c in candidates if c.text]
    assert kept == pytest.approx(sorted(spans.values(), reverse=True)[:3])


def test_probabilities_are_a_softmax_over_the_candidates():
    windows = [Window(0, np.array([[-1, -1], [0, 1], [1, 2]]))]
    scores = np.array([[0.0, 1.0, 2.0]])
    (candidates,) = best_answers(["ab"], windows, scores, scores, 5, 5)
    exponentials = np.exp([c.score for c in candidates])
    assert [c.probability for c in candidates] == pytest.approx(exponentials / exponentials.sum())
    assert [c.text for c in candidates] == ["b", "ab", "a"]


@pytest.mark.parametrize(("threshold", "first"), [(0.9, ""), (1.1, "ab"), (-5.0, "")])
def test_no_answer_wins_by_more_than_the_threshold(threshold, first):
    windows = [Window(0, np.array([[-1, -1], [0, 1], [1, 2]]))]
    starts, ends = np.array([[2.0, 1.0, -9.0]]), np.array([[1.0, -9.0, 1.0]])  # "ab" has 2, no answer has 3
    (candidates,) = best_answers(["ab"], windows, starts, ends, 5, 5, True, threshold)
    assert candidates[0].text == first


def test_a_text_without_any_span_has_the_empty_answer():
    windows = [Window(0, np.full((3, 2), -1))]
    (candidates,) = best_answers(["ab"], windows, np.zeros((1, 3)), np.zeros((1, 3)), 5, 5)
    assert [c.text for c in candidates] == [""]


def test_windows_know_where_their_answer_is(tmp_path):
    prepared = prepare(answering(tmp_path))
    found = {}
    questions = prepared.tokenizer([example.question for example in prepared.training.examples])["input_ids"]
    for row, place in zip(prepared.training.rows, prepared.training.places):
        example = prepared.training.examples[place.example]
        start, end = row["start_positions"], row["end_positions"]
        asked = len(questions[place.example])  # [CLS] question [SEP]
        assert (place.offsets[:asked] == -1).all()
        assert (place.offsets[asked:-1] >= 0).all()
        if start:
            a, b = place.offsets[start, 0], place.offsets[end, 1]
            assert example.context[a:b] == example.answers[0].text
            found[place.example] = True
    assert len(found) == len(prepared.training.examples)  # stride is longer than any answer: some window has it whole


def perfect_scores(part, classes):
    """Scores whose best class is each row's label; class 1 where there is none."""
    width = max(len(row["labels"]) for row in part.rows)
    scores = np.zeros((len(part.rows), width, classes))
    for row, each in zip(part.rows, scores):
        for n, label in enumerate(row["labels"]):
            each[n, label if label >= 0 else 1] = 1
    return scores


def test_perfect_scores_give_the_tags_back(tmp_path):
    prepared = prepare(tagging(tmp_path))
    predicted = prepared.task.tags_of(prepared.test, perfect_scores(prepared.test, len(prepared.labels)))
    assert predicted == [list(example.tags) for example in prepared.test.examples]
    judgement = prepared.judge(perfect_scores(prepared.test, len(prepared.labels)))
    assert judgement.scores["entity F1"] == (1, 1, 1)


def test_words_that_were_cut_off_count_as_missed(tmp_path):
    data = write_sentences(tmp_path)
    prepared = prepare(tagging(tmp_path, data=data, max_length=7))  # room for 5 pieces
    part = prepared.test
    assert 0 < part.cut < len(part.examples)
    predicted = prepared.task.tags_of(part, perfect_scores(part, len(prepared.labels)))
    cut = 0
    for example, tags, places in zip(part.examples, predicted, part.places):
        last = max(place for place in places if place is not None)
        assert tags[: last + 1] == list(example.tags)[: last + 1]
        assert set(tags[last + 1 :]) <= {"O"}
        cut += len(tags) - last - 1
    assert cut
    assert any("cut" in notice for notice in prepared.notices)


def test_token_types_of_pairs_that_are_too_long():
    class Tokenizer:
        """Characters, without special tokens."""

        def __call__(self, texts, pairs=None, is_split_into_words=False, truncation=False, max_length=99):
            return {"input_ids": [list(map(ord, text))[:max_length] for text in texts]}

    encoded = encode_texts([1, 2, 3], ["abc", "abcdefg", "ab"], None, Tokenizer(), 4, "cut", "test")
    assert [len(row["input_ids"]) for row in encoded.rows] == [3, 4, 2]
    assert (encoded.cut, encoded.longest) == (1, 7)


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (["你好世界"], "zh"),
        (["hello world"], "en"),
        (["GPT 是一个语言模型"], "zh"),
        (["a 的 b c d e f"], "en"),
        ([""], "en"),
    ],
)
def test_which_language(texts, language):
    assert language_of(texts) == language
    assert language_of(texts, "zh") == "zh"


def test_first_sentence():
    assert first_sentence(" We did 3.5 things. Then more.") == "We did 3.5 things."
    assert first_sentence("你好。再见。") == "你好。"
    assert first_sentence("no end") == "no end"


def test_gathered_references():
    pairs = [PairExample("a", "1"), PairExample("b", "2"), PairExample("a", "3"), PairExample("a", "1")]
    assert [(e.source, e.references) for e in gathered(pairs)] == [("a", ("1", "3")), ("b", ("2",))]
