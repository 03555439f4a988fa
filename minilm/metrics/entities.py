"""Judging a tagger by whole entities: an entity is right if its type, its first and its last token are.

    token   Alice  Liddell  lives  in  New    York
    tag     B-PER  I-PER    O      O   B-LOC  I-LOC        → (PER, 0, 2), (LOC, 4, 6)

A name found without its last word counts as one entity missed and one invented. Token accuracy is no substitute: most
tokens are O, and a tagger that finds nothing has most tokens right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minilm.data.conll import split_tag
from minilm.errors import InputError
from minilm.metrics.pairs import check_counts
from minilm.metrics.scores import Scores, average_scores, scores_of

SCHEMES = (None, "BIO", "IOB1")


class Entity(NamedTuple):
    """An entity: its type, its first token and the one behind its last."""

    type: str
    start: int
    end: int


@dataclass(frozen=True)
class EntityReport:
    """The scores of each entity type (sorted), and their averages."""

    per_type: dict[str, Scores]
    micro: Scores
    macro: Scores
    weighted: Scores


def find_entities(tags: Sequence[str], scheme: str | None = None) -> list[Entity]:
    """The entities that one sentence's tags spell out.

    tags: one per token: O, B-TYPE or I-TYPE.
    scheme: None takes whatever stands there, as the script conlleval does: an entity begins at every B, and at an I
    that continues nothing. "BIO" is strict: it begins at B only, an I that continues nothing is passed over. "IOB1" is
    strict for the older scheme, where B stands only at an entity that touches one of its own type before it.

    The same entities as the package seqeval finds by default, with IOB2, and with IOB1 in its strict mode.
    Raises InputError for another tag or scheme.
    """
    if scheme not in SCHEMES:
        raise InputError(f"there is no scheme {scheme!r}; give None (lenient), 'BIO' or 'IOB1'")
    found: list[Entity] = []
    start: int | None = None  # where the entity began that the last token belongs to
    last, last_type = "O", ""
    for n, tag in enumerate([*tags, "O"]):
        letter, kind = split_tag(tag)
        if start is not None and letter == "I" and kind == last_type:
            last = "I"  # the entity goes on
            continue
        if start is not None and not (scheme == "IOB1" and last == letter == "B" and kind != last_type):
            found.append(Entity(last_type, start, n))  # seqeval's IOB1 drops a lone B before a B of another type
        start = n if begins(letter, kind, last, last_type, scheme) else None
        last, last_type = letter, kind
    return found


def begins(letter: str, kind: str, last: str, last_type: str, scheme: str | None) -> bool:
    """Whether an entity begins at this tag, where it does not continue one; last: the tag before it."""
    if scheme == "BIO":
        return letter == "B"
    if scheme == "IOB1":
        return letter == "I" or (letter == "B" and last in ("B", "I") and kind == last_type)
    return letter != "O"


def entity_counts(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]], scheme: str | None = None
) -> tuple[list[str], np.ndarray]:
    """Per sentence and entity type, how many entities are right, predicted and actual.

    predictions, references: tags, a sentence each. scheme: as for `find_entities`.
    Returns the T types, sorted, and counts (sentences, T, 3): summed over sentences they are what `average_scores`
    takes, and summed over resampled sentences they give a bootstrap interval quickly.
    Raises InputError for no sentence, sentences or tags of unequal number, and unknown tags.
    """
    check_counts(len(predictions), len(references))
    pairs = []
    for n, (predicted, actual) in enumerate(zip(predictions, references)):
        if len(predicted) != len(actual):
            raise InputError(
                f"sentence {n} has {len(predicted)} predicted tags and {len(actual)} in the references; give one tag"
                " per token"
            )
        pairs.append((set(find_entities(predicted, scheme)), set(find_entities(actual, scheme))))
    types = sorted({entity.type for pair in pairs for entities in pair for entity in entities})
    place = {kind: n for n, kind in enumerate(types)}
    counts = np.zeros((len(pairs), len(types), 3), np.int64)
    for row, (predicted_set, actual_set) in zip(counts, pairs):
        for column, entities in enumerate((predicted_set & actual_set, predicted_set, actual_set)):
            for entity in entities:
                row[place[entity.type], column] += 1
    return types, counts


def entity_f1(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]], scheme: str | None = None
) -> EntityReport:
    """Precision, recall and F1 of entities; `micro.f1` is the number that papers on entity recognition report.

    Arguments and errors as for `entity_counts`; the formulas are `scores_of`'s, with an entity as the unit. Where there
    is no entity at all, everything is 0. The same numbers as seqeval's with zero_division=0.
    """
    types, counts = entity_counts(predictions, references, scheme)
    total = counts.sum(0)  # (T, 3)
    return EntityReport(
        per_type={kind: scores_of(*row) for kind, row in zip(types, total)},
        micro=average_scores(total, "micro"),
        macro=average_scores(total, "macro"),
        weighted=average_scores(total, "weighted"),
    )
