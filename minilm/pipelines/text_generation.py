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

    A chat, a list of messages {"role": "user", "content": "..."}, goes through the tokenizer's chat template. generated_text is
    then the list with one more message, the assistant's. A chat that ends with a message of the assistant is written on, as
    continue_final_message=True says for any chat.

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
        "continue_final_message": None,
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
        if isinstance(inputs, Mapping):
            raise InputError("this is one message; a chat is a list of messages, [{'role': 'user', 'content': '...'}]")
        return super().__call__(Chat(inputs) if is_chat(inputs) else inputs, **given)

    def preprocess(self, item: Any, p: dict[str, Any]) -> list[Window]:
        options = dict(p["tokenizer_encode_kwargs"] or {})
        chat = item.messages if isinstance(item, Chat) else item if is_chat(item) else None
        if chat is not None:
            item = self.chat_text(chat, p, options)
            options["add_special_tokens"] = False  # the template has written them
        for name in ("truncation", "add_special_tokens"):
            if p[name] is not None and not (chat is not None and name == "add_special_tokens"):
                options[name] = p[name]
        if chat is None and isinstance(item, str) and p["prefix"]:
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
        window.chat = chat
        self.check_fit(window)
        self.check_room(window, p)
        return [window]

    def chat_text(self, chat: list[Any], p: Mapping[str, Any], options: dict[str, Any]) -> str:
        """A chat as the prompt; what the template takes, and the tokenizer does not, is taken out of `options`."""
        goes_on = self.goes_on(chat, p)
        known = ("tools", "documents", "chat_template")
        given = {name: options.pop(name) for name in known if name in options}
        text = self.tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=not goes_on, continue_final_message=goes_on, **given
        )
        return str(text)

    def goes_on(self, chat: list[Any], p: Mapping[str, Any]) -> bool:
        """Whether the chat's last message is written on."""
        said = p["continue_final_message"]
        return bool(chat[-1].get("role") == "assistant" if said is None else said)

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
        if window.chat is not None and p["return_full_text"] is not False:
            return [{"generated_text": self.answered(window.chat, text, p)} for text in new]
        return [{"generated_text": shown + text} for text in new]

    def answered(self, chat: list[Any], text: str, p: Mapping[str, Any]) -> list[Any]:
        """The chat with what was written: as a new message, or at the end of the last one."""
        if not self.goes_on(chat, p):
            return [*chat, {"role": "assistant", "content": text}]
        return [*chat[:-1], {"role": chat[-1]["role"], "content": chat[-1]["content"] + text}]


class Chat:
    """A list of messages, so that it is one prompt and not several."""

    def __init__(self, messages: Any) -> None:
        self.messages = list(messages)


def is_chat(item: Any) -> bool:
    """Whether this is a list of messages."""
    return isinstance(item, list | tuple) and bool(item) and all(isinstance(message, Mapping) for message in item)
