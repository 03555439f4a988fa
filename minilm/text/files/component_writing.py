"""Normalizers, pre-tokenizers, post-processors and decoders as objects of tokenizer.json; component_json.py reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from minilm.errors import InputError
from minilm.text.pipeline import decoding, post_processing
from minilm.text.unicode import normalization
from minilm.text.unicode.charsmap import Precompiled
from minilm.text.unigram.sentencepiece_text import Nmt, WhitespaceMetaspace
from minilm.text.words import pre_tokenizers as words
from minilm.text.words.split_pattern import Split


def to_json(part: Any) -> dict[str, Any] | None:
    """Any of the four as a JSON object; None gives null."""
    if part is None:
        return None
    writer = _WRITERS.get(type(part))
    if writer is not None:
        return writer(part)
    if type(part) not in _NAMES:
        raise InputError(f"a {type(part).__name__} has no form in tokenizer.json; use one of those that have")
    return {"type": _NAMES[type(part)], **{f.name: getattr(part, f.name) for f in fields(part) if f.init}}


_NAMES = {
    normalization.BertNormalizer: "BertNormalizer",
    normalization.Lowercase: "Lowercase",
    normalization.StripAccents: "StripAccents",
    normalization.Strip: "Strip",
    normalization.Prepend: "Prepend",
    Nmt: "Nmt",
    words.BertPreTokenizer: "BertPreTokenizer",
    words.ByteLevel: "ByteLevel",
    words.Whitespace: "Whitespace",
    words.WhitespaceSplit: "WhitespaceSplit",
    words.Metaspace: "Metaspace",
    post_processing.ByteLevelProcessing: "ByteLevel",
    decoding.WordPieceDecoder: "WordPiece",
    decoding.MetaspaceDecoder: "Metaspace",
    decoding.Fuse: "Fuse",
    decoding.ByteFallback: "ByteFallback",
    decoding.StripDecoder: "Strip",
}


def _replace_to_json(part: Any) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex" if part.regex else "String": part.pattern}, "content": part.content}


def _template_to_json(part: post_processing.TemplateProcessing) -> dict[str, Any]:
    def pieces(template: Any) -> list[dict[str, Any]]:
        return [{"SpecialToken" if p.special else "Sequence": {"id": p.name, "type_id": p.type_id}} for p in template]

    special = {
        name: {"id": name, "ids": list(ids), "tokens": list(tokens)}
        for name, (ids, tokens) in part.special_tokens.items()
    }
    return {
        "type": "TemplateProcessing",
        "single": pieces(part.single),
        "pair": pieces(part.pair),
        "special_tokens": special,
    }


def _sequence(key: str, attribute: str) -> Callable[[Any], dict[str, Any]]:
    return lambda part: {"type": "Sequence", key: [to_json(one) for one in getattr(part, attribute)]}


_WRITERS: dict[type, Callable[[Any], dict[str, Any]]] = {
    normalization.UnicodeForm: lambda part: {"type": part.form},
    normalization.Replace: _replace_to_json,
    normalization.NormalizerSequence: _sequence("normalizers", "normalizers"),
    Precompiled: lambda part: {"type": "Precompiled", "precompiled_charsmap": part.precompiled_charsmap},
    Split: lambda part: {
        "type": "Split",
        "pattern": {"Regex" if part.regex else "String": part.pattern},
        "behavior": part.behavior,
        "invert": part.invert,
    },
    words.PreTokenizerSequence: _sequence("pretokenizers", "pretokenizers"),
    WhitespaceMetaspace: lambda part: {
        "type": "Sequence",
        "pretokenizers": [to_json(words.WhitespaceSplit()), to_json(words.Metaspace(split=part.split))],
    },
    post_processing.TemplateProcessing: _template_to_json,
    post_processing.RobertaProcessing: lambda part: {
        "type": "RobertaProcessing",
        "sep": list(part.sep),
        "cls": list(part.cls),
        "trim_offsets": part.trim_offsets,
        "add_prefix_space": part.add_prefix_space,
    },
    post_processing.PostProcessorSequence: _sequence("processors", "processors"),
    decoding.ByteLevelDecoder: lambda part: {
        "type": "ByteLevel",
        "add_prefix_space": True,
        "trim_offsets": True,
        "use_regex": True,
    },
    decoding.ReplaceDecoder: _replace_to_json,
    decoding.DecoderSequence: _sequence("decoders", "decoders"),
}
