"""Texts to rows of ids, counting those that are too long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minilm.errors import InputError
from minilm.finetuning.task import Encoded, shown

FEATURES = ("input_ids", "token_type_ids", "attention_mask")


def encode_texts(
    examples: list[Any],
    texts: Sequence[Any],
    seconds: Sequence[str] | None,
    tokenizer: Any,
    max_length: int,
    too_long: str,
    part: str,
    words: bool = False,
) -> Encoded:
    """A row for each text (or pair), at most max_length tokens long.

    words: texts are lists of words; places then holds the word of each token, None for special tokens.
    Raises InputError for the first text that is longer, if too_long is "refuse".
    """
    batch = tokenizer(list(texts), seconds, is_split_into_words=words)
    lengths = [len(ids) for ids in batch["input_ids"]]
    long = [n for n, length in enumerate(lengths) if length > max_length]
    if long and too_long == "refuse":
        text = texts[long[0]] if not words else " ".join(texts[long[0]])
        raise InputError(
            f"the {part} part has {len(long)} texts of more than {max_length} tokens, first of {lengths[long[0]]}: "
            f"{shown(text)!r}; raise --max_length as far as the model goes, shorten them, or let them be cut: "
            "--too_long cut"
        )
    rows = [{name: batch[name][n] for name in FEATURES if name in batch} for n in range(len(lengths))]
    places = [batch.word_ids(n) for n in range(len(lengths))] if words else []
    if long:
        chosen = [seconds[n] for n in long] if seconds is not None else None
        shorter = tokenizer(
            [texts[n] for n in long], chosen, is_split_into_words=words, truncation=True, max_length=max_length
        )
        for k, n in enumerate(long):
            rows[n] = {name: shorter[name][k] for name in FEATURES if name in shorter}
            if words:
                places[n] = shorter.word_ids(k)
    return Encoded(examples, rows, places, cut=len(long), longest=max(lengths, default=0))
