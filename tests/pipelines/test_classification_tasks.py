"""text-classification, token-classification, fill-mask and feature-extraction: keys, nesting and numbers."""

import itertools
import logging

import numpy as np
import pipeline_models as models
import pytest

from minilm import InputError, pipeline
from minilm.pipelines.entities import Piece, entities_of, without_overlaps


def softmax(x):
    e = np.exp(np.asarray(x, np.float64))
    return e / e.sum(-1, keepdims=True)


def logits_of(model, tokenizer, *texts):
    return model(**tokenizer(*[[text] for text in texts], return_tensors="np")).logits.data[0]


# text-classification


def test_the_best_class_and_all_of_them(classifier, words):
    pipe = pipeline("text-classification", classifier, words)
    want = softmax(logits_of(classifier, words, "the cat"))
    label = ["NEG", "POS", "MEH"][want.argmax()]
    assert pipe("the cat") == [{"label": label, "score": pytest.approx(want.max(), rel=1e-5)}]
    assert pipe(["the cat", "the cat"]) == pipe("the cat") * 2
    every = pipe("the cat", top_k=None)
    assert [one["score"] for one in every] == pytest.approx(sorted(want, reverse=True), rel=1e-5)
    assert {one["label"] for one in every} == {"NEG", "POS", "MEH"}
    assert pipe("the cat", top_k=2) == every[:2]
    assert pipe(["the cat"], top_k=2) == [every[:2]]
    assert isinstance(every[0]["score"], float)


def test_a_pair(classifier, words):
    pipe = pipeline("text-classification", classifier, words)
    pair = {"text": "Ann", "text_pair": "the cat"}
    want = softmax(logits_of(classifier, words, "Ann", "the cat"))
    assert pipe(pair)["score"] == pytest.approx(want.max(), rel=1e-5)
    assert pipe([pair]) == [pipe(pair)]
    assert pipe({"text": "Ann"}) == pipe("Ann")[0]
    for wrong in ({"text_pair": "b"}, {"text": "a", "pair": "b"}, ["Ann", ["a", "b"]]):
        with pytest.raises(InputError, match='"text_pair"'):
            pipe(wrong)


@pytest.mark.parametrize(
    ("options", "function"),
    [
        ({"num_labels": 1}, lambda x: 1 / (1 + np.exp(-x))),
        ({"num_labels": 1, "problem_type": "regression"}, lambda x: x),
        ({"num_labels": 3, "problem_type": "multi_label_classification"}, lambda x: 1 / (1 + np.exp(-x))),
        ({"num_labels": 3, "problem_type": "single_label_classification"}, softmax),
    ],
)
def test_how_scores_are_made(options, function, words):
    model = models.bert("BertForSequenceClassification", **options)
    x = logits_of(model, words, "the cat").astype(np.float64)
    scores = {
        one["label"]: one["score"] for one in pipeline("text-classification", model, words)("the cat", top_k=None)
    }
    assert [scores[f"LABEL_{i}"] for i in range(len(x))] == pytest.approx(function(x), rel=1e-4)


def test_the_function_can_be_chosen(classifier, words):
    x = logits_of(classifier, words, "the cat")
    pipe = pipeline("text-classification", classifier, words, function_to_apply="none")
    assert pipe("the cat")[0]["score"] == pytest.approx(x.max(), rel=1e-5)
    sigmoid = pipe("the cat", function_to_apply="SIGMOID")[0]["score"]
    assert sigmoid == pytest.approx(1 / (1 + np.exp(-x.max())), rel=1e-5)
    with pytest.raises(InputError, match="function_to_apply is 'relu'; use one of softmax, sigmoid, none"):
        pipe("the cat", function_to_apply="relu")
    with pytest.raises(InputError, match="top_k is 0"):
        pipe("the cat", top_k=0)


# token-classification


def test_tokens_with_their_places(tagger, words):
    text = "Ann lives in New York."
    found = pipeline("ner", tagger, words, ignore_labels=[])(text)
    batch = words(text)
    probabilities = softmax(logits_of(tagger, words, text))
    assert [one["word"] for one in found] == words.tokenize(text)
    assert [one["index"] for one in found] == list(range(1, len(batch["input_ids"]) - 1))
    for one in found:
        row = probabilities[one["index"]]
        assert one["entity"] == models.LABELS[int(row.argmax())]
        assert one["score"] == pytest.approx(row.max(), rel=1e-4)
        assert text[one["start"] : one["end"]].lower() == one["word"].removeprefix("##")
        assert list(one) == ["entity", "score", "index", "word", "start", "end"]
    assert pipeline("ner", tagger, words)(text) == [one for one in found if one["entity"] != "O"]
    assert pipeline("ner", tagger, words, ignore_labels=["I-PER", "O"])(text) == [
        one for one in found if one["entity"] not in ("I-PER", "O")
    ]


