"""BLEU, chrF, ROUGE and SQuAD's scores beside sacrebleu, rouge-score and torchmetrics, on any text and on real text."""

from __future__ import annotations

import string
from itertools import zip_longest

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from minilm.metrics import answer_statistics, bleu, chrf, exact_match, rouge, rouge_scores, sentence_bleu, token_f1
from minilm.metrics.answers import answer_words
from minilm.metrics.bleu_words import bleu_words
from minilm.metrics.porter import stem

CORNERS = [
    *["the", "cat", "sat", "on", "the", "mat", "a", "cats", "3.5", "1,000", "10-20", "U.S.", "it's", "end.", "x", "-"],
    *[" ", "  ", "\t", "\n", "-\n", "\x1c", "\xa0", "\u3000", "\u2028", "&quot;", "&amp;lt;", "<skipped>", "&", ";"],
    *["床前", "明月光", "，", "。", "“", "”", "…", "—", "€", "\u2000", "\u2001", "\u2a6d", "\u2a6e", "\U00020000"],
    *["ａ", "ﾊ", "é", "İ", "ß", "😀", "(hi)", "'s", "!", "...", "_", "~", "[", "\\", "\x00"],
]
TEXT = st.one_of(
    st.lists(st.sampled_from(CORNERS), max_size=14).map(" ".join),
    st.lists(st.sampled_from(CORNERS), max_size=14).map("".join),
    st.lists(st.sampled_from("abcd"), max_size=12).map(" ".join),
    st.text(max_size=30),
)
# (prediction, its references)
CORPUS = st.lists(st.tuples(TEXT, st.lists(TEXT, min_size=1, max_size=3)), min_size=1, max_size=4)


def unpack(corpus):
    """Predictions, references by example, and references by stream as sacrebleu wants them (None where one has fewer)."""
    predictions, references = zip(*corpus)
    return list(predictions), list(references), [list(stream) for stream in zip_longest(*references)]


@pytest.fixture(scope="module")
def sacrebleu():
    return pytest.importorskip("sacrebleu", reason="the package `sacrebleu`, the oracle, is not installed")


@pytest.fixture(scope="module")
def rouge_scorer():
    return pytest.importorskip(
        "rouge_score.rouge_scorer", reason="the package `rouge-score`, the oracle, is not installed"
    )


@pytest.fixture(scope="module")
def porter():
    return pytest.importorskip("nltk.stem.porter", reason="the package `nltk`, the oracle, is not installed")


@pytest.fixture(scope="module")
def squad():
    return pytest.importorskip("torchmetrics.functional.text.squad", reason="`torchmetrics`, the oracle, is missing")


@pytest.mark.parametrize("tokenize", ["13a", "zh", "char"])
@given(text=TEXT)
@settings(max_examples=300)
def test_bleu_words(sacrebleu, tokenize, text):
    oracle = sacrebleu.BLEU(tokenize=tokenize)
    assert bleu_words(text, tokenize) == oracle._preprocess_segment(text).split()


def test_every_character_is_cut_off_by_the_same_tokenizers(sacrebleu):
    """All of Unicode but the surrogates, between letters and between digits."""
    for tokenize in ("13a", "zh", "char"):
        oracle = sacrebleu.BLEU(tokenize=tokenize)
        for start in range(0, 0x110000, 0x4000):
            characters = [chr(code) for code in range(start, start + 0x4000) if not 0xD800 <= code < 0xE000]
            text = "".join(f"a{c}b1{c}2" for c in characters)
            assert bleu_words(text, tokenize) == oracle._preprocess_segment(text).split()


@pytest.mark.parametrize("tokenize", ["13a", "zh", "char"])
@pytest.mark.parametrize("smoothing", ["exp", "none"])
@given(corpus=CORPUS)
@example([("", [""])])
@example([("a", ["a"])])
@example([("a b c d", ["a b c d"])])
@example([("a b", ["a c", "b"]), ("", ["a"])])
@example([("a b c d e", ["e d c b a", "a b c d e f g h i"])])
def test_corpus_bleu(sacrebleu, tokenize, smoothing, corpus):
    predictions, references, streams = unpack(corpus)
    ours = bleu(predictions, references, tokenize, smoothing)
    theirs = sacrebleu.corpus_bleu(predictions, streams, tokenize=tokenize, smooth_method=smoothing)
    assert ours.score == pytest.approx(theirs.score, rel=1e-12, abs=1e-300)
    assert list(ours.precisions) == pytest.approx(theirs.precisions, rel=1e-14)
    assert ours.brevity_penalty == pytest.approx(theirs.bp, rel=1e-14)
    assert (ours.prediction_length, ours.reference_length) == (theirs.sys_len, theirs.ref_len)


@given(corpus=CORPUS)
@example([("", [""])])
@example([("a", ["a"])])
@example([("a b c", ["a b d"])])
def test_sentence_bleu(sacrebleu, corpus):
    for prediction, references in corpus:
        theirs = sacrebleu.sentence_bleu(prediction, references)
        assert sentence_bleu(prediction, references).score == pytest.approx(theirs.score, rel=1e-12)


@pytest.mark.parametrize("word_order", [0, 1, 2])
@given(corpus=CORPUS)
@example([("", [""])])
@example([("a", ["a"])])
@example([("(a)", ["(a) b.", "(a)"]), ("", ["x"])])
def test_corpus_chrf(sacrebleu, word_order, corpus):
    predictions, references, streams = unpack(corpus)
    theirs = sacrebleu.corpus_chrf(predictions, streams, word_order=word_order)
    assert chrf(predictions, references, word_order) == pytest.approx(theirs.score, rel=1e-12)


