"""From classes of tokens to names: the aggregation strategies of token-classification.

micro  ##soft  buys            B-ORG I-ORG O
simple: neighbours of one class, unless a B- begins a new name    → ORG "microsoft"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

STRATEGIES = ("none", "simple", "first", "average", "max")


@dataclass
class Piece:
    """A token: its text, the probabilities of its classes (C,), where it stands in the text, its number in the window."""

    word: str
    scores: np.ndarray
    start: int
    end: int
    index: int
    continues: bool


def entities_of(
    pieces: Sequence[Piece], strategy: str, labels: Mapping[int, str], to_text: Callable[[list[str]], str]
) -> list[dict[str, Any]]:
    """Tokens (strategy "none") or groups, as transformers gives them. labels: {class: name}. to_text: joins tokens."""
    if strategy in ("none", "simple"):
        tokens = [
            {
                "entity": labels[int(piece.scores.argmax())],
                "score": float(piece.scores.max()),
                "index": piece.index,
                "word": piece.word,
                "start": piece.start,
                "end": piece.end,
            }
            for piece in pieces
        ]
    else:
        tokens = [word_entity(word, strategy, labels, to_text) for word in words_of(pieces)]
    return tokens if strategy == "none" else grouped(tokens, to_text)


def words_of(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """The pieces of each word."""
    words: list[list[Piece]] = []
    for piece in pieces:
        if piece.continues and words:
            words[-1].append(piece)
        else:
            words.append([piece])
    return words


def word_entity(
    pieces: list[Piece], strategy: str, labels: Mapping[int, str], to_text: Callable[[list[str]], str]
) -> dict[str, Any]:
    """A word with one class for all its pieces: that of the first, of the mean, or of the piece that is surest."""
    if strategy == "average":
        scores = np.mean([piece.scores for piece in pieces], axis=0)
    else:
        scores = pieces[0].scores if strategy == "first" else max(pieces, key=lambda piece: piece.scores.max()).scores
    return {
        "entity": labels[int(scores.argmax())],
        "score": float(scores.max()),
        "word": to_text([piece.word for piece in pieces]),
        "start": pieces[0].start,
        "end": pieces[-1].end,
    }


def grouped(tokens: Sequence[dict[str, Any]], to_text: Callable[[list[str]], str]) -> list[dict[str, Any]]:
    """Neighbours of one class as one: B-PER I-PER → PER; a B- always begins anew, a class without B- or I- never does."""
    groups: list[list[dict[str, Any]]] = []
    for token in tokens:
        begins, tag = split_tag(token["entity"])
        if groups and not begins and tag == split_tag(groups[-1][-1]["entity"])[1]:
            groups[-1].append(token)
        else:
            groups.append([token])
    return [
        {
            "entity_group": group[0]["entity"].split("-", 1)[-1],
            "score": float(np.mean([token["score"] for token in group])),
            "word": to_text([token["word"] for token in group]),
            "start": group[0]["start"],
            "end": group[-1]["end"],
        }
        for group in groups
    ]


def split_tag(name: str) -> tuple[bool, str]:
    """Whether a class begins a name, and the class without B- or I-."""
    return name.startswith("B-"), name[2:] if name.startswith(("B-", "I-")) else name


def without_overlaps(entities: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What several windows found, by place; of those that overlap the longest, and of equally long ones the surest."""
    kept: list[dict[str, Any]] = []
    for entity in sorted(entities, key=lambda e: e["start"]):
        if kept and kept[-1]["start"] <= entity["start"] < kept[-1]["end"]:
            if rank(entity) > rank(kept[-1]):
                kept[-1] = entity
        else:
            kept.append(entity)
    return kept


def rank(entity: dict[str, Any]) -> tuple[int, float]:
    return entity["end"] - entity["start"], entity["score"]
