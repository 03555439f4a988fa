"""Chats as one text: a list of messages through the tokenizer's template, as the model was trained to read it.

    [{"role": "user", "content": "Hi"}]   →   <|user|>Hi</s><|assistant|>

A template is written in Jinja, is part of a tokenizer's files, and comes from strangers: it runs in Jinja's sandbox.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from minilm.errors import InputError, MissingDependencyError
from minilm.optional import require

SAFE = (3, 1, 6)  # older versions of Jinja let a template out of the sandbox
MARK = "\ue000the-message-goes-on\ue000 "  # with a space behind it, to see whether the template strips messages

Message = Mapping[str, Any]


class Chats:
    """apply_chat_template for a tokenizer, and its template."""

    settings: dict[str, Any]
    special_tokens_map: dict[str, str]

    @property
    def chat_template(self) -> Any:
        """The template, {name: template} where there are several, None where there is none."""
        given = self.settings.get("chat_template")
        if isinstance(given, list):
            return {one["name"]: one["template"] for one in given}
        return given

    @chat_template.setter
    def chat_template(self, template: Any) -> None:
        check_templates(template)
        self.settings["chat_template"] = template

    def get_chat_template(self, chat_template: str | None = None, tools: Any = None) -> str:
        """The template of this name, or this one itself; unless given the default, or with tools the one for them.

        Raises InputError if the tokenizer has none.
        """
        own = self.chat_template
        if not isinstance(own, Mapping):
            found = chat_template or own
            if not found:
                raise InputError("this tokenizer has no chat template; give chat_template, or the prompt as one text")
            return str(found)
        if chat_template is not None:
            return str(own.get(chat_template, chat_template))
        for name in ("tool_use",) if tools is not None and "tool_use" in own else ("default",):
            if name in own:
                return str(own[name])
        raise InputError(f"this tokenizer has several chat templates; give chat_template, one of {', '.join(own)}")

    def apply_chat_template(
        self,
        conversation: Sequence[Message] | Sequence[Sequence[Message]],
        tools: list[Any] | None = None,
        documents: list[Any] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = True,
        padding: bool | str = False,
        truncation: bool | str = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_dict: bool = True,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        **values: Any,
    ) -> Any:
        """A chat, or several, as the model reads them: what a call of the tokenizer returns (return_dict=False: the ids).

        conversation: messages, {"role": "user", "content": "..."} each; or a list of such chats. add_generation_prompt: end
        with what stands before an answer. continue_final_message: leave the last message open, so that it is written on.
        tokenize: False gives the text. chat_template: a template, or the name of one. tools, documents, values: for the
        template. padding, truncation, max_length, return_tensors, tokenizer_kwargs: for the tokenizer.

        Raises InputError for what is no chat, a template that is missing or fails, and tools that are no JSON schemas.
        """
        template = self.get_chat_template(chat_template, tools)
        several = isinstance(conversation, Sequence) and bool(conversation) and not isinstance(conversation[0], Mapping)
        chats: Any = conversation if several else [conversation]
        if continue_final_message and add_generation_prompt:
            raise InputError("continue_final_message and add_generation_prompt exclude each other; give one of them")
        if any(not isinstance(tool, Mapping) for tool in tools or ()):
            raise InputError("tools are given as JSON schemas, a dictionary each")
        given = {**self.special_tokens_map, "tools": tools, "documents": documents, **values}
        given["add_generation_prompt"] = add_generation_prompt
        texts = [render(template, check_chat(chat), given, continue_final_message) for chat in chats]
        if not tokenize:
            return texts if several else texts[0]
        call: Any = self
        batch = call(
            texts if several else texts[0], add_special_tokens=False, padding=padding, truncation=truncation,
            max_length=max_length, return_tensors=return_tensors, **(tokenizer_kwargs or {}),
        )  # fmt: skip
        return batch if return_dict else batch["input_ids"]


def check_templates(template: Any) -> None:
    """Raise InputError unless this is a template, or several by name, or None."""
    several = list(template.values()) if isinstance(template, Mapping) else None
    if isinstance(template, list):
        several = [one.get("template") if isinstance(one, Mapping) and "name" in one else None for one in template]
    if template is not None and not all(
        isinstance(one, str) for one in (several if several is not None else [template])
    ):
        raise InputError("a chat template is a text in Jinja, or a dictionary of such by name; this is neither")


def check_chat(chat: Any) -> list[dict[str, Any]]:
    """The messages of a chat without keys whose value is None. Raises InputError for what is no chat."""
    if isinstance(chat, str) or not isinstance(chat, Sequence) or not chat:
        raise InputError(
            f'{chat!r:.60} is no chat; give a list of messages, such as [{{"role": "user", "content": "Hi"}}]'
        )
    for message in chat:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise InputError(f'{message!r:.60} is no message; give {{"role": "user", "content": "..."}}')
    return [{key: value for key, value in message.items() if value is not None} for message in chat]


def render(template: str, messages: list[dict[str, Any]], values: Mapping[str, Any], goes_on: bool) -> str:
    """A chat as text; goes_on: it ends where the last message's content does. Raises InputError for a template that fails."""
    if goes_on:
        messages = [*messages[:-1], marked(messages[-1])]
    compiled = compile_template(template)
    try:
        text = str(compiled.render(messages=messages, **values))
    except Exception as error:  # the template's own errors, and whatever its code runs into
        raise InputError(
            f"the chat template fails: {error}; give messages that it takes, or another template"
        ) from error
    if not goes_on:
        return text
    place = text.rfind(MARK.strip())
    if place < 0:
        raise InputError("the chat template does not show the last message, so it cannot be continued; leave it away")
    keeps_spaces = text[place : place + len(MARK)] == MARK
    return text[:place] if keeps_spaces else text[:place].rstrip()


def marked(message: dict[str, Any]) -> dict[str, Any]:
    """A message with MARK behind its content."""
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": content + MARK}
    if isinstance(content, list):
        for n in reversed(range(len(content))):
            if isinstance(content[n], Mapping) and isinstance(content[n].get("text"), str):
                part = {**content[n], "text": content[n]["text"] + MARK}
                return {**message, "content": [*content[:n], part, *content[n + 1 :]]}
    raise InputError("the last message has no text to continue; give it a content")


@lru_cache(maxsize=16)
def compile_template(template: str) -> Any:
    """A template ready to render. Raises InputError for one that is no Jinja, MissingDependencyError without Jinja."""
    jinja2 = require("jinja2", "a chat template")
    sandbox = require("jinja2.sandbox", "a chat template")
    if tuple(int("".join(c for c in part if c.isdecimal()) or 0) for part in jinja2.__version__.split(".")[:3]) < SAFE:
        raise MissingDependencyError(f"a chat template needs jinja2 3.1.6 or newer, this is {jinja2.__version__}; update it: "
                                     "pip install -U jinja2")  # fmt: skip

    class Generation(require("jinja2.ext", "a chat template").Extension):  # type: ignore[misc]
        """{% generation %} ... {% endgeneration %} marks what an assistant wrote; for the text it does nothing."""

        tags = frozenset({"generation"})

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = as_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    try:
        return environment.from_string(template)
    except jinja2.TemplateError as error:
        raise InputError(f"the chat template is no Jinja: {error}; mend it, or give another chat_template") from error


def as_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Jinja's own filter would write <, > and & as escapes, as for a web page."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