@pytest.mark.parametrize("stemmer", [False, True])
@given(prediction=TEXT, references=st.lists(TEXT, min_size=1, max_size=3))
@example("", [""])
@example("a", ["a"])
@example("a b\nc d", ["c d\na b", "a d\n\nb c"])
@example("a b c a b", ["b a c b\na a"])
def test_rouge(rouge_scorer, stemmer, prediction, references):
    kinds = ["rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum"]
    theirs = rouge_scorer.RougeScorer(kinds, use_stemmer=stemmer).score_multi(references, prediction)
    ours = rouge_scores(prediction, references, kinds, stemmer)
    for kind in kinds:
        assert list(ours[kind][:3]) == pytest.approx(list(theirs[kind]), rel=1e-14)


@given(
    st.lists(st.tuples(*[st.lists(st.sampled_from("abc\n"), max_size=12).map(" ".join)] * 2), min_size=1, max_size=5)
)
def test_rouge_of_many_is_the_mean(rouge_scorer, corpus):
    predictions, references = zip(*corpus)
    ours = rouge(predictions, references)
    scorer = rouge_scorer.RougeScorer(list(ours))
    each = [scorer.score(reference, prediction) for prediction, reference in corpus]
    for kind, scores in ours.items():
        assert scores.f1 == pytest.approx(np.mean([score[kind].fmeasure for score in each]), rel=1e-12)


ENDINGS = [
    *("s", "es", "ies", "ss", "sses", "ed", "eed", "ied", "ing", "y", "ational", "tional", "enci", "anci", "izer"),
    *("bli", "abli", "alli", "entli", "eli", "ousli", "ization", "ation", "ator", "alism", "iveness", "fulness"),
    *("ousness", "aliti", "iviti", "biliti", "fulli", "logi", "icate", "ative", "alize", "iciti", "ical", "ful"),
    *("ness", "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "sion", "tion", "ion"),
    *("ou", "ism", "ate", "iti", "ous", "ive", "ize", "e", "ll", "at", "bl", "iz", "tt", "ff"),
]


@given(st.text("aeiouybcdlstwxz1", max_size=8), st.lists(st.sampled_from(ENDINGS), max_size=3))
@settings(max_examples=3000)
def test_stems(porter, beginning, endings):
    word = beginning + "".join(endings)
    assert stem(word) == porter.PorterStemmer().stem(word)


def test_stems_of_real_words(porter, data_folder):
    text = (data_folder / "scitldr_a.tsv").read_text(encoding="utf-8").lower()
    words = set("".join(c if c in string.ascii_lowercase else " " for c in text).split())
    oracle = porter.PorterStemmer()
    assert len(words) > 10_000
    assert {word: stem(word) for word in words} == {word: oracle.stem(word) for word in words}


@given(TEXT, TEXT)
@example("", "")
@example("the", "a")
@example("The cat's hat!", "cats  a hat")
def test_answers(squad, prediction, answer):
    assert exact_match(prediction, answer) == squad._compute_exact_match_score(prediction, answer)
    theirs = float(squad._compute_f1_score(prediction, answer))
    assert token_f1(prediction, answer) == pytest.approx(theirs, rel=1e-6)


@given(TEXT, st.lists(TEXT, min_size=1, max_size=4))
def test_the_best_of_several_answers(squad, prediction, answers):
    assume(answer_words(prediction))
    given = [{"answers": {"text": answers, "answer_start": [0] * len(answers)}, "id": "1"}]
    theirs = squad.squad([{"prediction_text": prediction, "id": "1"}], given)
    ours = answer_statistics([prediction], [answers])[0]
    assert 100 * ours == pytest.approx([float(theirs["exact_match"]), float(theirs["f1"])], rel=1e-5)


def test_real_translations(sacrebleu, data_folder):
    """A translation into Chinese of the sentence before, and of the sentence itself as others translated it."""
    lines = (data_folder / "tatoeba_en_zh.tsv").read_text(encoding="utf-8").split("\n")[:4000]
    chinese = [line.split("\t")[1] for line in lines]
    predictions, references = chinese[:-1], chinese[1:]
    for tokenize in ("zh", "char", "13a"):
        theirs = sacrebleu.corpus_bleu(predictions, [references], tokenize=tokenize)
        assert bleu(predictions, references, tokenize).score == pytest.approx(theirs.score, rel=1e-12)
        assert theirs.score > 1
    for word_order in (0, 2):
        theirs = sacrebleu.corpus_chrf(predictions, [references], word_order=word_order)
        assert chrf(predictions, references, word_order) == pytest.approx(theirs.score, rel=1e-12)


def test_real_summaries(sacrebleu, rouge_scorer, data_folder):
    """The title and the first sentence of the abstract for the summary."""
    lines = (data_folder / "scitldr_a.tsv").read_text(encoding="utf-8").split("\n")[:200]
    abstracts, summaries, titles = zip(*(line.split("\t") for line in lines))
    predictions = [title + "\n" + abstract.split(". ")[0] for title, abstract in zip(titles, abstracts)]
    for stemmer in (False, True):
        ours = rouge(predictions, summaries, stemmer=stemmer)
        scorer = rouge_scorer.RougeScorer(list(ours), use_stemmer=stemmer)
        each = [scorer.score(reference, prediction) for prediction, reference in zip(predictions, summaries)]
        for kind, scores in ours.items():
            assert scores[:3] == pytest.approx(np.mean([score[kind] for score in each], axis=0), rel=1e-12)
    ours = bleu(predictions, summaries)
    assert ours.score == pytest.approx(sacrebleu.corpus_bleu(predictions, [list(summaries)]).score, rel=1e-12)
