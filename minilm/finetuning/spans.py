"""From the scores of a text's windows to its best answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minilm.functional.normalization import softmax_array

TRIED = 20  # best starts and ends of a window that are combined


class Candidate(NamedTuple):
    """A possible answer: its text, where it begins in the context (−1: none), its score s_start + s_end, its probability.

    Probabilities are a softmax over the candidates of the question that are kept.
    """

    text: str
    start: int
    score: float
    probability: float = 0.0


def best_answers(
    contexts: Sequence[str],
    windows: Sequence[Any],
    starts: np.ndarray,
    ends: np.ndarray,
    n_best: int,
    max_answer_length: int,
    may_be_none: bool = False,
    null_threshold: float = 0.0,
) -> list[list[Candidate]]:
    """The n_best answers to each question, the best first: argmax over windows and i ≤ j of s_start(i) + s_end(j).

    contexts: one for each question. windows: each with .example (the question's number) and .offsets (T, 2), −1 for tokens
    that are not in the context. starts, ends: (windows, T') with T' ≥ T. max_answer_length: the most tokens from i to j.
    may_be_none: the text may not tell. Its score is that of the first token, the lowest over the windows: every window has
    to say so. It wins where it is above the best answer by more than null_threshold.
    """
    found: list[dict[tuple[int, int], float]] = [{} for _ in contexts]
    nothing = np.full(len(contexts), np.inf)
    for window, start, end in zip(windows, starts, ends):
        T = len(window.offsets)
        nothing[window.example] = min(nothing[window.example], start[0] + end[0])
        inside = window.offsets[:, 0] >= 0
        for place, score in window_spans(start[:T], end[:T], inside, max_answer_length):
            characters = (int(window.offsets[place[0], 0]), int(window.offsets[place[1], 1]))
            best = found[window.example]
            best[characters] = max(score, best.get(characters, -np.inf))
    result = []
    for context, spans, none in zip(contexts, found, nothing.tolist()):
        ordered = sorted(spans.items(), key=lambda item: (-item[1], item[0]))[:n_best]
        candidates = [Candidate(context[a:b], a, score) for (a, b), score in ordered]
        if may_be_none or not candidates:
            empty = Candidate("", -1, none)
            wins = not candidates or none - candidates[0].score > null_threshold
            candidates = [empty, *candidates] if wins else [*candidates, empty]
        shares = softmax_array(np.array([candidate.score for candidate in candidates]))
        result.append([c._replace(probability=float(share)) for c, share in zip(candidates, shares)])
    return result


def window_spans(
    start: np.ndarray, end: np.ndarray, inside: np.ndarray, max_answer_length: int
) -> list[tuple[tuple[int, int], float]]:
    """((i, j), s_start(i) + s_end(j)) of the spans inside the context made of the best starts and ends of one window."""
    places = np.flatnonzero(inside)
    first = places[np.argsort(-start[places], kind="stable")[:TRIED]]
    last = places[np.argsort(-end[places], kind="stable")[:TRIED]]
    i, j = (axis.reshape(-1) for axis in np.meshgrid(first, last, indexing="ij"))
    valid = (i <= j) & (j - i < max_answer_length)
    i, j = i[valid], j[valid]
    return [((int(a), int(b)), float(score)) for a, b, score in zip(i, j, start[i] + end[j])]
