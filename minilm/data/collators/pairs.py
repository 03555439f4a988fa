"""Next sentence prediction: does the second text follow the first?    [BERT §3.1]

[CLS] A A A [SEP] B B [SEP]      token_type_ids 0 0 0 0 0 1 1 1      next_sentence_label 0: B follows A, 1: it does not
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from minilm.data.collators.settings import setting
from minilm.errors import InputError

FOLLOWS, RANDOM = 0, 1  # the labels, as transformers has them


def next_sentence_pairs(
    documents: Sequence[Sequence[Sequence[int]]],
    max_length: int,
    generator: np.random.Generator,
    tokenizer: Any = None,
    *,
    cls_token_id: int | None = None,
    sep_token_id: int | None = None,
) -> list[dict[str, Any]]:
    """Examples from documents, each a list of sentences, each a list of ids without special tokens.

    A document is read from its start. As many sentences as fit into max_length make a stretch; it is cut at a place
    drawn among its sentences, and what stands before is A. With probability one half B is the rest of the stretch;
    else B is taken from a place of another document, drawn anew, and the rest of the stretch is read again. A stretch of
    one sentence cannot be cut and makes no pair. Of a pair that is too long the longer side loses its end.

    Returns dicts with input_ids, token_type_ids, special_tokens_mask, next_sentence_label.
    Raises InputError for fewer than two documents with sentences, and for max_length below 5.
    """
    cls, sep = setting(tokenizer, "cls_token_id", cls_token_id), setting(tokenizer, "sep_token_id", sep_token_id)
    if max_length < 5:
        raise InputError(
            f"max_length {max_length} is too short for a pair and its three special tokens; give 5 or more"
        )
    texts = [[list(sentence) for sentence in document if len(sentence)] for document in documents]
    texts = [document for document in texts if document]
    if len(texts) < 2:
        raise InputError(
            f"{len(texts)} documents with sentences cannot give random pairs; give two or more, each a list of sentences"
        )
    room = max_length - 3
    pairs = []
    for number, document in enumerate(texts):
        start = 0
        while start < len(document) - 1:
            end = _stretch(document, start, room)
            cut = int(generator.integers(start + 1, end))
            first = _joined(document[start:cut])
            if generator.random() < 0.5:
                second, label, start = _joined(document[cut:end]), FOLLOWS, end
            else:
                other = int(generator.integers(len(texts) - 1))
                source = texts[other + (other >= number)]
                place = int(generator.integers(len(source)))
                second, label = _joined(source[place : _stretch(source, place, room - len(first))]), RANDOM
                start = cut
            pairs.append(_pair(first, second, room, label, cls, sep))
    return pairs


def _joined(sentences: Sequence[list[int]]) -> list[int]:
    return list(chain.from_iterable(sentences))


def _stretch(document: list[list[int]], start: int, room: int) -> int:
    """Where the stretch from `start` ends: as many sentences as fit, but two if there are two."""
    end, length = min(start + 2, len(document)), sum(map(len, document[start : start + 2]))
    while end < len(document) and length + len(document[end]) <= room:
        length += len(document[end])
        end += 1
    return end


def _pair(first: list[int], second: list[int], room: int, label: int, cls: int, sep: int) -> dict[str, Any]:
    while len(first) + len(second) > room:
        longer = first if len(first) > len(second) else second
        longer.pop()
    return {
        "input_ids": [cls, *first, sep, *second, sep],
        "token_type_ids": [0] * (len(first) + 2) + [1] * (len(second) + 1),
        "special_tokens_mask": [1, *[0] * len(first), 1, *[0] * len(second), 1],
        "next_sentence_label": label,
    }
