"""A tokenizer's folder as Hugging Face lays it out, read and written.

tokenizer.json            the whole tokenizer; if it is there, the vocabulary files are not read
vocab.txt                 BERT's pieces, one per line
vocab.json, merges.txt    GPT-2's tokens and merges
spiece.model              T5's pieces with their scores, in SentencePiece's format
tokenizer_config.json     the class, the named special tokens, lengths and sides
chat_template.jinja       how a chat becomes a text; older folders have it in tokenizer_config.json
special_tokens_map.json   the named special tokens again, from before they were in the config
added_tokens.json         {token: id} of further ones, in old folders
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from minilm.errors import InputError
from minilm.files import write_text
from minilm.text import storage
from minilm.text.bpe.gpt2 import GPT2Tokenizer
from minilm.text.bpe.tokenizer import VERSION_LINE, ByteLevelBPETokenizer
from minilm.text.files.chat_files import read_templates, template_files
from minilm.text.files.special_files import MAP, add_listed, listed_tokens, special_tokens, token_of
from minilm.text.files.tokenizer_json import backend_from_json, backend_to_json
from minilm.text.files.vocabulary_files import JSON, SENTENCEPIECE, bert_settings, from_vocabulary, sentinels
from minilm.text.front.pretrained import PretrainedTokenizer
from minilm.text.front.special_tokens import NAMES
from minilm.text.pipeline.backend import Backend
from minilm.text.unicode.cleaning import refuse_surrogates
from minilm.text.unicode.normalization import BertNormalizer
from minilm.text.unigram.t5 import T5Tokenizer
from minilm.text.word_level import WordTokenizer
from minilm.text.wordpiece.bert import BertTokenizer
from minilm.text.wordpiece.model import WordPiece

T = TypeVar("T", bound=PretrainedTokenizer)
CLASSES: dict[str, type[PretrainedTokenizer]] = {
    cls.CLASS_NAME: cls for cls in (BertTokenizer, GPT2Tokenizer, T5Tokenizer, WordTokenizer)
}
WITHOUT_TYPES = {  # no token_type_ids unless the folder says so; the last two are what transformers calls any tokenizer.json
    "T5Tokenizer", "RobertaTokenizer", "DistilBertTokenizer", "GPT2Tokenizer", "BartTokenizer", "PreTrainedTokenizer",
    "TokenizersBackend",
}  # fmt: skip
_OWN = (
    "tokenizer_class",
    "format_version",
    "sha256",
    "added_tokens_decoder",
    "name_or_path",
    "special_tokens_map_file",
)
_ARGUMENTS = (
    "model_max_length",
    "padding_side",
    "truncation_side",
    "model_input_names",
    "clean_up_tokenization_spaces",
)
_LISTS = ("additional_special_tokens", "extra_special_tokens")
_NOT_OURS = {"CharacterTokenizer"}  # of another kind: load_tokenizer reads them


def open_folder(cls: type[T], folder: Path, changes: Mapping[str, Any]) -> T:
    """The tokenizer in a folder; `PretrainedTokenizer.from_folder` says more."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name one that a tokenizer was saved in")
    config = storage.read_config(folder) if (folder / storage.CONFIG).exists() else {}
    if "backend" in config:  # transformers wrote it over, and kept the checksums of the files that were there before
        config.pop("sha256", None)
    name = config.get("tokenizer_class")
    if name is not None and not isinstance(name, str):
        raise InputError(f"{folder / storage.CONFIG} has the tokenizer_class {name!r}; a text was expected")
    if name in _NOT_OURS:
        raise InputError(f"{folder} holds a {name}; open it with minilm.text.load_tokenizer")
    base = (name or "").removesuffix("Fast")
    spec = _read_json(folder / JSON, config)
    made = CLASSES.get(base) or _class_of(spec, folder)
    if not issubclass(made, cls):
        if base in CLASSES or spec is None:
            raise InputError(
                f"{folder} holds a {name or made.__name__} where a {cls.__name__} was expected; open it as that"
            )
        made = cls  # any tokenizer.json can be opened as the class that was asked for
    backend = backend_from_json(spec, folder / JSON) if spec is not None else from_vocabulary(made, folder, config)
    _follow_config(backend, config)

    options = {key: config[key] for key in _ARGUMENTS if config.get(key) is not None} | dict(changes)
    special = special_tokens(folder, config, made if spec is None else PretrainedTokenizer)
    for key in NAMES:
        if key in options:
            special[key] = options.pop(key)
    extra = [token_of(token) for key in _LISTS for token in listed_tokens(config.get(key))]
    if spec is None and issubclass(made, T5Tokenizer) and not extra:
        extra = [*sentinels(folder, config)]
    add_listed(backend, folder, config)
    if base in WITHOUT_TYPES:
        options.setdefault("model_input_names", ["input_ids", "attention_mask"])
    settings = {k: v for k, v in config.items() if k not in (*_OWN, *_ARGUMENTS, *_LISTS, *NAMES)}
    templates = read_templates(folder, settings.pop("chat_template", None))
    options.setdefault("settings", settings if templates is None else {**settings, "chat_template": templates})
    _check_options(folder, options)
    tokenizer: Any = made.__new__(made)
    PretrainedTokenizer.__init__(tokenizer, backend, special, extra, class_name=name or made.CLASS_NAME, **options)
    return tokenizer


