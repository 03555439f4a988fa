"""A tokenizer's folder as Hugging Face lays it out, read and written.

tokenizer.json            the whole tokenizer; if it is there, the vocabulary files are not read
vocab.txt                 BERT's pieces, one per line
vocab.json, merges.txt    GPT-2's tokens and merges
spiece.model              T5's pieces with their scores, in SentencePiece's format
tokenizer_config.json     the class, the named special tokens, lengths and sides
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
from minilm.text.bpe.tokenizer import VERSION_LINE, ByteLevelBPETokenizer, parse_merges
from minilm.text.files.sentencepiece_model import read_sentencepiece
from minilm.text.files.tokenizer_json import backend_from_json, backend_to_json, byte_level_bpe
from minilm.text.front.pretrained import PretrainedTokenizer
from minilm.text.front.special_tokens import NAMES
from minilm.text.pipeline.added_tokens import AddedToken
from minilm.text.pipeline.backend import Backend
from minilm.text.pipeline.decoding import ByteFallback, DecoderSequence, MetaspaceDecoder
from minilm.text.unicode.charsmap import Precompiled
from minilm.text.unicode.cleaning import refuse_surrogates
from minilm.text.unicode.normalization import BertNormalizer
from minilm.text.unigram.model import Unigram
from minilm.text.unigram.t5 import T5Tokenizer
from minilm.text.word_level import WordTokenizer
from minilm.text.wordpiece.bert import BertTokenizer
from minilm.text.wordpiece.model import WordPiece

T = TypeVar("T", bound=PretrainedTokenizer)
JSON, MAP, SENTENCEPIECE = "tokenizer.json", "special_tokens_map.json", "spiece.model"
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
    backend = backend_from_json(spec, folder / JSON) if spec is not None else _from_vocabulary(made, folder, config)
    _follow_config(backend, config)

    options = {key: config[key] for key in _ARGUMENTS if config.get(key) is not None} | dict(changes)
    special = _special_tokens(folder, config, made if spec is None else PretrainedTokenizer)
    for key in NAMES:
        if key in options:
            special[key] = options.pop(key)
    extra = [_token(token) for key in _LISTS for token in _listed(config.get(key))]
    if spec is None and issubclass(made, T5Tokenizer) and not extra:
        extra = [*_sentinels(folder, config)]
    _add_listed(backend, folder, config)
    if base in WITHOUT_TYPES:
        options.setdefault("model_input_names", ["input_ids", "attention_mask"])
    settings = {k: v for k, v in config.items() if k not in (*_OWN, *_ARGUMENTS, *_LISTS, *NAMES)}
    options.setdefault("settings", settings)
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
    settings = {
        **tokenizer.settings,
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


def _from_vocabulary(cls: type[PretrainedTokenizer], folder: Path, config: dict[str, Any]) -> Backend:
    try:
        if issubclass(cls, BertTokenizer):
            return cls.backend_of(_read_vocab_txt(folder, config), **_bert_settings(config), **_named(config, cls))
        if issubclass(cls, GPT2Tokenizer):
            vocabulary = storage.read_vocabulary(folder, config)
            merges = parse_merges(storage.read_file(folder, "merges.txt", config), folder / "merges.txt")
            special = {str(_token(config[name])) for name in NAMES if config.get(name)} | {"<|endoftext|>"}
            return cls.backend_of(byte_level_bpe(vocabulary, merges, special), bool(config.get("add_prefix_space")))
        if issubclass(cls, T5Tokenizer) and (folder / SENTENCEPIECE).exists():
            return _from_sentencepiece(cls, folder, config)
    except InputError as error:
        raise InputError(f"the tokenizer in {folder} cannot be used: {error}") from None
    raise InputError(f"{folder} has no {JSON}, which a {cls.__name__} is read from; save it again")


def _from_sentencepiece(cls: type[T5Tokenizer], folder: Path, config: dict[str, Any]) -> Backend:
    """T5's parts: the file's pieces, and behind them the sentinels <extra_id_0>, ..., counted down."""
    model = read_sentencepiece(folder / SENTENCEPIECE)
    model.check_unigram(folder / SENTENCEPIECE)
    pieces = [(text, score) for text, score, _ in model.pieces]
    known = {text for text, _ in pieces}
    pieces += [(token, 0.0) for token in reversed(_sentinels(folder, config)) if token not in known]
    normalizer = Precompiled(model.precompiled_charsmap) if model.precompiled_charsmap else None
    backend = cls.backend_of(pieces, normalizer, **_named(config, cls))
    if model.byte_fallback and isinstance(backend.pipeline.model, Unigram):
        backend.pipeline.model.byte_fallback = True
        backend.decoder = DecoderSequence([ByteFallback(), MetaspaceDecoder("▁", "always")])
    return backend


def _sentinels(folder: Path, config: Mapping[str, Any]) -> list[str]:
    count = config.get("extra_ids", 100)
    if type(count) is not int or not 0 <= count <= 100_000:
        raise InputError(f"{folder / storage.CONFIG} has extra_ids {count!r}; a number from 0 was expected")
    return [f"<extra_id_{n}>" for n in range(count)]


def _read_vocab_txt(folder: Path, config: dict[str, Any]) -> dict[str, int]:
    """{piece: id}, the id being the line. A piece that stands twice has its last id, as in transformers."""
    lines = storage.read_file(folder, "vocab.txt", config).split("\n")
    if lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise InputError("vocab.txt is empty; copy it again")
    return {line.removesuffix("\r"): n for n, line in enumerate(lines)}


def _bert_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    settings = {
        key: config[key] for key in ("do_lower_case", "tokenize_chinese_chars", "strip_accents") if key in config
    }
    for key, value in settings.items():
        if not isinstance(value, bool | None) or (value is None and key != "strip_accents"):
            raise InputError(f"{storage.CONFIG} has {key} {value!r}; true or false was expected")
    return settings


def _named(config: Mapping[str, Any], cls: type[PretrainedTokenizer]) -> dict[str, Any]:
    return {name: str(_token(config.get(name) or default)) for name, default in cls.DEFAULT_TOKENS.items()}


def _follow_config(backend: Backend, config: Mapping[str, Any]) -> None:
    """What tokenizer_config.json says of BERT's cleaning goes before what tokenizer.json says, as in transformers."""
    normalizer, settings = backend.pipeline.normalizer, _bert_settings(config)
    if isinstance(normalizer, BertNormalizer) and settings:
        names = {"do_lower_case": "lowercase", "tokenize_chinese_chars": "handle_chinese_chars"}
        changed = {names.get(key, key): value for key, value in settings.items()}
        backend.pipeline.normalizer = replace(normalizer, **changed)
        backend.add({})  # their normalized texts may be others now


