"""text-generation: a model continues a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from minilm.errors import InputError
from minilm.pipelines.base import Window
from minilm.pipelines.writing import WritingPipeline


class TextGenerationPipeline(WritingPipeline):
    """A prompt → [{"generated_text": "prompt and what follows"}], one dictionary for each of num_return_sequences.

    return_full_text: False leaves the prompt out. return_tensors: True gives {"generated_token_ids": [...]} instead of text.
    prefix: text before the prompt that the model reads and the answer does not show.
    truncation, add_special_tokens, tokenizer_encode_kwargs: for the tokenizer. handle_long_generation: "hole" drops the
    beginning of a prompt that leaves no room. skip_special_tokens, clean_up_tokenization_spaces: for decoding.
    stop_sequence (or stop): a text, or several, that ends the continuation and is part of it.
    All other options are those of generate(): max_new_tokens, do_sample, num_beams, ... Unless they, or the model's
    generation_config.json, say otherwise: 256 new tokens (or as many as fit), drawn at temperature 0.7.
    """

    parameters: ClassVar[Mapping[str, Any]] = {
        "return_full_text": None,
        "return_tensors": None,
        "return_text": None,
        "clean_up_tokenization_spaces": None,
        "skip_special_tokens": True,
        "prefix": None,
        "handle_long_generation": None,
        "stop_sequence": None,
        "stop": None,
        "truncation": None,
        "add_special_tokens": None,
        "tokenizer_encode_kwargs": None,
    }
    own_defaults: ClassVar[Mapping[str, Any]] = {"max_new_tokens": 256, "do_sample": True, "temperature": 0.7}

    def settle(self, given: Mapping[str, Any]) -> dict[str, Any]:
        p = super().settle(given)
        for one, other in (("return_text", "return_full_text"), ("return_tensors", "return_full_text")):
            if p[one] is not None and p[other] is not None:
                raise InputError(f"{one} and {other} exclude each other; give one of them")
        if p["handle_long_generation"] not in (None, "hole"):
            raise InputError(f"handle_long_generation is {p['handle_long_generation']!r}; use None or 'hole'")
        return p

    def prefix_length(self, p: Mapping[str, Any]) -> int:
        return len(self.encode(p["prefix"], add_special_tokens=False)[0]) if p["prefix"] else 0

    def __call__(self, inputs: Any, **given: Any) -> Any:
        first = inputs[0] if isinstance(inputs, list | tuple) and inputs else inputs
        for item in (inputs, first):
            message = item[0] if isinstance(item, list) and item else item
            if isinstance(message, Mapping):
                raise InputError(
                    "this is a chat, a list of messages, and minilm has no chat templates; give the prompt as one text"
                )
        return super().__call__(inputs, **given)

    def preprocess(self, item: Any, p: dict[str, Any]) -> list[Window]:
        options = dict(p["tokenizer_encode_kwargs"] or {})
        for name in ("truncation", "add_special_tokens"):
            if p[name] is not None:
                options[name] = p[name]
        if isinstance(item, str) and p["prefix"]:
            encoding = self.encode(p["prefix"] + item, **options)[0]
        else:
            encoding = self.encode(item, **options)[0]
        ids = encoding.ids[encoding.attention_mask > 0]
        length = len(ids)
        if not length and p["checked"].bos_token_id is not None:
            ids = np.array([p["checked"].bos_token_id])  # what a text begins with is no part of the prompt
        if p["handle_long_generation"] == "hole":
            ids = self.shortened(ids, p)
            length = min(length, len(ids))
        window = Window({"input_ids": ids, "attention_mask": np.ones_like(ids)}, item, encoding, length)
        self.check_fit(window)
        self.check_room(window, p)
        return [window]

    def shortened(self, ids: Any, p: dict[str, Any]) -> Any:
        """The last ids of a prompt, as many as leave room for max_new_tokens."""
        limit, new = self.longest_text, p["checked"].length_limit(len(ids)) - len(ids)
        if limit is None or len(ids) + new <= limit:
            return ids
        if new >= limit:
            raise InputError(f"{new} new tokens do not fit a model of {limit}; give a smaller max_new_tokens")
        return ids[new - limit :]

    def forward(self, windows: Sequence[Window], p: dict[str, Any]) -> list[Any]:
        """Where a limit counts the prompt, padding must not be counted, too: prompts of one length go together."""
        lengths = [len(window.inputs["input_ids"]) for window in windows]
        together: dict[int, list[int]] = {}
        for i, length in enumerate(lengths):
            together.setdefault(length if self.counts_prompt(max(lengths), p) else 0, []).append(i)
        texts: list[Any] = [None] * len(windows)
        for rows in together.values():
            longest = max(lengths[i] for i in rows)
            written = self.written(self.rows([windows[i] for i in rows], "left"), p, longest)
            for i, text in zip(rows, written):
                texts[i] = text[:, longest - lengths[i] :]
        return texts

    def postprocess(self, done: list[tuple[Window, Any]], p: dict[str, Any]) -> Any:
        window, texts = done[0]
        if p["return_tensors"]:
            return [{"generated_token_ids": text.tolist()} for text in texts]
        shown = "" if p["return_full_text"] is False else window.source
        decoding = {name: p[name] for name in ("skip_special_tokens", "clean_up_tokenization_spaces")}
        new = [self.tokenizer.decode(text[window.prompt_length :], **decoding) for text in texts]
        return [{"generated_text": shown + text} for text in new]
