"""Masked language modelling: some tokens are hidden, and the model learns to name them.    [BERT §3.1]

the cat sat on the mat   →   the [MASK] sat on the mat      label: cat at that place, −100 elsewhere
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minilm.data.collators.padding import IGNORED, Batch, DataCollatorWithPadding, Feature, pad_rows
from minilm.data.collators.settings import RandomCollator, check_share, setting, vocabulary_size
from minilm.errors import InputError

NO_WORD = -1  # the word of a special token


class DataCollatorForLanguageModeling(RandomCollator):
    """Batches for BERT (mlm=True) or GPT (mlm=False).

    mlm: each token that is neither special nor padding is chosen with probability mlm_probability, and of the chosen
    mask_replace_prob (80 %) become mask_token_id, random_replace_prob (10 %) some id of the vocabulary, the rest stays.
    labels: the original id where a token was chosen, −100 elsewhere.
    mlm=False: labels are the ids themselves (the model shifts them), −100 for padding.

    whole_word_mask: words are chosen, and with a word all its pieces. Which pieces are one word is in the examples'
    "word_ids" (None for special tokens), or else a piece that starts with "##" continues the word before it.

    tokenizer: anything with pad_token_id, mask_token_id, its length, all_special_ids; the same can be given as arguments.
    Examples may have a special_tokens_mask, which then says which tokens are special.
    generator: where the draws come from; without one, a generator of the collator's own with `seed`.

    Raises InputError for missing ids and probabilities outside 0 to 1.
    """

    def __init__(
        self,
        tokenizer: Any = None,
        mlm: bool = True,
        mlm_probability: float = 0.15,
        mask_replace_prob: float = 0.8,
        random_replace_prob: float = 0.1,
        pad_to_multiple_of: int | None = None,
        *,
        generator: np.random.Generator | None = None,
        seed: int = 0,
        whole_word_mask: bool = False,
        pad_token_id: int | None = None,
        mask_token_id: int | None = None,
        vocab_size: int | None = None,
        special_ids: Sequence[int] | None = None,
        tokens: Sequence[str] | None = None,
        return_tensors: str | None = "np",
    ) -> None:
        super().__init__(generator, seed)
        self.padding = DataCollatorWithPadding(
            tokenizer,
            pad_to_multiple_of=pad_to_multiple_of,
            pad_token_id=pad_token_id,
            return_tensors=return_tensors,
        )
        self.mlm = mlm
        if not mlm:
            return
        for name, value in [
            ("mlm_probability", mlm_probability),
            ("mask_replace_prob", mask_replace_prob),
            ("random_replace_prob", random_replace_prob),
            ("mask_replace_prob + random_replace_prob", mask_replace_prob + random_replace_prob),
        ]:
            check_share(name, value)
        self.mlm_probability = mlm_probability
        self.mask_share, self.random_share = mask_replace_prob, random_replace_prob
        self.mask_token_id = setting(tokenizer, "mask_token_id", mask_token_id)
        self.vocab_size = vocabulary_size(tokenizer, vocab_size)
        if special_ids is None:
            special_ids = getattr(tokenizer, "all_special_ids", None) or []
        self.special_ids = np.array(sorted({*special_ids, self.mask_token_id, self.padding.pad_token_id}), np.int64)
        self.whole_word_mask = whole_word_mask
        self._continues = _continues(tokenizer, tokens, self.vocab_size) if whole_word_mask else None

    def __call__(self, features: Sequence[Feature]) -> Batch:
        words = [feature["word_ids"] for feature in features if "word_ids" in feature]
        features = [{name: value for name, value in feature.items() if name != "word_ids"} for feature in features]
        batch = self.padding(features)
        if not self.mlm:
            batch["labels"] = np.where(batch["attention_mask"] == 1, batch["input_ids"], IGNORED)
            batch.pop("special_tokens_mask", None)
            return batch
        ids = batch["input_ids"]
        special = batch.pop("special_tokens_mask", None)
        special = np.isin(ids, self.special_ids) if special is None else special == 1
        candidates = ~special & (batch["attention_mask"] == 1)
        if self.whole_word_mask:
            chosen = self.choose_words(self._words(ids, words, candidates), candidates)
        else:
            chosen = candidates & (self.generator.random(ids.shape) < self.mlm_probability)
        batch["input_ids"], batch["labels"] = self.hide(ids, chosen)
        return batch

    def hide(self, ids: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [eq:masking]
        """80 % of the chosen tokens become the mask, 10 % a random id, 10 % stay; (inputs, labels), both (B, T)."""
        labels = np.where(chosen, ids, IGNORED)
        u = self.generator.random(ids.shape)
        random = self.generator.integers(0, self.vocab_size, ids.shape)
        hidden = np.where(u < self.mask_share, self.mask_token_id, ids)
        hidden = np.where((u >= self.mask_share) & (u < self.mask_share + self.random_share), random, hidden)
        return np.where(chosen, hidden, ids), labels

    def choose_words(self, words: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """(B, T): every word is chosen with mlm_probability, all its pieces or none. words: (B, T) numbers."""
        drawn = self.generator.random((len(words), int(words.max(initial=0)) + 1)) < self.mlm_probability
        return candidates & (words != NO_WORD) & np.take_along_axis(drawn, np.maximum(words, 0), axis=1)

    def _words(self, ids: np.ndarray, words: list[Any], candidates: np.ndarray) -> np.ndarray:
        """(B, T) the number of each token's word, NO_WORD for special tokens and padding."""
        if words:
            if len(words) < len(ids):
                raise InputError(f"{len(words)} of {len(ids)} examples have word_ids; give them to all or to none")
            rows = [[NO_WORD if word is None else word for word in row] for row in words]
            return pad_rows(rows, NO_WORD, ids.shape[1], self.padding.padding_side, "word_ids")
        if self._continues is None:
            raise InputError(
                "whole_word_mask needs to know the words: give the examples word_ids (for a WordPiece vocabulary tokens=, its "
                "texts, will do)"
            )
        starts = ~self._continues[ids]
        starts[:, 1:] |= ~candidates[:, :-1]  # after a special token a word begins
        return np.cumsum(starts, axis=1) - 1


def _continues(tokenizer: Any, tokens: Sequence[str] | None, size: int) -> np.ndarray | None:
    """(size,) bool: the pieces that continue a word; None if no piece does, or their texts are not known."""
    if tokens is None and hasattr(tokenizer, "convert_ids_to_tokens"):
        tokens = tokenizer.convert_ids_to_tokens(list(range(size)))
    continues = np.array([str(token).startswith("##") for token in tokens or ()], np.bool_)
    return continues if continues.any() else None


class DataCollatorForWholeWordMask(DataCollatorForLanguageModeling):
    """DataCollatorForLanguageModeling with whole_word_mask=True."""

    def __init__(self, tokenizer: Any = None, mlm: bool = True, mlm_probability: float = 0.15, **options: Any) -> None:
        super().__init__(tokenizer, mlm, mlm_probability, whole_word_mask=True, **options)
