"""Pairs of texts for an encoder-decoder: translation, summarization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minilm.data.collators.padding import IGNORED, Batch, DataCollatorWithPadding, Feature, columns_of
from minilm.data.collators.settings import setting
from minilm.errors import InputError


def shift_tokens_right(labels: np.ndarray, pad_token_id: int, decoder_start_token_id: int) -> np.ndarray:
    """What the decoder reads when it has to write `labels`: the same, one place later, after the start token.

    labels  a  b  c  </s> −100       →       start  a  b  c  </s>         (B, T) → (B, T); −100 becomes pad_token_id
    """
    labels = np.asarray(labels)
    shifted = np.concatenate([np.full((len(labels), 1), decoder_start_token_id), labels[:, :-1]], axis=1)
    return np.where(shifted == IGNORED, pad_token_id, shifted)


class DataCollatorForSeq2Seq(DataCollatorWithPadding):
    """input_ids and attention_mask padded by themselves, labels with −100, decoder_input_ids made from the labels.

    model: if given, its config's decoder_start_token_id is used. decoder_start_token_id: else pad_token_id, as in T5.
    The other arguments are those of DataCollatorWithPadding. max_length with padding="max_length" is for both sides.
    """

    def __init__(
        self,
        tokenizer: Any = None,
        model: Any = None,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        label_pad_token_id: int = IGNORED,
        *,
        pad_token_id: int | None = None,
        decoder_start_token_id: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = "np",
    ) -> None:
        super().__init__(
            tokenizer,
            padding,
            max_length,
            pad_to_multiple_of,
            pad_token_id=pad_token_id,
            padding_side=padding_side,
            label_pad_token_id=label_pad_token_id,
            return_tensors=return_tensors,
        )
        config = getattr(model, "config", None)
        self.decoder_start_token_id = setting(
            config, "decoder_start_token_id", decoder_start_token_id, self.pad_token_id
        )
        self.label_pad_token_id = label_pad_token_id

    def __call__(self, features: Sequence[Feature]) -> Batch:
        columns = columns_of(features)
        labels = columns.get("labels")
        if labels is None:
            return super().__call__(features)
        if np.ndim(labels[0]) != 1:
            raise InputError(f"labels of the first example are {labels[0]!r}; expected the ids of the target text")
        rest = [{k: v for k, v in feature.items() if k not in ("labels", "label", "label_ids")} for feature in features]
        batch = super().__call__(rest)
        batch["labels"] = self.pad("labels", labels, self.length)
        ignored = np.where(batch["labels"] == self.label_pad_token_id, IGNORED, batch["labels"])
        if self.padding_side == "right":
            batch["decoder_input_ids"] = shift_tokens_right(ignored, self.pad_token_id, self.decoder_start_token_id)
        return batch
