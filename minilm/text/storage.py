"""A tokenizer's folder: tokenizer_config.json says which class and format, the other files hold the vocabulary."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minilm.errors import InputError
from minilm.files import write_text

CONFIG = "tokenizer_config.json"
FORMAT_VERSION = 1


def write_folder(folder: str | Path, tokenizer_class: str, files: dict[str, str], **settings: Any) -> None:
    """Write `files` (name → text) and then the config with their checksums.

    The config comes last, so a folder that has one is whole; its checksums tell files of one tokenizer from files of
    another that was being saved over it when the power went. Raises InputError if the folder cannot be written.
    """
    folder = Path(folder)
    for name, text in files.items():
        write_text(folder / name, text)
    checksums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    config = {"tokenizer_class": tokenizer_class, "format_version": FORMAT_VERSION, **settings, "sha256": checksums}
    write_text(folder / CONFIG, to_json(config))


def read_config(folder: str | Path, classes: Sequence[str] = ()) -> dict[str, Any]:
    """The contents of tokenizer_config.json.

    Raises InputError if it is missing, damaged, of a newer format, or names a class that is not among `classes`.
    """
    path = Path(folder) / CONFIG
    config = from_json(read_text(path), path)
    if not isinstance(config, dict):
        raise InputError(f"{path} holds {_kind(config)} where an object was expected; {_RESTORE}")
    version = config.get("format_version", FORMAT_VERSION)  # Hugging Face's files have none
    if type(version) is not int or version < 1:
        raise InputError(f"{path} has format_version {version!r} where a number from 1 was expected; {_RESTORE}")
    if version > FORMAT_VERSION:
        raise InputError(
            f"{path} was written by a newer minilm (format_version {version}, this one reads up to {FORMAT_VERSION}); "
            "update minilm: pip install --upgrade minilm"
        )
    name = config.get("tokenizer_class")
    if classes and name is not None and name not in classes:
        raise InputError(f"{folder} holds a {name} where a {classes[0]} was expected; use load_tokenizer for any kind")
    return config


def read_file(folder: str | Path, name: str, config: dict[str, Any]) -> str:
    """The text of one of the files, compared with its checksum in `config` where there is one."""
    path = Path(folder) / name
    text = read_text(path)
    checksums = config.get("sha256")
    expected = checksums.get(name) if isinstance(checksums, dict) else None
    if expected is not None and expected != hashlib.sha256(text.encode()).hexdigest():
        raise InputError(
            f"{path} is not as it was saved (its checksum differs from the one in {CONFIG}): it is damaged or belongs "
            f'to another tokenizer; {_RESTORE}, or, if you edited it on purpose, take "sha256" out of {CONFIG}'
        )
    return text


def read_vocabulary(folder: str | Path, config: dict[str, Any]) -> dict[str, int]:
    """vocab.json as {token: id}, with the ids 0 to n-1, each once, and the tokens sorted by them."""
    path = Path(folder) / "vocab.json"
    vocabulary = from_json(read_file(folder, "vocab.json", config), path)
    if not isinstance(vocabulary, dict) or not vocabulary:
        raise InputError(f"{path} holds {_kind(vocabulary)} where an object of tokens and ids was expected; {_RESTORE}")
    odd = next((token for token, n in vocabulary.items() if type(n) is not int), None)
    if odd is not None:
        raise InputError(f"{path} gives the token {odd!r} the id {vocabulary[odd]!r}, which is no integer; {_RESTORE}")
    ids = sorted(vocabulary.values())
    if ids != list(range(len(ids))):
        missing = min(set(range(len(ids))) - set(ids))
        raise InputError(
            f"{path} has {len(ids)} tokens whose ids are not 0 to {len(ids) - 1}, each once: {missing} is missing; {_RESTORE}"
        )
    return dict(sorted(vocabulary.items(), key=lambda item: item[1]))


def read_text(path: Path) -> str:
    """A file as text, its line ends untouched; InputError where it is missing, unreadable or no UTF-8."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; name a folder that a tokenizer was saved in") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start}), so it is damaged; {_RESTORE}") from None
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}; check the folder and its permissions"
        ) from error


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def from_json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        place = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "it cannot be read"
        raise InputError(f"{path} is not valid JSON ({place}), so it is damaged or cut short; {_RESTORE}") from None


def _kind(value: Any) -> str:
    names = {dict: "an empty object", list: "a list", str: "a string", type(None): "null"}
    return names.get(type(value), f"a {type(value).__name__}")


_RESTORE = "copy the folder again from a good one, or train the tokenizer again"
