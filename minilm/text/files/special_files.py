"""Which tokens of a tokenizer's folder are special, and which were added: in its settings, and in files of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from minilm.errors import InputError
from minilm.text import storage
from minilm.text.front.pretrained import PretrainedTokenizer
from minilm.text.front.special_tokens import NAMES
from minilm.text.pipeline.added_tokens import AddedToken
from minilm.text.pipeline.backend import Backend

MAP = "special_tokens_map.json"


def special_tokens(folder: Path, config: Mapping[str, Any], cls: type[PretrainedTokenizer]) -> dict[str, Any]:
    """The named special tokens: of the config, else of special_tokens_map.json, else what the class has."""
    special: dict[str, Any] = dict(cls.DEFAULT_TOKENS)
    if (folder / MAP).exists():
        found = storage.from_json(storage.read_text(folder / MAP), folder / MAP)
        if not isinstance(found, dict):
            raise InputError(f"{folder / MAP} is no object of special tokens; copy it again, or take it away")
        special.update({name: found[name] for name in NAMES if name in found})
    special.update({name: config[name] for name in NAMES if name in config})
    return {name: None if token is None else token_of(token) for name, token in special.items()}


def token_of(value: Any) -> str | AddedToken:
    """A token as text, or with its flags as an object."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and isinstance(value.get("content"), str):
        flags = {key: bool(value[key]) for key in ("single_word", "lstrip", "rstrip", "normalized") if key in value}
        return AddedToken(value["content"], **flags, special=bool(value.get("special", True)))
    if isinstance(value, AddedToken):
        return value
    raise InputError(f'the special token {value!r} is neither a text nor an object with "content"; mend it')


def listed_tokens(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    if not isinstance(value, list | None):
        raise InputError(f"{storage.CONFIG} has additional special tokens {value!r:.80} that are no list; mend it")
    return value or []


def add_listed(backend: Backend, folder: Path, config: Mapping[str, Any]) -> None:
    """The tokens of added_tokens_decoder (in the config) and added_tokens.json that the tokenizer does not know yet."""
    found: dict[int, AddedToken] = {}
    listed = config.get("added_tokens_decoder") or {}
    path = folder / "added_tokens.json"
    old = storage.from_json(storage.read_text(path), path) if path.exists() else {}
    if not isinstance(listed, dict) or not isinstance(old, dict):
        raise InputError(f"the added tokens in {folder} are no object; copy the folder again")
    for key, value in listed.items():
        token = token_of(value)
        if not key.isdecimal() or not isinstance(token, AddedToken):
            raise InputError(
                f"{storage.CONFIG} has the added token {key!r}: {value!r:.80}; an id and an object were expected"
            )
        found[int(key)] = replace(token, special=bool(value.get("special", False)))
    for content, n in old.items():
        if type(n) is not int or n < 0 or not content:
            raise InputError(f"{path} gives {content!r} the id {n!r}; a number from 0 was expected")
        found.setdefault(n, AddedToken(content))
    backend.add({n: token for n, token in found.items() if n not in backend.added.tokens})
