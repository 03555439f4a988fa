"""Span corruption: stretches of a text are cut out, and the model writes them.    [T5 §3.1.4]

    Thank you for inviting me to your party last week
    inputs    Thank you <X> me to your party <Y> week </s>
    targets   <X> for inviting <Y> last </s>

<X>, <Y>, ... are sentinels: ids counted down from sentinel_start_id (T5's <extra_id_0>, <extra_id_1>, ...).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minilm.data.collators.padding import IGNORED, Batch, Feature, columns_of, pad_rows
from minilm.data.collators.seq2seq import shift_tokens_right
from minilm.data.collators.settings import RandomCollator, check_share, setting, vocabulary_size
from minilm.errors import InputError


def noise_mask(length: int, density: float, mean_span: float, generator: np.random.Generator) -> np.ndarray:
    """(length,) bool, True where the text is cut out.    [eq:noise-spans]

        noise = round(length · density), at least 1 and at most length − 1;    spans = round(noise / mean_span), at least 1

    The noise tokens are divided into `spans` stretches, and so are the others, all divisions being equally likely; the
    two kinds alternate, the text's own coming first. Raises InputError for fewer than two tokens.
    """
    if length < 2:
        raise InputError(
            f"a text of {length} tokens cannot be corrupted: something must stay and something must go; drop it"
        )
    noise = min(max(round(length * density), 1), length - 1)
    spans = min(max(round(noise / mean_span), 1), noise, length - noise)
    lengths = np.empty(2 * spans, np.int64)
    lengths[0::2] = _divide(length - noise, spans, generator)
    lengths[1::2] = _divide(noise, spans, generator)
    return np.repeat(np.arange(2 * spans) % 2 == 1, lengths)


def _divide(total: int, parts: int, generator: np.random.Generator) -> np.ndarray:
    """`parts` numbers from 1 that add up to `total`, every such division equally likely."""
    cuts = np.sort(generator.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(cuts, prepend=0, append=total)


def corrupt_spans(
    ids: Sequence[int] | np.ndarray, mask: np.ndarray, sentinel_start_id: int, sentinels: int = 100
) -> tuple[np.ndarray, np.ndarray]:
    """(inputs, targets): each run of True in `mask` is a sentinel in the inputs, and follows that sentinel in the targets.

    Raises InputError if there are more runs than `sentinels`.
    """
    ids = np.asarray(ids, np.int64)
    starts = mask & ~np.concatenate([[False], mask[:-1]])
    runs = np.cumsum(starts)
    if starts.sum() > sentinels:
        raise InputError(
            f"{starts.sum()} spans need as many sentinels, there are {sentinels}; cut the text into shorter ones"
        )
    inputs = np.where(starts, sentinel_start_id + 1 - runs, ids)[~mask | starts]
    noise = np.repeat(ids[mask], 1 + starts[mask])  # the first of each run twice: once for its sentinel
    first = np.flatnonzero(starts[mask])
    noise[first + np.arange(len(first))] = sentinel_start_id - np.arange(len(first))
    return inputs, noise


def restore_spans(
    inputs: Sequence[int] | np.ndarray,
    targets: Sequence[int] | np.ndarray,
    sentinel_start_id: int,
    sentinels: int = 100,
) -> list[int]:
    """The text again: each sentinel of the inputs gives way to what follows it in the targets."""

    def is_sentinel(token: int) -> bool:
        return sentinel_start_id - sentinels < token <= sentinel_start_id

    spans: dict[int, list[int]] = {}
    current: list[int] = []
    for token in map(int, targets):
        if is_sentinel(token):
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    text: list[int] = []
    for token in map(int, inputs):
        text += spans.get(token, []) if is_sentinel(token) else [token]
    return text


class DataCollatorForSpanCorruption(RandomCollator):
    """T5's pre-training batches: input_ids, attention_mask, labels (−100 for padding), decoder_input_ids.

    noise_density: the share of tokens cut out; mean_noise_span_length: tokens in a stretch, on average.
    sentinel_start_id: the id of the first sentinel; the vocabulary's last id if not given. sentinels: how many there are.
    Examples: input_ids, with or without eos_token_id at the end. Both sides of the batch end with it.
    generator, seed: as in DataCollatorForLanguageModeling.
    """

    def __init__(
        self,
        tokenizer: Any = None,
        noise_density: float = 0.15,
        mean_noise_span_length: float = 3.0,
        *,
        generator: np.random.Generator | None = None,
        seed: int = 0,
        pad_token_id: int | None = None,
        eos_token_id: int | None = None,
        sentinel_start_id: int | None = None,
        sentinels: int = 100,
        decoder_start_token_id: int | None = None,
    ) -> None:
        super().__init__(generator, seed)
        check_share("noise_density", noise_density)
        if not mean_noise_span_length >= 1:
            raise InputError(f"mean_noise_span_length is {mean_noise_span_length}; a span has at least 1 token")
        self.noise_density, self.mean_span = noise_density, mean_noise_span_length
        self.pad_token_id = setting(tokenizer, "pad_token_id", pad_token_id)
        self.eos_token_id = setting(tokenizer, "eos_token_id", eos_token_id)
        self.decoder_start_token_id = self.pad_token_id if decoder_start_token_id is None else decoder_start_token_id
        self.sentinels = sentinels
        if sentinel_start_id is None:
            sentinel_start_id = vocabulary_size(tokenizer, None) - 1
        self.sentinel_start_id = sentinel_start_id

    def __call__(self, features: Sequence[Feature]) -> Batch:
        inputs, targets = [], []
        for row in columns_of(features)["input_ids"]:
            ids = np.asarray(row, np.int64)
            ids = ids[:-1] if len(ids) and ids[-1] == self.eos_token_id else ids
            mask = noise_mask(len(ids), self.noise_density, self.mean_span, self.generator)
            sides = corrupt_spans(ids, mask, self.sentinel_start_id, self.sentinels)
            inputs.append(np.append(sides[0], self.eos_token_id))
            targets.append(np.append(sides[1], self.eos_token_id))
        labels = pad_rows(targets, IGNORED)
        return {
            "input_ids": pad_rows(inputs, self.pad_token_id),
            "attention_mask": pad_rows([np.ones(len(row), np.int64) for row in inputs], 0),
            "labels": labels,
            "decoder_input_ids": shift_tokens_right(labels, self.pad_token_id, self.decoder_start_token_id),
        }
