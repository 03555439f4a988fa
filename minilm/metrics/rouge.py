"""ROUGE: how much of a human's summary is in a machine's, as word n-grams or as a common subsequence.

Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", Text Summarization Branches Out, 2004. The numbers are
those of the package rouge-score, which follows the script ROUGE-1.5.5.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from minilm.errors import InputError
from minilm.metrics.bleu import ngrams
from minilm.metrics.pairs import References, referenced_pairs
from minilm.metrics.porter import stem
from minilm.metrics.scores import Scores, scores_of

KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
Tokenize = Callable[[str], list[str]]


def rouge(
    predictions: Sequence[str],
    references: References,
    kinds: Sequence[str] = KINDS,
    stemmer: bool = False,
    tokenize: Tokenize | None = None,
) -> dict[str, Scores]:
    """The mean over examples of each kind of ROUGE, from 0 to 1; `rouge(...)["rouge1"].f1` is what papers call R-1.

    predictions: N texts; references: for each one text, or several, of which the one with the best F1 counts.
    kinds, stemmer, tokenize: as for `rouge_scores`. support is N.
    Raises InputError for no prediction, unequal numbers, an example without reference, or an unknown kind.
    """
    scores = [
        rouge_scores(prediction, texts, kinds, stemmer, tokenize)
        for prediction, texts in referenced_pairs(predictions, references)
    ]
    means = {}
    for kind in kinds:
        precision, recall, f1 = np.mean([score[kind][:3] for score in scores], axis=0).tolist()
        means[kind] = Scores(precision, recall, f1, len(scores))
    return means


def rouge_scores(
    prediction: str,
    references: str | Sequence[str],
    kinds: Sequence[str] = KINDS,
    stemmer: bool = False,
    tokenize: Tokenize | None = None,
) -> dict[str, Scores]:
    r"""P = hits / n(prediction),  R = hits / n(reference),  F1 = 2 P R / (P + R).    [eq:rouge]

    kinds: "rouge1" to "rouge9" count n-grams that both have, "rougeL" the words of their longest common subsequence,
    "rougeLsum" the same per sentence (a line each), see `union_hits`.
    stemmer: compare stems (Porter's), so that "models" and "modelled" are one word.
    tokenize: how to cut a text into words; by default runs of a-z and 0-9 in lower case, which leaves nothing of a
    Chinese text: give `list` for characters there. The stemmer is not applied to the words it returns.

    Equal to rouge-score's score_multi. Raises InputError as `rouge` does.
    """
    words = tokenize or (lambda text: rouge_words(text, stemmer))
    ((prediction, texts),) = referenced_pairs([prediction], [references])
    return {kind: max((one_score(kind, prediction, text, words) for text in texts), key=f1_of) for kind in kinds}


def f1_of(scores: Scores) -> float:
    return scores.f1


def one_score(kind: str, prediction: str, reference: str, words: Tokenize) -> Scores:
    """One kind of ROUGE of one pair of texts."""
    if kind == "rougeLsum":
        predicted_lines = [words(line) for line in prediction.split("\n") if line]
        actual_lines = [words(line) for line in reference.split("\n") if line]
        hits = union_hits(predicted_lines, actual_lines)
        return scores_of(hits, sum(map(len, predicted_lines)), sum(map(len, actual_lines)))
    predicted, actual = words(prediction), words(reference)
    if kind == "rougeL":
        return scores_of(lcs_lengths(actual, predicted)[-1][-1], len(predicted), len(actual))
    if not re.fullmatch("rouge[1-9]", kind):
        raise InputError(f"there is no kind of ROUGE {kind!r}; give rouge1, rouge2, ..., rougeL or rougeLsum")
    predicted_grams, actual_grams = ngrams(predicted, int(kind[-1])), ngrams(actual, int(kind[-1]))
    return scores_of((predicted_grams & actual_grams).total(), predicted_grams.total(), actual_grams.total())


def rouge_words(text: str, stemmer: bool = False) -> list[str]:
    """Runs of a-z and 0-9 in lower case; with the stemmer, the stems of those longer than three."""
    words = re.findall("[a-z0-9]+", text.lower())
    return [stem(word) if len(word) > 3 else word for word in words] if stemmer else words


def lcs_lengths(a: Sequence[str], b: Sequence[str]) -> list[list[int]]:
    r"""L_ij = L_{i−1,j−1} + 1 where a_i = b_j, else max(L_{i−1,j}, L_{i,j−1}).    [eq:longest-common-subsequence]

    Returns the table L, (len(a) + 1, len(b) + 1): L_ij is the length of the longest sequence of words that the first i
    of a and the first j of b both have in this order, with gaps.
    """
    table = [[0] * (len(b) + 1)]
    for word in a:
        above, row = table[-1], [0]
        for j, other in enumerate(b):
            row.append(above[j] + 1 if word == other else max(above[j + 1], row[j]))
        table.append(row)
    return table


def lcs_places(a: Sequence[str], b: Sequence[str]) -> list[int]:
    """Where in a the words of one longest common subsequence are: the table of `lcs_lengths`, walked back."""
    L, i, j = lcs_lengths(a, b), len(a), len(b)
    places = []
    while i > 0 and j > 0:
        if a[i - 1] == b[j - 1]:
            i, j = i - 1, j - 1
            places.append(i)
        elif L[i][j - 1] > L[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return places[::-1]


def union_hits(predicted: list[list[str]], actual: list[list[str]]) -> int:
    """How many words of the reference's sentences are in a common subsequence with any sentence of the prediction.

    A word counts no more often than either text has it.
    """
    left = Counter(word for line in predicted for word in line) & Counter(word for line in actual for word in line)
    hits = 0
    for line in actual:
        for place in sorted({place for other in predicted for place in lcs_places(line, other)}):
            if left[line[place]] > 0:
                left[line[place]] -= 1
                hits += 1
    return hits
