"""BLEU: how many of a translation's n-grams a human translation has too.

Papineni, Roukos, Ward and Zhu, "BLEU: a Method for Automatic Evaluation of Machine Translation", ACL 2002. The numbers
are those of the package sacrebleu (Post, "A Call for Clarity in Reporting BLEU Scores", 2018).    [F18; 000 FAQ]
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minilm.errors import InputError
from minilm.metrics.bleu_words import bleu_words
from minilm.metrics.pairs import References, referenced_pairs

MAX_ORDER = 4


class BLEU(NamedTuple):
    """The score from 0 to 100 and what it is made of; precisions: of 1- to 4-grams, from 0 to 100."""

    score: float
    precisions: tuple[float, ...]
    brevity_penalty: float
    prediction_length: int
    reference_length: int


def bleu(predictions: Sequence[str], references: References, tokenize: str = "13a", smoothing: str = "exp") -> BLEU:
    r"""BLEU = 100 · BP · exp(¼ Σ_{n=1..4} ln p_n),  BP = min(1, e^{1 − r/c}).    [eq:bleu]

    p_n: the share of the predictions' n-grams that are in the reference, an n-gram counting at most as often as it is
    there; c, r: the words of all predictions and of all references. Counts are summed over the corpus before dividing,
    so BLEU is no mean over sentences.

    predictions: N texts, as a reader would see them (not cut into words); references: for each one text, or several.
    tokenize: "13a", "zh" or "char", see `bleu_words`. smoothing: where an order has no match, "exp" takes for its
    matches 1/2, for the next such order 1/4, ...; "none" makes the score 0.

    Of several references an n-gram's best count is taken, and r is the length nearest to the prediction's. Equal to
    sacrebleu's corpus_bleu. Raises InputError for no prediction, unequal numbers, or an unknown name.
    """
    return bleu_of(bleu_statistics(predictions, references, tokenize).sum(0), smoothing)


def sentence_bleu(
    prediction: str, references: str | Sequence[str], tokenize: str = "13a", smoothing: str = "exp"
) -> BLEU:
    """BLEU of one sentence, with only those orders of n-grams that it is long enough for (its effective order).

    Equal to sacrebleu's sentence_bleu. Single sentences' BLEU is noisy: compare systems by `bleu` over a corpus.
    Arguments and errors as for `bleu`.
    """
    return bleu_of(bleu_statistics([prediction], [references], tokenize)[0], smoothing, effective_order=True)


def bleu_statistics(predictions: Sequence[str], references: References, tokenize: str = "13a") -> np.ndarray:
    """All that BLEU has to know of each pair: (N, 10) integers. Their sum over any N pairs gives those pairs' BLEU.

    Columns: the prediction's length, the reference's, the matches of 1- to 4-grams, the prediction's 1- to 4-grams.
    Raises InputError as `bleu` does.
    """
    rows = [
        pair_statistics(bleu_words(prediction, tokenize), [bleu_words(text, tokenize) for text in texts])
        for prediction, texts in referenced_pairs(predictions, references)
    ]
    return np.array(rows, np.int64)


def bleu_of(statistics: np.ndarray, smoothing: str = "exp", effective_order: bool = False) -> BLEU:
    """BLEU from a sum of rows of `bleu_statistics`, (10,); effective_order: see `sentence_bleu`."""
    if smoothing not in ("exp", "none"):
        raise InputError(f"BLEU has no smoothing {smoothing!r}; give 'exp' or 'none'")
    c, r, *counts = statistics.tolist()
    matches, totals = counts[:MAX_ORDER], counts[MAX_ORDER:]
    penalty = 1.0 if c >= r else math.exp(1 - r / c) if c > 0 else 0.0
    precisions = [0.0] * MAX_ORDER
    if not any(matches):
        return BLEU(0.0, tuple(precisions), penalty, c, r)
    orders = sum(total > 0 for total in totals)  # a text of 3 words has no 4-gram
    pretended = 1.0
    for n in range(orders):
        match = matches[n]
        if match == 0 and smoothing == "exp":
            match = pretended = pretended / 2
        precisions[n] = 100 * match / totals[n]
    used = precisions[: orders if effective_order else MAX_ORDER]
    score = 0.0 if 0.0 in used else penalty * math.exp(sum(map(math.log, used)) / len(used))
    return BLEU(score, tuple(precisions), penalty, c, r)


def pair_statistics(words: list[str], references: list[list[str]]) -> list[int]:
    """One row of `bleu_statistics`, of texts that are cut into words already."""
    r = min((len(reference) for reference in references), key=lambda length: (abs(length - len(words)), length))
    matches, totals = [], []
    for n in range(1, MAX_ORDER + 1):
        grams = ngrams(words, n)
        allowed: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            allowed |= ngrams(reference, n)  # per n-gram the most that one reference has of it
        matches.append((grams & allowed).total())
        totals.append(grams.total())
    return [len(words), r, *matches, *totals]


def ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each run of n words occurs."""
    return Counter(zip(*(words[start:] for start in range(n))))
