"""BLEU, chrF, ROUGE and SQuAD's scores: small cases worked out by hand, laws, and bad input."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilm.errors import InputError
from minilm.metrics import (
    answer_scores,
    answer_statistics,
    bleu,
    bleu_of,
    bleu_statistics,
    chrf,
    chrf_of,
    chrf_statistics,
    exact_match,
    rouge,
    rouge_scores,
    sentence_bleu,
    token_f1,
)
from minilm.metrics.answers import answer_words
from minilm.metrics.bleu_words import bleu_words
from minilm.metrics.porter import stem

WORDS = st.lists(st.sampled_from("abcde"), min_size=4, max_size=9).map(" ".join)
CORPUS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5)


def test_bleu_by_hand():
    # the cat sat on the mat / the cat is on the mat: matches 5 of 6, 3 of 5, 1 of 4, 0 of 3 (smoothed: 1/2 of 3)
    result = bleu(["the cat sat on the mat"], ["the cat is on the mat"])
    assert result.precisions == pytest.approx((500 / 6, 60, 25, 100 / 6))
    assert result.brevity_penalty == 1
    assert result.score == pytest.approx(100 * (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** 0.25)
    assert bleu(["the cat sat on the mat"], ["the cat is on the mat"], smoothing="none").score == 0


def test_bleu_halves_again_for_each_order_without_match():
    assert bleu(["a b x c d"], ["a y b z c"]).precisions == pytest.approx((60, 100 / 8, 100 / 12, 100 / 16))


def test_bleu_counts_a_word_at_most_as_often_as_the_reference_has_it():
    assert bleu(["the the the the"], ["the cat the mat"]).precisions[0] == 50
    assert bleu(["a a"], [["a b", "a c"]]).precisions[0] == 50  # of several, as often as one of them has it


def test_bleu_brevity_and_several_references():
    short = bleu(["a b c d"], ["a b c d e f"])
    assert short.brevity_penalty == pytest.approx(math.exp(1 - 6 / 4))
    assert bleu(["a b c d e"], ["a b c d"]).brevity_penalty == bleu(["a b"], ["c d"]).brevity_penalty == 1
    assert short.score == pytest.approx(100 * math.exp(-0.5))
    assert bleu(["a b c d"], [["a b c d e f", "x y z a b"]]).reference_length == 5  # nearest in length
    assert bleu(["a b c d"], [["a b c", "a b c d e"]]).reference_length == 3  # of two as near, the shorter


def test_bleu_of_a_corpus_sums_before_dividing():
    predictions, references = ["a b c d e", "v w x y"], ["a b c d e", "a b c d"]
    assert bleu(predictions, references).precisions == pytest.approx((500 / 9, 400 / 7, 60, 200 / 3))
    statistics = bleu_statistics(predictions, references)
    assert statistics.tolist() == [[5, 5, 5, 4, 3, 2, 5, 4, 3, 2], [4, 4, 0, 0, 0, 0, 4, 3, 2, 1]]
    assert bleu_of(statistics.sum(0)) == bleu(predictions, references)


def test_bleu_of_short_texts():
    assert bleu(["a b"], ["a b"]).score == 0  # it has no 4-gram
    assert sentence_bleu("a b", "a b").score == pytest.approx(100)
    assert sentence_bleu("", "a").score == sentence_bleu("a", "").score == sentence_bleu("", "").score == 0


@given(CORPUS)
def test_scores_of_the_same_texts_are_full(corpus):
    texts = [text for text, _ in corpus]
    assert bleu(texts, texts).score == pytest.approx(100)
    assert chrf(texts, texts) == pytest.approx(100)
    assert all(scores.f1 == 1 for scores in rouge(texts, texts).values())


@given(CORPUS)
def test_the_order_of_the_corpus_does_not_matter(corpus):
    predictions, references = zip(*corpus)
    assert bleu(predictions, references).score == pytest.approx(bleu(predictions[::-1], references[::-1]).score)
    assert chrf(predictions, references) == pytest.approx(chrf(predictions[::-1], references[::-1]))


def test_how_bleu_cuts_words():
    assert bleu_words("Hi, it's 3.5! A &quot;B&quot;-C 10-20.") == [
        *["Hi", ",", "it's", "3.5", "!", "A", '"', "B", '"', "-C", "10", "-", "20", "."]
    ]
    assert bleu_words("他买了iPhone 12。", "zh") == ["他", "买", "了", "iPhone", "12", "。"]
    assert bleu_words(" 他 ab", "char") == ["他", "a", "b"]
    assert bleu(["他买了书"], ["他买了书"]).score == 0  # one long word for 13a
    assert bleu(["他买了书"], ["他买了书"], "zh").score == pytest.approx(100)


def test_chrf_by_hand():
    # abc / abd: 1-grams 2 of 3, 2-grams 1 of 2, 3-grams 0 of 1, the longer orders are left out
    assert chrf(["a bc"], ["ab d"]) == pytest.approx(100 * (2 / 3 + 1 / 2 + 0) / 3)
    # ab / abcd: P = 1, 1; R = 2/4, 1/3; the orders 3 and 4 are left out
    P, R = 1, (2 / 4 + 1 / 3) / 2
    assert chrf(["ab"], ["abcd"]) == pytest.approx(100 * 5 * P * R / (4 * P + R))
    assert chrf(["ab"], [["xyz", "abcd"]]) == chrf(["ab"], ["abcd"])  # the better reference
    # a reference of one letter has no 2-grams, so the prediction's are not counted: P = (7/12 + 1 + 1 + 1 + 1 + 1)/6, R = 1
    P = (7 / 12 + 5) / 6
    assert chrf(["abcdef"] * 2, ["a", "abcdef"]) == pytest.approx(100 * 5 * P / (4 * P + 1))
    assert chrf([""], ["a"]) == chrf(["a"], [""]) == chrf([""], [""]) == 0


def test_chrf_plus_plus_by_hand():
    # characters ab / abc: P = 1, 1; R = 2/3, 1/2. Words (a b) / (a b c): P = 1, 1; R = 2/3, 1/2
    P, R = 1, (2 / 3 + 1 / 2) / 2
    assert chrf(["a b"], ["a b c"], word_order=2) == pytest.approx(100 * 5 * P * R / (4 * P + R))
    assert chrf(["hi!"], ["hi !"], word_order=2) == pytest.approx(100)
    assert chrf_of(chrf_statistics(["a", "b"], ["a", "b"]).sum(0)) == 100


def test_rouge_by_hand():
    scores = rouge_scores("The cat sat.", "the cat was sitting")
    assert scores["rouge1"] == pytest.approx((2 / 3, 2 / 4, 4 / 7, 4))
    assert scores["rouge2"] == pytest.approx((1 / 2, 1 / 3, 2 / 5, 3))
    assert scores["rougeL"] == pytest.approx((2 / 3, 2 / 4, 4 / 7, 4))
    assert rouge_scores("a c b", "a b c", ["rougeL"])["rougeL"][:2] == pytest.approx((2 / 3, 2 / 3))


def test_rouge_lsum_by_hand():
    """Lin 2004, §3.2: the reference w1 w2 w3 w4 w5; the sentences w1 w2 w6 w7 w8 and w1 w3 w8 w9 w5 cover 4 of its words."""
    scores = rouge_scores("w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5", "w1 w2 w3 w4 w5", ["rougeLsum"])
    assert scores["rougeLsum"][:2] == pytest.approx((4 / 10, 4 / 5))
    assert rouge_scores("a", "a\na", ["rougeLsum"])["rougeLsum"][:2] == (1, 1 / 2)  # one a cannot hit twice


def test_rouge_takes_the_best_reference_and_the_mean():
    assert rouge_scores("a b", ["c d", "a b", "a"])["rouge1"].f1 == 1
    result = rouge(["a b", "a"], ["a b", "b"], ["rouge1"])
    assert result == {"rouge1": (0.5, 0.5, 0.5, 2)}


def test_rouge_of_chinese_needs_a_tokenizer():
    assert rouge_scores("床前明月光", "床前明月光")["rouge1"].f1 == 0
    assert rouge_scores("床前明月", "床前明月光", ["rouge1"], tokenize=list)["rouge1"] == pytest.approx(
        (1, 0.8, 8 / 9, 5)
    )


def test_stems():
    expected = "caress poni tie caress cat feed agre plaster bled motor sing conflat troubl size hop tan fall hiss fail"
    words = "caresses ponies ties caress cats feed agreed plastered bled motoring sing conflated troubled sized hopping"
    assert [stem(word) for word in f"{words} tanned falling hissing failing".split()] == expected.split()
    expected = "relat condit ration happi sky die gener oscil snow box a is"
    words = "relational conditional rational happy sky dying generalizations oscillators snowing boxed a is"
    assert [stem(word) for word in words.split()] == expected.split()
    assert rouge_scores("models", "modelled", ["rouge1"], stemmer=True)["rouge1"].f1 == 1


def test_answers_by_hand():
    assert answer_words("The  cat's hat!") == ["cats", "hat"]
    assert exact_match("a Cat.", "the cat") == 1
    assert exact_match("cat", "cats") == 0
    assert token_f1("the big red cat", "red cats") == pytest.approx(2 * (1 / 3 * 1 / 2) / (1 / 3 + 1 / 2))
    assert token_f1("red red", "red red blue") == pytest.approx(0.8)
    assert token_f1("red red", "red") == pytest.approx(2 / 3)  # as multisets
    assert token_f1("the", "a") == exact_match("", "") == 1
    assert token_f1("", "cat") == token_f1("cat", "") == 0


def test_the_best_of_several_answers_for_each_measure():
    assert answer_scores(["b c", ""], [["a", "c", "b c d"], []]) == pytest.approx((0.5, (0.8 + 1) / 2))
    assert answer_statistics(["b"], ["b"]).tolist() == [[1.0, 1.0]]
    assert answer_scores(["x"], [[]]) == (0, 0)


def test_answers_in_chinese():
    assert token_f1("明月光", "明月") == 0
    assert token_f1("明月光", "明月", "zh") == pytest.approx(0.8)
    assert exact_match("《明月》 ABC。", "明月 abc", "zh") == 1


@pytest.mark.parametrize("metric", [bleu, chrf, rouge])
def test_bad_input(metric):
    with pytest.raises(InputError, match="no predictions"):
        metric([], [])
    with pytest.raises(InputError, match="2 predictions for 1 references"):
        metric(["a", "b"], ["a"])
    with pytest.raises(InputError, match="example 1 has no reference"):
        metric(["a", "b"], ["a", []])
    with pytest.raises(InputError, match="predictions are one text"):
        metric("ab", ["a", "b"])
    with pytest.raises(InputError, match="references are one text"):
        metric(["a", "b"], "ab")
    with pytest.raises(InputError, match="example 0 has list where a text belongs; decode"):
        metric([[1, 2]], ["a"])
    with pytest.raises(InputError, match="example 0 has int where a text belongs"):
        metric(["a"], [["a", 1]])
    with pytest.raises(InputError, match="example 0 has NoneType"):
        metric(["a"], [None])


def test_unknown_names():
    with pytest.raises(InputError, match="no tokenizer 'intl'; give '13a'"):
        bleu(["a"], ["a"], "intl")
    with pytest.raises(InputError, match="no smoothing 'floor'"):
        bleu(["a"], ["a"], smoothing="floor")
    for kind in ("rouge", "rouge0", "rougeX"):
        with pytest.raises(InputError, match=f"no kind of ROUGE '{kind}'"):
            rouge(["a"], ["a"], [kind])
    with pytest.raises(InputError, match="answers in 'fr' have no rule"):
        answer_scores(["a"], ["a"], "fr")
    with pytest.raises(InputError, match="no predictions"):
        answer_scores([], [])
