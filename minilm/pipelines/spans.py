"""Extractive answers: which spans of a window are the most probable, and where they stand in the text.

P(i, j) = P_start(i) · P_end(j) for i ≤ j < i + max_answer_len, each a softmax over the tokens that may be in an answer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm.pipelines.base import Array, softmax

MASKED = -10000.0  # the logit of a token that cannot be in an answer


def span_probabilities(
    start_logits: Array, end_logits: Array, allowed: Array, null: Array
) -> tuple[Array, Array, float]:
    """P_start and P_end, (T,) each, and the probability P_start · P_end of no answer.

    allowed: (T,) bool, the tokens that may be in an answer. null: (T,) bool, [CLS], which takes its share of the
    probability; it stands at position 0, and what it has there is "no answer".
    """
    kept = allowed | null
    start, end = (softmax(np.where(kept, logits, logits.dtype.type(MASKED))) for logits in (start_logits, end_logits))
    no_answer = float(start[0] * end[0])
    start[0] = end[0] = 0
    return start, end, no_answer


def best_spans(
    start: Array, end: Array, count: int, max_answer_len: int, allowed: Array
) -> list[tuple[int, int, float]]:
    """At most `count` spans (first token, last token, probability), the most probable first."""
    P = np.tril(np.triu(np.outer(start, end)), max_answer_len - 1)  # (T, T): 0 where the end is too early or too late
    flat = P.ravel()
    if count < len(flat):
        order = np.argpartition(-flat, count)[:count]
        order = order[np.argsort(-flat[order], kind="stable")]
    else:
        order = np.argsort(-flat, kind="stable")
    spans = []
    for i, j in zip(*np.unravel_index(order, P.shape)):
        if allowed[i] and allowed[j] and i <= j < i + max_answer_len:
            spans.append((int(i), int(j), float(P[i, j])))
    return spans


def place_in_text(encoding: Any, first: int, last: int, align_to_words: bool) -> tuple[int, int]:
    """The characters from token `first` to token `last`, or to the borders of the words that they are in."""
    offsets = encoding.offsets
    if not align_to_words or encoding.words[first] < 0 or encoding.words[last] < 0:
        return int(offsets[first, 0]), int(offsets[last, 1])
    same_text = encoding.sequences == encoding.sequences[first]
    start = np.flatnonzero(same_text & (encoding.words == encoding.words[first]))[0]
    end = np.flatnonzero(same_text & (encoding.words == encoding.words[last]))[-1]
    return int(offsets[start, 0]), int(offsets[end, 1])
