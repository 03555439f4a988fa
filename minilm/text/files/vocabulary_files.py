"""Tokenizers from folders without tokenizer.json: vocab.txt, vocab.json with merges.txt, SentencePiece's spiece.model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minilm.errors import InputError
from minilm.text import storage
from minilm.text.bpe.gpt2 import GPT2Tokenizer
from minilm.text.bpe.tokenizer import parse_merges
from minilm.text.files.sentencepiece_model import read_sentencepiece
from minilm.text.files.special_files import token_of
from minilm.text.files.tokenizer_json import byte_level_bpe
from minilm.text.front.pretrained import PretrainedTokenizer
from minilm.text.front.special_tokens import NAMES
from minilm.text.pipeline.backend import Backend
from minilm.text.pipeline.decoding import ByteFallback, DecoderSequence, MetaspaceDecoder
from minilm.text.unicode.charsmap import Precompiled
from minilm.text.unigram.model import Unigram
from minilm.text.unigram.t5 import T5Tokenizer
from minilm.text.wordpiece.bert import BertTokenizer

JSON, SENTENCEPIECE = "tokenizer.json", "spiece.model"


def from_vocabulary(cls: type[PretrainedTokenizer], folder: Path, config: dict[str, Any]) -> Backend:
    try:
        if issubclass(cls, BertTokenizer):
            return cls.backend_of(read_vocab_txt(folder, config), **bert_settings(config), **named_tokens(config, cls))
        if issubclass(cls, GPT2Tokenizer):
            vocabulary = storage.read_vocabulary(folder, config)
            merges = parse_merges(storage.read_file(folder, "merges.txt", config), folder / "merges.txt")
            special = {str(token_of(config[name])) for name in NAMES if config.get(name)} | {"<|endoftext|>"}
            return cls.backend_of(byte_level_bpe(vocabulary, merges, special), bool(config.get("add_prefix_space")))
        if issubclass(cls, T5Tokenizer) and (folder / SENTENCEPIECE).exists():
            return from_sentencepiece(cls, folder, config)
    except InputError as error:
        raise InputError(f"the tokenizer in {folder} cannot be used: {error}") from None
    raise InputError(f"{folder} has no {JSON}, which a {cls.__name__} is read from; save it again")


def from_sentencepiece(cls: type[T5Tokenizer], folder: Path, config: dict[str, Any]) -> Backend:
    """T5's parts: the file's pieces, and behind them the sentinels <extra_id_0>, ..., counted down."""
    model = read_sentencepiece(folder / SENTENCEPIECE)
    model.check_unigram(folder / SENTENCEPIECE)
    pieces = [(text, score) for text, score, _ in model.pieces]
    known = {text for text, _ in pieces}
    pieces += [(token, 0.0) for token in reversed(sentinels(folder, config)) if token not in known]
    normalizer = Precompiled(model.precompiled_charsmap) if model.precompiled_charsmap else None
    backend = cls.backend_of(pieces, normalizer, **named_tokens(config, cls))
    if model.byte_fallback and isinstance(backend.pipeline.model, Unigram):
        backend.pipeline.model.byte_fallback = True
        backend.decoder = DecoderSequence([ByteFallback(), MetaspaceDecoder("▁", "always")])
    return backend


def sentinels(folder: Path, config: Mapping[str, Any]) -> list[str]:
    count = config.get("extra_ids", 100)
    if type(count) is not int or not 0 <= count <= 100_000:
        raise InputError(f"{folder / storage.CONFIG} has extra_ids {count!r}; a number from 0 was expected")
    return [f"<extra_id_{n}>" for n in range(count)]


def read_vocab_txt(folder: Path, config: dict[str, Any]) -> dict[str, int]:
    """{piece: id}, the id being the line. A piece that stands twice has its last id, as in transformers."""
    lines = storage.read_file(folder, "vocab.txt", config).split("\n")
    if lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise InputError("vocab.txt is empty; copy it again")
    return {line.removesuffix("\r"): n for n, line in enumerate(lines)}


def bert_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    settings = {
        key: config[key] for key in ("do_lower_case", "tokenize_chinese_chars", "strip_accents") if key in config
    }
    for key, value in settings.items():
        if not isinstance(value, bool | None) or (value is None and key != "strip_accents"):
            raise InputError(f"{storage.CONFIG} has {key} {value!r}; true or false was expected")
    return settings


def named_tokens(config: Mapping[str, Any], cls: type[PretrainedTokenizer]) -> dict[str, Any]:
    return {name: str(token_of(config.get(name) or default)) for name, default in cls.DEFAULT_TOKENS.items()}
