"""question-answering: spans against all spans one by one, windows, words, and what an answer looks like."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilm import InputError, pipeline
from minilm.pipelines.spans import best_spans, span_probabilities

CONTEXT = "Ann lives in New York, and Bob works for Microsoft. 床前明月光，疑是地上霜。 The end of the longest tale is near 😀."
QUESTION = "Who lives there?"


@pytest.fixture
def pipe(answerer, words):
    return pipeline("question-answering", answerer, words)


@given(st.integers(2, 9), st.integers(1, 5), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_the_best_spans_are_those_of_a_search_of_all(T, longest, count, seed):
    rng = np.random.default_rng(seed)
    start_logits, end_logits = rng.standard_normal((2, T))
    allowed, null = rng.random(T) < 0.7, np.arange(T) == 0
    allowed[0] = False
    start, end, no_answer = span_probabilities(start_logits, end_logits, allowed, null)
    kept = np.flatnonzero(allowed | null)
    p, q = (np.exp(x[kept]) / np.exp(x[kept]).sum() for x in (start_logits, end_logits))
    P = {i: p[k] for k, i in enumerate(kept)}, {j: q[k] for k, j in enumerate(kept)}
    assert no_answer == pytest.approx(p[0] * q[0])
    every = [(float(P[0][i] * P[1][j]), i, j) for i in kept for j in kept if 0 < i <= j < i + longest]  # 0 is no answer
    found = best_spans(start, end, count, longest, allowed)
    want = sorted(every, reverse=True)[:count]
    assert [(i, j) for i, j, _ in found] == [(i, j) for _, i, j in want]
    assert [score for _, _, score in found] == pytest.approx([score for score, _, _ in want])


def test_an_answer_is_a_piece_of_the_context(pipe):
    found = pipe(question=QUESTION, context=CONTEXT)
    assert list(found) == ["score", "start", "end", "answer"]
    assert found["answer"] == CONTEXT[found["start"] : found["end"]] != ""
    several = pipe(question=QUESTION, context=CONTEXT, top_k=4)
    assert several[0] == found
    assert len({one["answer"].lower() for one in several}) == 4
    scores = [one["score"] for one in several]
    assert scores == sorted(scores, reverse=True)


def test_the_score_of_one_span(pipe, answerer, words):
    found = pipe(question=QUESTION, context="Ann lives", align_to_words=False)
    batch = words([QUESTION], ["Ann lives"], return_tensors="np")
    output = answerer(**batch)
    # [CLS] and the tokens of the context
    kept = [0, *np.flatnonzero(np.array(batch.sequence_ids(0)) == 1)]
    p, q = (np.exp(x.data[0, kept]) / np.exp(x.data[0, kept]).sum() for x in (output.start_logits, output.end_logits))
    spans = np.triu(np.outer(p[1:], q[1:]))
    assert found["score"] == pytest.approx(spans.max(), rel=1e-4)
    i, j = np.unravel_index(spans.argmax(), spans.shape)
    offsets = batch.encodings[0].offsets[kept[1:]]
    assert (found["start"], found["end"]) == (offsets[i, 0], offsets[j, 1])


def test_what_stands_twice_is_one_answer(pipe, answerer, words):
    context = "Ann the ann"
    found = pipe(question=QUESTION, context=context, max_answer_len=1, align_to_words=False, top_k=3)
    batch = words([QUESTION], [context], return_tensors="np")
    output = answerer(**batch)
    kept = [0, *np.flatnonzero(np.array(batch.sequence_ids(0)) == 1)]
    p, q = (np.exp(x.data[0, kept]) / np.exp(x.data[0, kept]).sum() for x in (output.start_logits, output.end_logits))
    assert len(kept) == 4
    scores = {one["answer"].lower(): one["score"] for one in found}
    assert scores == {
        "ann": pytest.approx(p[1] * q[1] + p[3] * q[3], rel=1e-4),
        "the": pytest.approx(p[2] * q[2], rel=1e-4),
    }


def test_answers_of_whole_words(pipe, words):
    context = "unfamiliarities beside Microsoft"
    borders = {0, 15, 16, 22, 23, 32}
    for one in pipe(question=QUESTION, context=context, top_k=10):
        assert {one["start"], one["end"]} <= borders
    loose = pipe(question=QUESTION, context=context, top_k=10, align_to_words=False)
    assert any(not {one["start"], one["end"]} <= borders for one in loose)


def test_ways_to_ask(pipe):
    one = pipe(question=QUESTION, context=CONTEXT)
    example = {"question": QUESTION, "context": CONTEXT}
    assert pipe(example) == pipe([example]) == pipe(QUESTION, CONTEXT) == one
    assert pipe([example, example]) == pipe(example, example) == [one, one]
    assert pipe(question=[QUESTION, "where?"], context=CONTEXT)[0] == one
    assert pipe(question=[QUESTION, "where?"], context=[CONTEXT, "Ann"])[0] == one
    assert pipe(question=[QUESTION], context=CONTEXT) == one
    assert list(pipe(iter([example, example]))) == [one, one]


def test_a_long_context_is_read_in_windows(pipe):
    context = CONTEXT * 4
    found = pipe(question=QUESTION, context=context, top_k=60)
    assert max(one["end"] for one in found) > len(CONTEXT)
    for one in found:
        assert one["answer"] == context[one["start"] : one["end"]]
    windows = pipe.preprocess({"question": QUESTION, "context": context}, pipe.settle({"doc_stride": 5}))
    assert len(windows) > 3
    covered = {n for w in windows for n in range(*w.encoding.offsets[pipe.allowed(w)][[0, -1], [0, 1]])}
    assert covered >= {n for n in range(len(context.rstrip())) if not context[n].isspace()}
    with_small_windows = pipe(question=QUESTION, context=context, max_seq_len=20)
    assert with_small_windows["answer"] in context


def test_no_answer(pipe):
    context = CONTEXT * 3
    found = pipe(question=QUESTION, context=context, handle_impossible_answer=True, top_k=1000)
    empty = [one for one in found if one["answer"] == ""]
    assert len(empty) == 1
    assert (empty[0]["start"], empty[0]["end"]) == (0, 0)
    assert all(one["answer"] for one in pipe(question=QUESTION, context=context, top_k=1000))
    p = pipe.settle({})
    windows = pipe.preprocess({"question": QUESTION, "context": context}, p)
    nulls = [
        span_probabilities(*logits, pipe.allowed(window), pipe.cls_places(window))[2]
        for window, logits in zip(windows, pipe.forward(windows, p))
    ]
    assert empty[0]["score"] == pytest.approx(min(nulls), rel=1e-4)
    assert len({round(null, 8) for null in nulls}) > 1


def test_how_long_an_answer_may_be(pipe, words):
    for one in pipe(question=QUESTION, context=CONTEXT, max_answer_len=1, align_to_words=False, top_k=20):
        assert len(words(one["answer"], add_special_tokens=False)["input_ids"]) == 1


def test_fewer_answers_than_asked_for(pipe):
    found = pipe(question=QUESTION, context="Ann", top_k=5)
    assert found["answer"] == "Ann"  # one alone comes without a list


def test_the_old_name_of_top_k(pipe):
    with pytest.warns(DeprecationWarning, match="topk is now called top_k"):
        assert len(pipe(question=QUESTION, context=CONTEXT, topk=3)) == 3


def test_a_long_question(pipe):
    question = "who is near the cat " * 10
    with pytest.raises(
        InputError, match="leaves no room for the context in windows of 48; shorten it, or give max_question_len"
    ):
        pipe(question=question, context=CONTEXT)
    short = pipe(question=question, context=CONTEXT, max_question_len=5)
    assert short == pipe(question="who is near the", context=CONTEXT, max_question_len=99) or short["answer"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"question": "", "context": "Ann"}, "the question is ''; give a text that is not empty"),
        ({"question": "who?", "context": " "}, "the context is ' '"),
        ({"question": "who?", "context": 3}, "give question= as a text or a list"),
        ({"question": ["a", "b"], "context": ["Ann"]}, "there are 2 questions and 1 contexts"),
        ({"question": "who?"}, "give question="),
        ({"question": "who?", "context": "Ann", "top_k": 0}, "top_k is 0"),
        ({"question": "who?", "context": "Ann", "max_answer_len": 0}, "max_answer_len is 0"),
        ({"question": "who?", "context": "Ann", "doc_stride": 99}, "doc_stride is 99"),
        ({"question": "who?", "context": "Ann", "max_len": 9}, "no parameter 'max_len'"),
    ],
)
def test_what_cannot_be_asked(pipe, given, message):
    with pytest.raises(InputError, match=message):
        pipe(**given)


def test_examples_that_are_none(pipe):
    for wrong in ([{"question": "a"}], ["a", 3], [{"question": "a", "context": None}]):
        with pytest.raises(InputError):
            pipe(wrong)
    with pytest.raises(InputError, match="not both"):
        pipe({"question": "a", "context": "b"}, question="a", context="b")