def save_folder(tokenizer: PretrainedTokenizer, folder: Path) -> list[str]:
    """Write the files; tokenizer_config.json comes last, so that a folder that has it is whole."""
    backend = tokenizer.backend
    files = {
        JSON: storage.to_json(backend_to_json(backend)),
        MAP: storage.to_json(_map_to_json(tokenizer)),
    }
    model = backend.pipeline.model
    in_order = sorted(backend.ids.items(), key=lambda item: item[1])
    lines = [n for _, n in in_order] == [*range(len(in_order))] and all("\n" not in token for token, _ in in_order)
    if isinstance(model, WordPiece) and lines:  # else a line's number would not be the id
        files["vocab.txt"] = "".join(f"{token}\n" for token, _ in in_order)
    elif isinstance(model, ByteLevelBPETokenizer):
        files["vocab.json"] = storage.to_json(dict(in_order))
        files["merges.txt"] = "\n".join([VERSION_LINE, *map(" ".join, model.merges)]) + "\n"
    own, templates = template_files(tokenizer.settings)
    files.update(templates)
    settings = {
        **own,
        "model_max_length": tokenizer.model_max_length,
        "padding_side": tokenizer.padding_side,
        "truncation_side": tokenizer.truncation_side,
        "model_input_names": tokenizer.model_input_names,
        "clean_up_tokenization_spaces": tokenizer.clean_up_tokenization_spaces,
        **{name: tokenizer.special_tokens_map.get(name) for name in NAMES if _writes(tokenizer, name)},
        "additional_special_tokens": tokenizer.additional_special_tokens,
    }
    short = tokenizer.class_name.removesuffix("Fast")
    name = short if short in CLASSES else tokenizer.class_name
    files[storage.CONFIG] = storage.to_json({"tokenizer_class": name, **settings})
    for text in files.values():
        refuse_surrogates(text)  # before anything is written
    for file, text in files.items():
        write_text(folder / file, text)
    return [str(folder / file) for file in files]


def _writes(tokenizer: PretrainedTokenizer, name: str) -> bool:
    """A name without a token is written only where transformers would otherwise put its own."""
    return name in tokenizer.special_tokens_map or name in tokenizer.DEFAULT_TOKENS


def _map_to_json(tokenizer: PretrainedTokenizer) -> dict[str, Any]:
    special: dict[str, Any] = {name: tokenizer.special_tokens_map.get(name) for name in NAMES}
    special = {name: token for name, token in special.items() if token is not None}
    if tokenizer.additional_special_tokens:
        special["additional_special_tokens"] = tokenizer.additional_special_tokens
    return special


def _read_json(path: Path, config: dict[str, Any]) -> Any:
    return storage.from_json(storage.read_file(path.parent, path.name, config), path) if path.exists() else None


def _class_of(spec: Any, folder: Path) -> type[PretrainedTokenizer]:
    """The class of a folder that does not name one of minilm's."""
    if spec is None:
        if (folder / "vocab.txt").exists():
            return BertTokenizer
        if (folder / "merges.txt").exists():
            return GPT2Tokenizer
        if (folder / SENTENCEPIECE).exists():
            return T5Tokenizer
        model = next((path.name for path in sorted(folder.glob("*.model"))), None)
        hint = (
            f"its {model} is a SentencePiece file, of which minilm reads T5's, called {SENTENCEPIECE}: save the tokenizer once "
            "with transformers, which writes tokenizer.json"
            if model
            else f"it has no {JSON}, vocab.txt, {SENTENCEPIECE} or vocab.json with merges.txt; name the folder that has them"
        )
        raise InputError(f"{folder} holds no tokenizer that minilm reads: {hint}")
    kind = spec.get("model", {}).get("type") if isinstance(spec, dict) and isinstance(spec.get("model"), dict) else None
    return PretrainedTokenizer if kind != "WordPiece" else BertTokenizer


def _follow_config(backend: Backend, config: Mapping[str, Any]) -> None:
    """What tokenizer_config.json says of BERT's cleaning goes before what tokenizer.json says, as in transformers."""
    normalizer, settings = backend.pipeline.normalizer, bert_settings(config)
    if isinstance(normalizer, BertNormalizer) and settings:
        names = {"do_lower_case": "lowercase", "tokenize_chinese_chars": "handle_chinese_chars"}
        changed = {names.get(key, key): value for key, value in settings.items()}
        backend.pipeline.normalizer = replace(normalizer, **changed)
        backend.add({})  # their normalized texts may be others now


def _check_options(folder: Path, options: Mapping[str, Any]) -> None:
    kinds = {"model_max_length": int | float, "padding_side": str, "truncation_side": str, "model_input_names": list}
    for key, kind in kinds.items():
        if key in options and not isinstance(options[key], kind):
            raise InputError(f"{folder / storage.CONFIG} has {key} {options[key]!r}, which is of a wrong kind; mend it")
    unknown = set(options) - {*_ARGUMENTS, "settings"}
    if unknown:
        raise InputError(
            f"{sorted(unknown)[0]!r} is no argument of from_folder; there are {', '.join([*_ARGUMENTS, *NAMES])}"
        )