def test_an_unknown_word_shows_its_text(tagger, words):
    text = "Ann Ωψ cat"
    assert words.tokenize(text)[1] == "[UNK]"
    found = pipeline("ner", tagger, words, ignore_labels=[])(text)
    assert found[1]["word"] == "Ωψ"
    grouped = pipeline("ner", tagger, words, ignore_labels=[], aggregation_strategy="first")(text)
    assert "Ωψ" in " ".join(one["word"] for one in grouped).split()


def test_no_tokens_no_entities(tagger, words):
    assert pipeline("ner", tagger, words)("") == []
    assert pipeline("ner", tagger, words)(["", " "]) == [[], []]


def piece(word, start, end, scores, continues=False):
    return Piece(word, np.array(scores, np.float32), start, end, 1, continues)


# micro ##soft com ##pany: B-ORG, I-NAME, B-ORG, I-ORG, with the third class sure
LABELS = {0: "B-ORG", 1: "I-ORG", 2: "I-NAME", 3: "O"}
PIECES = [
    piece("micro", 0, 5, [0.5, 0.2, 0.2, 0.1]),
    piece("##soft", 5, 9, [0.1, 0.1, 0.7, 0.1], True),
    piece("com", 10, 13, [0.1, 0.6, 0.2, 0.1]),
    piece("##pany", 13, 17, [0.1, 0.5, 0.3, 0.1], True),
]


def join(tokens):
    return " ".join(tokens).replace(" ##", "")


@pytest.mark.parametrize(
    ("strategy", "want"),
    [
        ("simple", [("ORG", 0.5, "micro", 0, 5), ("NAME", 0.7, "##soft", 5, 9), ("ORG", 0.55, "company", 10, 17)]),
        ("first", [("ORG", (0.5 + 0.6) / 2, "microsoft company", 0, 17)]),
        ("average", [("NAME", 0.45, "microsoft", 0, 9), ("ORG", 0.55, "company", 10, 17)]),
        ("max", [("NAME", 0.7, "microsoft", 0, 9), ("ORG", 0.6, "company", 10, 17)]),
    ],
)
def test_the_strategies(strategy, want):
    groups = entities_of(PIECES, strategy, LABELS, join)
    keys = ("entity_group", "score", "word", "start", "end")
    assert [list(group) for group in groups] == [list(keys)] * len(want)
    for group, values in zip(groups, want):
        assert group == {key: value if key != "score" else pytest.approx(value) for key, value in zip(keys, values)}


def test_what_begins_a_new_name():
    def names(*labels):
        table = dict(enumerate(labels))
        pieces = [piece("x", i, i + 1, np.eye(len(labels))[i]) for i in range(len(labels))]
        return [
            (group["entity_group"], group["start"], group["end"])
            for group in entities_of(pieces, "simple", table, join)
        ]

    assert names("B-PER", "I-PER", "B-PER", "B-PER") == [("PER", 0, 2), ("PER", 2, 3), ("PER", 3, 4)]
    assert names("I-PER", "I-LOC", "I-LOC") == [("PER", 0, 1), ("LOC", 1, 3)]
    assert names("NOUN", "NOUN", "B-NOUN", "NOUN") == [("NOUN", 0, 2), ("NOUN", 2, 4)]
    assert names("B-A-B", "I-A-B") == [("A-B", 0, 2)]
    assert names() == []


def test_of_overlapping_names_the_longest_stays():
    def entity(start, end, score):
        return {"entity_group": "PER", "score": score, "word": "x", "start": start, "end": end}

    whole, part, other = entity(3, 9, 0.2), entity(5, 9, 0.9), entity(9, 12, 0.5)
    assert without_overlaps([part, other, whole]) == [whole, other]
    surer = {**whole, "score": 0.3}
    assert without_overlaps([whole, surer]) == without_overlaps([surer, whole]) == [surer]
    assert without_overlaps([]) == []


def test_a_long_text_in_windows(tagger, words):
    text = "Ann lives in New York, and Bob works for Microsoft. " * 5
    pipe = pipeline("ner", tagger, words, aggregation_strategy="simple", ignore_labels=[])
    first, every = pipe(text), pipe(text, stride=8)
    assert max(one["end"] for one in first) < len(text) - 20
    assert every[-1]["end"] == len(text.rstrip())
    for one, following in itertools.pairwise(every):
        assert one["end"] <= following["start"]
    with pytest.raises(InputError, match="aggregation_strategy='none' does not"):
        pipe(text, stride=8, aggregation_strategy="none")
    for wrong in (48, -1, "a"):
        with pytest.raises(InputError, match=r"stride is .*; give 0 to 48 − 1"):
            pipe(text, stride=wrong)
    with pytest.raises(
        InputError, match="aggregation_strategy is 'mean'; use one of none, simple, first, average, max"
    ):
        pipe(text, aggregation_strategy="mean")


