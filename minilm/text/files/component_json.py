"""Normalizers, pre-tokenizers, post-processors and decoders from tokenizer.json; component_writing.py is the way back.

Every part is an object with a "type"; a part, or a value in it, that minilm does not have is an InputError that
names it: silently leaving out a step would change the ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from minilm.errors import InputError
from minilm.text.pipeline import decoding, post_processing
from minilm.text.unicode import normalization
from minilm.text.unicode.charsmap import Precompiled
from minilm.text.unicode.cleaning import FORMS
from minilm.text.unigram.sentencepiece_text import Nmt, WhitespaceMetaspace
from minilm.text.words import pre_tokenizers as words
from minilm.text.words.split_pattern import Split

Spec = Mapping[str, Any]
_FORGOTTEN = {"str_rep", "add_prefix_space", "prepend_scheme", "split"}  # of Metaspace, by version


def normalizer_from_json(spec: Any) -> Any:
    """The normalizer of a JSON object; None for null. Raises InputError."""
    return _read(spec, "normalizer", _NORMALIZERS)


def pre_tokenizer_from_json(spec: Any) -> Any:
    """The pre-tokenizer of a JSON object; None for null. Raises InputError."""
    return _read(spec, "pre-tokenizer", _PRE_TOKENIZERS)


def post_processor_from_json(spec: Any) -> Any:
    """The post-processor of a JSON object; None for null. Raises InputError."""
    return _read(spec, "post-processor", _POST_PROCESSORS)


def decoder_from_json(spec: Any) -> Any:
    """The decoder of a JSON object; None for null. Raises InputError."""
    return _read(spec, "decoder", _DECODERS)


def _read(spec: Any, kind: str, known: Mapping[str, Callable[[Spec], Any]]) -> Any:
    if spec is None:
        return None
    if not isinstance(spec, dict) or not isinstance(spec.get("type"), str):
        raise InputError(f'the {kind} of tokenizer.json is {_short(spec)} where an object with a "type" was expected')
    if spec["type"] not in known:
        raise InputError(
            f"tokenizer.json has the {kind} {spec['type']!r}, which minilm does not have; it has {', '.join(known)}"
        )
    try:
        return known[spec["type"]](spec)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        what = f"lacks {error}" if isinstance(error, KeyError) else f"has a value of a wrong kind ({error})"
        raise InputError(f"the {kind} {spec['type']!r} of tokenizer.json {what}: {_short(spec)}") from None


def _each(read: Callable[[Any], Any], specs: Any) -> list[Any]:
    """The parts of a sequence, none of which may be null."""
    parts = [read(spec) for spec in specs]
    if None in parts:
        raise InputError("a Sequence of tokenizer.json holds null where a part was expected")
    return parts


def _plain(cls: type, **kinds: type | tuple[type, ...]) -> Callable[[Spec], Any]:
    """Reads an object whose keys are the fields of a class, of these types; those that are left out keep their default."""

    def read(spec: Spec) -> Any:
        values = {}
        for key, value in spec.items():
            if key == "type":
                continue
            if key not in kinds:
                raise InputError(f"{spec['type']} of tokenizer.json has {key!r}, which minilm does not know")
            if not isinstance(value, kinds[key]):
                raise InputError(f"{spec['type']} of tokenizer.json has {key} {value!r}, which is of a wrong kind")
            values[key] = value
        return cls(**values)

    return read


def _pattern(cls: type) -> Callable[[Spec], Any]:
    def read(spec: Spec) -> Any:
        ((kind, pattern),) = spec["pattern"].items()
        if kind not in ("String", "Regex"):
            raise InputError(f"the pattern of Replace in tokenizer.json is a {kind!r}; known are String and Regex")
        return cls(_text(pattern), _text(spec["content"]), kind == "Regex")

    return read


def _split(spec: Spec) -> Split:
    ((kind, pattern),) = spec["pattern"].items()
    if kind not in ("String", "Regex"):
        raise InputError(f"the pattern of Split in tokenizer.json is a {kind!r}; known are String and Regex")
    return Split(_text(pattern), kind == "Regex", _text(spec["behavior"]), bool(spec.get("invert", False)))


def _metaspace(cls: type) -> Callable[[Spec], Any]:
    """Metaspace as it is, and as it was before it had a prepend_scheme."""

    def read(spec: Spec) -> Any:
        unknown = [key for key in spec if key not in _FORGOTTEN | {"type", "replacement"}]
        if unknown:
            raise InputError(f"Metaspace of tokenizer.json has {unknown[0]!r}, which minilm does not know")
        scheme = spec.get("prepend_scheme") or ("always" if spec.get("add_prefix_space", True) else "never")
        return cls(_text(spec["replacement"]), scheme, bool(spec.get("split", True)))

    return read


def _pre_tokenizer_sequence(spec: Spec) -> Any:
    parts = _each(pre_tokenizer_from_json, spec["pretokenizers"])
    match parts:
        case [words.WhitespaceSplit(), words.Metaspace("▁", "always", split)]:
            return WhitespaceMetaspace(split)  # the same, faster
    return words.PreTokenizerSequence(parts)


def _template(spec: Spec) -> post_processing.TemplateProcessing:
    templates = []
    for pieces in (spec["single"], spec["pair"]):
        template = []
        for piece in pieces:
            ((kind, value),) = piece.items()
            if kind not in ("Sequence", "SpecialToken"):
                raise InputError(f"a template of tokenizer.json holds a {kind!r}; known are Sequence and SpecialToken")
            template.append(post_processing.Piece(_text(value["id"]), int(value["type_id"]), kind == "SpecialToken"))
        templates.append(template)
    special = {
        name: ([int(n) for n in token["ids"]], [_text(text) for text in token["tokens"]])
        for name, token in spec["special_tokens"].items()
    }
    return post_processing.TemplateProcessing(templates[0], templates[1], special)


def _named(token: Any) -> tuple[str, int]:
    text, n = token
    return _text(text), int(n)


def _roberta(spec: Spec) -> post_processing.RobertaProcessing:
    flags = bool(spec.get("trim_offsets", True)), bool(spec.get("add_prefix_space", True))
    return post_processing.RobertaProcessing(_named(spec["cls"]), _named(spec["sep"]), *flags)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{_short(value)} is no text")
    return value


def _short(value: Any) -> str:
    return repr(value) if len(repr(value)) < 80 else repr(value)[:76] + " ..."


_FLAGS: dict[str, Any] = {"add_prefix_space": bool, "trim_offsets": bool, "use_regex": bool}
_BERT: dict[str, Any] = {
    "clean_text": bool,
    "handle_chinese_chars": bool,
    "strip_accents": (bool, type(None)),
    "lowercase": bool,
}

_NORMALIZERS: dict[str, Callable[[Spec], Any]] = {
    "BertNormalizer": _plain(normalization.BertNormalizer, **_BERT),
    **{form: lambda spec: normalization.UnicodeForm(spec["type"]) for form in FORMS},
    "Lowercase": _plain(normalization.Lowercase),
    "StripAccents": _plain(normalization.StripAccents),
    "Strip": _plain(normalization.Strip, strip_left=bool, strip_right=bool),
    "Replace": _pattern(normalization.Replace),
    "Prepend": _plain(normalization.Prepend, prepend=str),
    "Nmt": _plain(Nmt),
    "Precompiled": lambda spec: Precompiled(_text(spec["precompiled_charsmap"])),
    "Sequence": lambda spec: normalization.NormalizerSequence(_each(normalizer_from_json, spec["normalizers"])),
}
_PRE_TOKENIZERS: dict[str, Callable[[Spec], Any]] = {
    "BertPreTokenizer": _plain(words.BertPreTokenizer),
    "ByteLevel": _plain(words.ByteLevel, **_FLAGS),
    "Whitespace": _plain(words.Whitespace),
    "WhitespaceSplit": _plain(words.WhitespaceSplit),
    "Metaspace": _metaspace(words.Metaspace),
    "Split": _split,
    "Sequence": _pre_tokenizer_sequence,
}
_POST_PROCESSORS: dict[str, Callable[[Spec], Any]] = {
    "TemplateProcessing": _template,
    "BertProcessing": lambda spec: post_processing.bert_processing(_named(spec["cls"]), _named(spec["sep"])),
    "RobertaProcessing": _roberta,
    "ByteLevel": _plain(post_processing.ByteLevelProcessing, **_FLAGS),
    "Sequence": lambda spec: post_processing.PostProcessorSequence(_each(post_processor_from_json, spec["processors"])),
}
_DECODERS: dict[str, Callable[[Spec], Any]] = {
    "WordPiece": _plain(decoding.WordPieceDecoder, prefix=str, cleanup=bool),
    "ByteLevel": lambda spec: decoding.ByteLevelDecoder(),
    "Metaspace": _metaspace(decoding.MetaspaceDecoder),
    "Replace": _pattern(decoding.ReplaceDecoder),
    "Fuse": _plain(decoding.Fuse),
    "ByteFallback": _plain(decoding.ByteFallback),
    "Strip": _plain(decoding.StripDecoder, content=str, start=int, stop=int),
    "Sequence": lambda spec: decoding.DecoderSequence(_each(decoder_from_json, spec["decoders"])),
}
