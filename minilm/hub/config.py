"""config.json: a model's shape under Hugging Face's names, read into the dataclass of its family, and written again."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from minilm.errors import InputError

LABEL_FIELDS = ("num_labels", "id2label", "label2id")
CONFIG_LIMIT = 16 << 20  # no config.json is longer; a weight file under its name would be
CONFIG, GENERATION = "config.json", "generation_config.json"


def read_json(path: Path, limit: int = CONFIG_LIMIT) -> dict[str, Any]:
    """The object in a JSON file. Raises InputError if it is missing, unreadable, no JSON, or no object."""
    try:
        if path.stat().st_size > limit:
            raise InputError(f"{path} is larger than {limit >> 20} MB; that is no {path.name}, restore the file")
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path.parent} has no {path.name}; give a folder in Hugging Face's layout") from error
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}; check the path and its permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}); restore the file") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not JSON ({error}); restore the file") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds a {type(values).__name__}, and an object {{…}} was expected; restore the file")
    return values


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder; `model_type` is a string. Raises InputError otherwise."""
    values = read_json(folder / CONFIG)
    if not isinstance(values.get("model_type"), str):
        raise InputError(f'{folder / CONFIG} does not say which model it is; add "model_type", for example "gpt2"')
    return values


def read_generation_config(folder: Path) -> dict[str, Any]:
    """generation_config.json of a model folder: how its text is written unless generate() is told otherwise; {} without one."""
    path = folder / GENERATION
    return {k: v for k, v in read_json(path).items() if k != "transformers_version"} if path.exists() else {}


def config_from_json(config_class: type, values: dict[str, Any], overrides: dict[str, Any] | None = None) -> Any:
    """Make a family's configuration from config.json's values, changed by `overrides`, and check it.

    config_class: a dataclass whose fields have Hugging Face's names; `model_type` and `check()` if it has them. Its class
    attributes may say more: `renamed` {older or other name: field} and `supported` {name: values that minilm can do}.
    Keys that it has no field for (transformers_version, ...) are kept in `config.extra` and written again.
    Raises InputError for a value of a wrong type, a value that minilm cannot do, or an override that is no field.
    """
    known = {field.name: field for field in fields(config_class)}
    renamed: dict[str, str] = getattr(config_class, "renamed", {})
    given = {renamed.get(name, name) if renamed.get(name) not in values else name: v for name, v in values.items()}
    overrides = {renamed.get(name, name): value for name, value in (overrides or {}).items()}
    unknown = sorted(set(overrides) - set(known))
    if unknown:
        raise InputError(f"unknown option(s) {', '.join(unknown)}; this model has {', '.join(known)}")
    if "num_labels" in known or "id2label" in known:
        settle_labels(given, overrides)
    given.update(overrides)
    for name, allowed in getattr(config_class, "supported", {}).items():
        if name in given and given[name] not in allowed:
            choices = " or ".join(map(repr, allowed))
            raise InputError(f"config.json has {name} = {given[name]!r}, and minilm can do {choices} only")
    arguments = {}
    for name, value in given.items():
        if name in known:
            check_type(name, value, str(known[name].type))
            arguments[name] = float(value) if known[name].type == "float" else value
    missing = [n for n, f in known.items() if n not in arguments and f.default is f.default_factory is MISSING]
    if missing:
        raise InputError(f"config.json lacks {', '.join(missing)}; restore the file")
    config = config_class(**arguments)
    config.extra = {name: value for name, value in given.items() if name not in known}
    if hasattr(config, "check"):
        config.check()
    return config


def config_to_json(config: Any, architecture: str, dtype: str) -> dict[str, Any]:
    """What config.json holds for this configuration: extra keys as they were read, the fields, and the weights' dtype."""
    values = {name: value for name, value in getattr(config, "extra", {}).items() if name != "torch_dtype"}
    values.update((field.name, getattr(config, field.name)) for field in fields(config))
    if values.get("id2label"):
        values["id2label"] = {str(i): label for i, label in values["id2label"].items()}
        values.pop("num_labels", None)
    for name in LABEL_FIELDS:
        if values.get(name, 0) is None:
            del values[name]
    return {**values, "model_type": config.model_type, "architectures": [architecture], "dtype": dtype}


def settle_labels(values: dict[str, Any], overrides: dict[str, Any]) -> None:
    """Make num_labels, id2label {0: name, …} and label2id agree in both dictionaries; an override wins over the file.

    Files write the numbers of id2label as text. Another number of labels than the file's gives LABEL_0, LABEL_1, …
    """
    for source in (overrides, values):
        if source.get("id2label") is not None or source.get("label2id") is not None:
            source["id2label"] = id2label = numbered(source.get("id2label"), source.get("label2id"))
            if source.get("num_labels", len(id2label)) != len(id2label):
                raise InputError(
                    f"num_labels is {source['num_labels']}, but id2label has {len(id2label)} labels; give one of them"
                )
            source["num_labels"] = len(id2label)
            source["label2id"] = {label: number for number, label in id2label.items()}
    n = overrides.get("num_labels", values.get("num_labels"))
    if "id2label" not in overrides and isinstance(n, int) and n > 0 and values.get("num_labels") != n:
        if n > 100_000:
            raise InputError(f"num_labels is {n}; that many classes are no classification, give a smaller number")
        overrides["id2label"] = {i: f"LABEL_{i}" for i in range(n)}
        overrides["label2id"] = {f"LABEL_{i}": i for i in range(n)}


def numbered(id2label: Any, label2id: Any = None) -> dict[int, str]:
    """id2label with integers for keys, in order; from label2id where it is None.

    Raises InputError unless the numbers are 0 … n − 1.
    """
    try:
        pairs = id2label.items() if id2label is not None else [(number, label) for label, number in label2id.items()]
        labels = {int(number): str(label) for number, label in pairs}
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        given = str(label2id if id2label is None else id2label)[:80]
        raise InputError(f"id2label is {given}; it must be like {{0: 'first', 1: 'second'}}") from error
    if sorted(labels) != list(range(len(labels))):
        raise InputError(f"id2label has the numbers {sorted(labels)[:20]}; they must be 0 to {len(labels) - 1}")
    return dict(sorted(labels.items()))


TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,), "float": (int, float), "str": (str,), "bool": (bool,), "list": (list, tuple), "dict": (dict,),
    "None": (type(None),),
}  # fmt: skip


def check_type(name: str, value: Any, annotation: str) -> None:
    """Raise InputError unless `value` is of a type that the annotation, such as "int | None", names."""
    kinds = [kind.strip() for kind in re.sub(r"\[[^|\]]*\]", "", annotation).split("|")]
    if any(kind not in TYPES for kind in kinds):
        return
    fits = any(isinstance(value, TYPES[kind]) for kind in kinds)
    if not fits or (isinstance(value, bool) and "bool" not in kinds):  # True is an int to Python
        raise InputError(f"{name} is {str(value)[:80]!r}; it must be {' or '.join(kinds)}")
