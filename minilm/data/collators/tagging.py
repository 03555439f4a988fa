"""Tagging words whose tokens are pieces: the first piece of a word carries its label.

words    Angela      Merkel         labels   B-PER       I-PER
tokens   [CLS] angel ##a mer ##kel [SEP]     −100 B-PER −100 I-PER −100 −100
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minilm.data.collators.padding import IGNORED, DataCollatorWithPadding
from minilm.errors import InputError


def align_labels(
    word_ids: Sequence[int | None], labels: Sequence[int], label_all_pieces: bool = False, ignored: int = IGNORED
) -> list[int]:
    """One label for each token. word_ids: the word of each token, None for special tokens; labels: one for each word.

    label_all_pieces: the other pieces get the word's label, too. Words that were cut off have no token and no label.
    Raises InputError for a word that has no label.
    """
    aligned = []
    previous = None
    for word in word_ids:
        if word is None:
            aligned.append(ignored)
        elif not 0 <= word < len(labels):
            raise InputError(f"word {word} has no label: there are {len(labels)}; give every word one label")
        else:
            aligned.append(int(labels[word]) if word != previous or label_all_pieces else ignored)
        previous = word
    return aligned


class DataCollatorForTokenClassification(DataCollatorWithPadding):
    """DataCollatorWithPadding for examples whose labels are one number per token (`align_labels`); padding gets −100.

    Raises InputError for an example with more or fewer labels than input_ids.
    """

    def __call__(self, features: Sequence[Any]) -> Any:
        for n, feature in enumerate(features):
            labels = feature.get("labels", feature.get("label"))
            if labels is not None and len(labels) != len(feature["input_ids"]):
                raise InputError(
                    f"example {n} has {len(labels)} labels for {len(feature['input_ids'])} tokens; "
                    "align_labels makes one for each"
                )
        return super().__call__(features)