def test_words_that_are_given(tagger, words):
    pipe = pipeline("ner", tagger, words, is_split_into_words=True, ignore_labels=[])
    (found,) = pipe(["Ann", "lives", "unfamiliar"], delimiter="--")
    text = "Ann--lives--unfamiliar"
    assert all(text[one["start"] : one["end"]].lower() == one["word"].removeprefix("##") for one in found)
    assert pipe([["Ann", "lives"], ("the", "cat")])[1] == pipe(["the", "cat"])[0]
    with pytest.raises(InputError, match="where a list of words was expected"):
        pipe("Ann lives")


def test_a_tokenizer_that_does_not_mark_words(pieces):
    model = models.bert("BertForTokenClassification", id2label=models.LABELS, vocab_size=len(pieces))
    pipe = pipeline("ner", model, pieces, aggregation_strategy="first", ignore_labels=[])
    with pytest.warns(UserWarning, match="does not mark words"):
        assert pipe("the cat")[0]["word"]


# fill-mask


def test_the_words_behind_a_mask(masked, words):
    pipe = pipeline("fill-mask", masked, words)
    text = "the [MASK] is near"
    found = pipe(text)
    probabilities = softmax(logits_of(masked, words, text)[2])
    assert [one["token"] for one in found] == np.argsort(-probabilities)[:5].tolist()
    for one in found:
        assert list(one) == ["score", "token", "token_str", "sequence"]
        assert one["score"] == pytest.approx(probabilities[one["token"]], rel=1e-4)
        assert one["token_str"] == words.decode([one["token"]])
        ids = words(text)["input_ids"]
        ids[2] = one["token"]
        assert one["sequence"] == words.decode(ids, skip_special_tokens=True)
    assert pipe(text, top_k=2) == found[:2]
    assert pipe([text]) == found
    assert pipe([text, text]) == [found, found]
    assert len(pipe(text, top_k=10**6)) == len(words)


def test_several_masks(masked, words):
    first, second = pipeline("fill-mask", masked, words, top_k=2)("the [MASK] is [MASK]")
    assert len(first) == len(second) == 2
    assert first[0]["sequence"].count("[MASK]") == 1
    assert first[0]["sequence"].startswith("[CLS]")


def test_only_some_words(masked, words, caplog):
    pipe = pipeline("fill-mask", masked, words)
    found = pipe("the [MASK] is near", targets=["cat", "the", "cat"])
    assert len(found) == 2
    assert {one["token_str"] for one in found} == {"cat", "the"}
    assert found[0]["score"] >= found[1]["score"]
    every = pipe("the [MASK] is near", top_k=10**6)
    assert all(one in every for one in found)
    with caplog.at_level(logging.WARNING, "minilm"):
        (one,) = pipe("the [MASK] is near", targets="catthe")
    assert one["token_str"] == "cat"
    assert "'catthe' is not in the vocabulary; its first token 'cat' is taken" in caplog.text
    with pytest.raises(InputError, match="targets names no word"):
        pipe("the [MASK] is near", targets=[""])


def test_no_mask(masked, words, letters):
    pipe = pipeline("fill-mask", masked, words)
    for text in ("the cat", "", "the mask"):
        with pytest.raises(InputError, match=r"has no mask; put \[MASK\] where a word is to be found"):
            pipe(["the [MASK]", text])
    with pytest.raises(InputError, match="has no mask"):
        pipe("the " * 100 + "[MASK]", tokenizer_kwargs={"truncation": True})
    with pytest.raises(InputError, match="this tokenizer has no mask token"):
        pipeline("fill-mask", masked, letters)
    with pytest.raises(InputError, match="top_k is 0"):
        pipe("the [MASK]", top_k=0)


# feature-extraction


def test_the_last_hidden_state(words, translator, pieces):
    model = models.bert("BertModel")
    pipe = pipeline("feature-extraction", model, words)
    want = model(**words(["the cat"], return_tensors="np")).last_hidden_state.data
    assert isinstance(pipe("the cat"), list)
    np.testing.assert_allclose(pipe("the cat"), want, rtol=1e-5)
    arrays = pipe(["the cat", "Ann"], return_tensors=True, batch_size=2)
    assert [one.shape[0] for one in arrays] == [1, 1]
    np.testing.assert_allclose(arrays[0], want, rtol=1e-4, atol=1e-5)
    assert np.shape(pipe("the cat is near", tokenize_kwargs={"truncation": True, "max_length": 3})) == (1, 3, 16)
    with pytest.raises(InputError, match="truncation is given twice"):
        pipe("a", truncation=True, tokenize_kwargs={"truncation": True})
    encoded = translator.encode(pieces(["the cat"], return_tensors="np")["input_ids"]).last_hidden_state.data
    np.testing.assert_allclose(pipeline("feature-extraction", translator, pieces)("the cat"), encoded, rtol=1e-5)
