"""chrF: the F-score of character n-grams; needs no tokenizer, so it suits languages rich in endings, and Chinese.

Popović, "chrF: character n-gram F-score for automatic MT evaluation", WMT 2015; "chrF++: words helping character
n-grams", WMT 2017. The numbers are those of the package sacrebleu.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from minilm.metrics.bleu import ngrams
from minilm.metrics.pairs import References, referenced_pairs
from minilm.metrics.scores import f_score

CHARACTER_ORDER = 6
BETA = 2.0


def chrf(predictions: Sequence[str], references: References, word_order: int = 0) -> float:
    r"""chrF2 = 100 (1 + β²) P R / (β² P + R),  β = 2,  P = (1/6) Σ_{n=1..6} P_n,  R = (1/6) Σ_{n=1..6} R_n.    [eq:chrf]

    P_n: the share of the predictions' character n-grams that are in the references, R_n the other way round, both
    counted over the whole corpus, without spaces. Orders that one side is too short for are left out of the means.

    predictions: N texts; references: for each one text, or several, of which the best fitting one counts.
    word_order: 2 averages over 1- and 2-grams of words too, which is called chrF++.

    Returns a score from 0 to 100, equal to sacrebleu's corpus_chrf. Raises InputError for no prediction, unequal
    numbers, or an example without reference.
    """
    return chrf_of(chrf_statistics(predictions, references, word_order).sum(0))


def chrf_statistics(predictions: Sequence[str], references: References, word_order: int = 0) -> np.ndarray:
    """All that chrF has to know of each pair: (N, 6 + word_order, 3) counts; their sum over pairs gives those pairs' chrF.

    The last axis: n-grams in both, in the prediction, in the reference. Arguments and errors as for `chrf`.
    """
    rows = []
    for prediction, texts in referenced_pairs(predictions, references):
        grams = all_ngrams(prediction, word_order)
        rows.append(max((overlaps(grams, all_ngrams(text, word_order)) for text in texts), key=chrf_of))
    return np.stack(rows)


def chrf_of(statistics: np.ndarray) -> float:
    """chrF from a sum of rows of `chrf_statistics`, (orders, 3)."""
    both, predicted, actual = statistics.T
    orders = (predicted > 0) & (actual > 0)
    if not orders.any():
        return 0.0
    both, predicted, actual = both[orders], predicted[orders], actual[orders]
    P = np.cumsum(both / predicted)[-1] / len(both)  # cumsum adds from left to right, so that ties stay ties
    R = np.cumsum(both / actual)[-1] / len(both)
    return 100 * f_score(float(P), float(R), BETA)


def overlaps(predicted: list[Counter[Any]], actual: list[Counter[Any]]) -> np.ndarray:
    """(orders, 3): per order the n-grams in both, in the prediction, in the reference.

    Where the reference is too short for an order, the prediction's are not counted either: they could not match.
    """
    return np.array([[(p & a).total(), p.total() if a else 0, a.total()] for p, a in zip(predicted, actual)])


def all_ngrams(text: str, word_order: int) -> list[Counter[Any]]:
    """The n-grams of characters for n = 1 to 6, then those of words for n = 1 to word_order."""
    characters = "".join(text.split())
    counters: list[Counter[Any]] = [
        Counter(characters[start : start + n] for start in range(len(characters) - n + 1))
        for n in range(1, CHARACTER_ORDER + 1)
    ]
    words = chrf_words(text) if word_order else []
    return counters + [ngrams(words, n) for n in range(1, word_order + 1)]


def chrf_words(text: str) -> list[str]:
    """Words between spaces, one mark of punctuation cut off each: from the end or else from the beginning."""
    words = []
    for word in text.split():
        if len(word) > 1 and word[-1] in string.punctuation:
            words += [word[:-1], word[-1]]
        elif len(word) > 1 and word[0] in string.punctuation:
            words += [word[0], word[1:]]
        else:
            words.append(word)
    return words
