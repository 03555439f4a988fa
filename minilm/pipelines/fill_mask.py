"""fill-mask: the words that may stand where a text has a mask."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from minilm.errors import InputError
from minilm.pipelines.base import Array, Pipeline, Window, positive, softmax

logger = logging.getLogger("minilm")


class FillMaskPipeline(Pipeline):
    """A text with one mask → [{"score": ..., "token": id, "token_str": "word", "sequence": "the text with it"}, ...].

    top_k: how many words, the most probable first; 5 unless given. targets: only these words are considered; of one that is
    not in the vocabulary its first token. tokenizer_kwargs: options for the tokenizer, as {"truncation": True}.
    A text with several masks gives a list for each; they are filled independently of each other. A list of one text gives
    what the text alone gives, as in transformers.
    Raises InputError for a text without a mask.
    """

    parameters: ClassVar[Mapping[str, Any]] = {"top_k": 5, "targets": None, "tokenizer_kwargs": None}
    truncates_by = 'give tokenizer_kwargs={"truncation": True}'

    def __call__(self, inputs: Any, **given: Any) -> Any:
        result = super().__call__(inputs, **given)
        return result[0] if isinstance(inputs, list | tuple) and len(inputs) == 1 else result

    def settle(self, given: Mapping[str, Any]) -> dict[str, Any]:
        p = super().settle(given)
        positive("top_k", p["top_k"])
        if self.tokenizer.mask_token is None:
            raise InputError(
                "this tokenizer has no mask token; use one that has, such as a BERT's, or set tokenizer.mask_token"
            )
        p["target_ids"] = None if p["targets"] is None else self.target_ids(p["targets"])
        return p

    def target_ids(self, targets: Any) -> Array:
        """(n,) ids of the words, each once. Raises InputError if there is none."""
        vocabulary, ids = self.tokenizer.get_vocab(), []
        for target in [targets] if isinstance(targets, str) else targets:
            n = vocabulary.get(target)
            if n is None:
                pieces = self.encode(target, add_special_tokens=False)[0].ids
                if not len(pieces):
                    logger.warning("the target %r has no token and is left out", target)
                    continue
                n = int(pieces[0])
                token = self.tokenizer.convert_ids_to_tokens(n)
                logger.warning(
                    "the target %r is not in the vocabulary; its first token %r is taken instead", target, token
                )
            ids.append(n)
        if not ids:
            raise InputError("targets names no word; give at least one that the tokenizer knows, or leave it out")
        return np.array(list(dict.fromkeys(ids)))

    def preprocess(self, item: Any, p: dict[str, Any]) -> list[Window]:
        window = self.window(self.encode(item, **(p["tokenizer_kwargs"] or {}))[0], item)
        if self.tokenizer.mask_token_id not in window.inputs["input_ids"]:
            raise InputError(
                f"{item!r:.60} has no mask; put {self.tokenizer.mask_token} where a word is to be found "
                "(and mind that truncation may have cut it off)"
            )
        return [window]

    def postprocess(self, done: list[tuple[Window, Any]], p: dict[str, Any]) -> Any:
        window, logits = done[0]  # (T, V)
        ids, targets = window.inputs["input_ids"], p["target_ids"]
        places = np.flatnonzero(ids == self.tokenizer.mask_token_id)
        results = []
        for place, probabilities in zip(places, softmax(logits[places])):
            candidates = np.arange(len(probabilities)) if targets is None else targets
            best = candidates[np.argsort(-probabilities[candidates], kind="stable")[: p["top_k"]]]
            results.append(
                [self.filled(ids, int(place), int(n), float(probabilities[n]), len(places) == 1) for n in best]
            )
        return results[0] if len(places) == 1 else results

    def filled(self, ids: Array, place: int, token: int, score: float, is_only_mask: bool) -> dict[str, Any]:
        """One word in its place. The other masks stay visible, and with them [CLS] and [SEP]."""
        text = ids.copy()
        text[place] = token
        text = text[text != self.tokenizer.pad_token_id] if self.tokenizer.pad_token is not None else text
        return {
            "score": score,
            "token": token,
            "token_str": self.tokenizer.decode([token]),
            "sequence": self.tokenizer.decode(text, skip_special_tokens=is_only_mask),
        }
