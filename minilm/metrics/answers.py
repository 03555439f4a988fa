"""Judging answers to questions, as the SQuAD benchmark does: is it the expected answer, and do its words overlap.

Rajpurkar, Zhang, Lopyrev and Liang, "SQuAD: 100,000+ Questions for Machine Comprehension of Text", EMNLP 2016.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minilm.errors import InputError
from minilm.metrics.pairs import References, text_pairs
from minilm.metrics.scores import scores_of

LANGUAGES = ("en", "zh")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_IDEOGRAPH = re.compile("([\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af])")


class AnswerScores(NamedTuple):
    """Means over the questions, from 0 to 1 (the benchmark's script prints them times 100)."""

    exact_match: float
    f1: float


def answer_scores(predictions: Sequence[str], references: References, language: str = "en") -> AnswerScores:
    """Exact match and F1 of N answers.

    predictions: a text for each question; references: for each one answer or several that people gave, of which the one
    that fits best counts, for each measure by itself. None at all means that the question has no answer: then the empty
    prediction is right. language: see `answer_words`.
    Raises InputError for no question, unequal numbers, or another language.
    """
    return AnswerScores(*answer_statistics(predictions, references, language).mean(0).tolist())


def answer_statistics(predictions: Sequence[str], references: References, language: str = "en") -> np.ndarray:
    """Each question's exact match and F1, (N, 2), whose means `answer_scores` returns. Arguments and errors as there."""
    rows = []
    for prediction, given in text_pairs(predictions, references):
        answers = given or [""]
        exact = max(exact_match(prediction, answer, language) for answer in answers)
        rows.append([exact, max(token_f1(prediction, answer, language) for answer in answers)])
    return np.array(rows, np.float64)


def exact_match(prediction: str, answer: str, language: str = "en") -> float:
    """1 if both have the same `answer_words` in the same order, else 0."""
    return float(answer_words(prediction, language) == answer_words(answer, language))


def token_f1(prediction: str, answer: str, language: str = "en") -> float:
    r"""F1 of P = |ŷ ∩ y| / |ŷ| and R = |ŷ ∩ y| / |y|, of the two texts' words ŷ and y as multisets.    [eq:token-f1]

    Where one of them has no word, 1 if the other has none either, else 0 (as SQuAD 2.0 has it).
    """
    predicted, actual = answer_words(prediction, language), answer_words(answer, language)
    if not predicted or not actual:
        return float(predicted == actual)
    common = (Counter(predicted) & Counter(actual)).total()
    return scores_of(common, len(predicted), len(actual)).f1


def answer_words(text: str, language: str = "en") -> list[str]:
    """What is compared: "The  cat's hat!" → ["cats", "hat"].

    language: "en" takes lower case, removes ASCII punctuation, then a, an and the, and splits at spaces: SQuAD's rule.
    "zh" takes lower case, removes all punctuation of Unicode, and makes each Chinese character a word; what is not
    Chinese is split at spaces. (SQuAD's rule would take a Chinese answer for one long word, so that F1 would be exact
    match.) Raises InputError for another language.
    """
    text = text.lower()
    if language == "en":
        text = "".join(character for character in text if character not in string.punctuation)
        return _ARTICLES.sub(" ", text).split()
    if language == "zh":
        text = "".join(character for character in text if not is_punctuation(character))
        return _IDEOGRAPH.sub(r" \1 ", text).split()
    raise InputError(f"answers in {language!r} have no rule; give 'zh' for Chinese and 'en' for other languages")


def is_punctuation(character: str) -> bool:
    """ASCII punctuation ($ and + too, as in SQuAD's rule), and the categories P of Unicode."""
    return character in string.punctuation or unicodedata.category(character).startswith("P")