def _special_tokens(folder: Path, config: Mapping[str, Any], cls: type[PretrainedTokenizer]) -> dict[str, Any]:
    """The named special tokens: of the config, else of special_tokens_map.json, else what the class has."""
    special: dict[str, Any] = dict(cls.DEFAULT_TOKENS)
    if (folder / MAP).exists():
        found = storage.from_json(storage.read_text(folder / MAP), folder / MAP)
        if not isinstance(found, dict):
            raise InputError(f"{folder / MAP} is no object of special tokens; copy it again, or take it away")
        special.update({name: found[name] for name in NAMES if name in found})
    special.update({name: config[name] for name in NAMES if name in config})
    return {name: None if token is None else _token(token) for name, token in special.items()}


def _token(value: Any) -> str | AddedToken:
    """A token as text, or with its flags as an object."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and isinstance(value.get("content"), str):
        flags = {key: bool(value[key]) for key in ("single_word", "lstrip", "rstrip", "normalized") if key in value}
        return AddedToken(value["content"], **flags, special=bool(value.get("special", True)))
    if isinstance(value, AddedToken):
        return value
    raise InputError(f'the special token {value!r} is neither a text nor an object with "content"; mend it')


def _listed(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    if not isinstance(value, list | None):
        raise InputError(f"{storage.CONFIG} has additional special tokens {value!r:.80} that are no list; mend it")
    return value or []


def _add_listed(backend: Backend, folder: Path, config: Mapping[str, Any]) -> None:
    """The tokens of added_tokens_decoder (in the config) and added_tokens.json that the tokenizer does not know yet."""
    found: dict[int, AddedToken] = {}
    listed = config.get("added_tokens_decoder") or {}
    path = folder / "added_tokens.json"
    old = storage.from_json(storage.read_text(path), path) if path.exists() else {}
    if not isinstance(listed, dict) or not isinstance(old, dict):
        raise InputError(f"the added tokens in {folder} are no object; copy the folder again")
    for key, value in listed.items():
        token = _token(value)
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
