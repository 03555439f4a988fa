"""tokenizer.json: the one file in which Hugging Face's `tokenizers` keeps a whole tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minilm.errors import InputError
from minilm.text import storage
from minilm.text.bpe.tokenizer import ByteLevelBPETokenizer
from minilm.text.files import component_json, component_writing
from minilm.text.pipeline.added_tokens import AddedToken
from minilm.text.pipeline.backend import Backend
from minilm.text.pipeline.pipeline import Model, Pipeline
from minilm.text.unicode.byte_map import ALPHABET
from minilm.text.unigram.model import Unigram
from minilm.text.word_level import WordLevel
from minilm.text.wordpiece.model import WordPiece
from minilm.text.words.pre_tokenizers import ByteLevel, PreTokenizerSequence

VERSION = "1.0"
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def read_tokenizer_json(path: str | Path) -> Backend:
    """The tokenizer in a tokenizer.json; its truncation and padding are left to the caller.

    Raises InputError for a file that is missing or damaged, and for any part that minilm does not have, by name.
    """
    path = Path(path)
    return backend_from_json(storage.from_json(storage.read_text(path), path), path)


def backend_from_json(spec: Any, path: str | Path = "tokenizer.json") -> Backend:
    """The tokenizer of the object that tokenizer.json holds."""
    if not isinstance(spec, dict) or not isinstance(spec.get("model"), dict):
        raise InputError(f'{path} is no tokenizer: an object with a "model" was expected; copy the file again')
    if spec.get("version", VERSION) != VERSION:
        raise InputError(f"{path} has version {spec['version']!r}, minilm reads {VERSION!r}; update minilm")
    try:
        added = _added_tokens(spec.get("added_tokens"))
        pre_tokenizer = component_json.pre_tokenizer_from_json(spec.get("pre_tokenizer"))
        model = _model(spec["model"], pre_tokenizer, {token.content for token in added.values()})
        return Backend(
            Pipeline(model, component_json.normalizer_from_json(spec.get("normalizer")), pre_tokenizer),
            added,
            component_json.post_processor_from_json(spec.get("post_processor")),
            component_json.decoder_from_json(spec.get("decoder")),
        )
    except InputError as error:
        raise InputError(f"{path} cannot be used: {error}") from None
    except RecursionError:
        raise InputError(f"{path} nests its parts too deeply; copy the file again") from None


def backend_to_json(backend: Backend) -> dict[str, Any]:
    """What tokenizer.json holds for this tokenizer; the Rust package reads it."""
    pipeline = backend.pipeline
    return {
        "version": VERSION,
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": n, **token.to_json()} for n, token in backend.added.tokens.items()],
        "normalizer": component_writing.to_json(pipeline.normalizer),
        "pre_tokenizer": component_writing.to_json(pipeline.pre_tokenizer),
        "post_processor": component_writing.to_json(backend.post_processor),
        "decoder": component_writing.to_json(backend.decoder),
        "model": _model_to_json(pipeline.model),
    }


def _added_tokens(specs: Any) -> dict[int, AddedToken]:
    if not isinstance(specs, list | None):
        raise InputError("its added_tokens are no list")
    added = {}
    for spec in specs or []:
        content, n = (spec.get("content"), spec.get("id")) if isinstance(spec, dict) else (None, None)
        if not isinstance(content, str) or type(n) is not int or n < 0 or not content:
            raise InputError(f"the added token {spec!r} lacks a content or an id")
        added[n] = AddedToken(content, **{flag: bool(spec.get(flag, flag == "normalized")) for flag in _FLAGS})
    return added


def _model(spec: dict[str, Any], pre_tokenizer: Any, added: set[str]) -> Model:
    kind = spec.get("type") or _guess(spec)
    if kind == "Unigram":
        return Unigram.from_json(spec)
    if kind not in ("WordPiece", "WordLevel", "BPE"):
        raise InputError(f"its model is a {kind!r}; minilm has WordPiece, WordLevel, BPE (byte-level) and Unigram")
    vocabulary = check_vocabulary(spec.get("vocab"))
    if kind == "BPE":
        return _byte_level_bpe(spec, vocabulary, pre_tokenizer, added)
    unknown = spec.get("unk_token", "[UNK]")
    if not isinstance(unknown, str):
        raise InputError(f"the unk_token of its model is {unknown!r}, which is no text")
    if kind == "WordLevel":
        return WordLevel(vocabulary, unknown)
    prefix, limit = spec.get("continuing_subword_prefix", "##"), spec.get("max_input_chars_per_word", 100)
    if not isinstance(prefix, str) or type(limit) is not int or limit < 1:
        raise InputError(
            f"its WordPiece model has continuing_subword_prefix {prefix!r} and max_input_chars_per_word {limit!r} "
            "where a text and a number from 1 were expected"
        )
    return WordPiece(vocabulary, unknown, prefix, limit)


def _guess(spec: dict[str, Any]) -> str:
    """The type of a model in a file so old that it does not say."""
    if "merges" in spec:
        return "BPE"
    if isinstance(spec.get("vocab"), list):
        return "Unigram"
    return "WordPiece" if "continuing_subword_prefix" in spec else "WordLevel"


def check_vocabulary(vocabulary: Any) -> dict[str, int]:
    """{token: id}, ids from 0, no id twice. Raises InputError."""
    if not isinstance(vocabulary, dict):
        raise InputError("its vocabulary is no object of tokens and ids")
    if not vocabulary:
        raise InputError(
            "its vocabulary is empty, so it has no tokens; copy the file again, or train the tokenizer again"
        )
    odd = next((token for token, n in vocabulary.items() if type(n) is not int or n < 0), None)
    if odd is not None:
        raise InputError(
            f"the token {odd!r} of its vocabulary has the id {vocabulary[odd]!r}, which is no number from 0"
        )
    if len(set(vocabulary.values())) < len(vocabulary):
        raise InputError("two tokens of its vocabulary have the same id")
    return vocabulary


def _byte_level_bpe(
    spec: dict[str, Any], vocabulary: dict[str, int], pre_tokenizer: Any, added: set[str]
) -> ByteLevelBPETokenizer:
    steps = pre_tokenizer.pretokenizers if isinstance(pre_tokenizer, PreTokenizerSequence) else [pre_tokenizer]
    if not any(isinstance(step, ByteLevel) for step in steps):
        raise InputError("its BPE model has no ByteLevel pre-tokenizer, and minilm has BPE on bytes only")
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if spec.get(key):
            raise InputError(f"its BPE model has {key} {spec[key]!r}, which minilm does not have")
    merges = []
    if not isinstance(spec.get("merges"), list):
        raise InputError("its BPE model has no list of merges")
    for merge in spec["merges"]:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise InputError(f"the merge {merge!r} of its model is no pair of tokens")
        merges.append((pair[0], pair[1]))
    if spec.get("ignore_merges"):  # then any token may be one that no merge makes
        unmade = special_places(vocabulary, added)
        return ByteLevelBPETokenizer(vocabulary, merges, unmade, ignore_merges=True)
    return byte_level_bpe(vocabulary, merges, added)


def special_places(vocabulary: Mapping[str, int], added: set[str]) -> list[str]:
    """The added tokens that have a place in the vocabulary."""
    return sorted(added & vocabulary.keys(), key=vocabulary.__getitem__)


def byte_level_bpe(
    vocabulary: Mapping[str, int], merges: list[tuple[str, str]], special: set[str]
) -> ByteLevelBPETokenizer:
    """The model, with those tokens as special ones that no merge makes: <s>, <|endoftext|>, and unused places."""
    made = {*ALPHABET, *(left + right for left, right in merges)}
    orphans = [token for token in vocabulary if token not in made]
    ordinary = [token for token in orphans if token not in special and token[:1] + token[-1:] not in ("<>", "[]")]
    # RoBERTa's vocabulary has three unused places; many more mean that merges are missing, and then the model says so
    return ByteLevelBPETokenizer(
        dict(vocabulary), merges, orphans if len(ordinary) <= 3 else sorted(special & {*orphans})
    )


def _model_to_json(model: Model) -> dict[str, Any]:
    if isinstance(model, Unigram):
        return model.to_json()
    if isinstance(model, ByteLevelBPETokenizer):
        settings = {"dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": ""}
        flags = {"fuse_unk": False, "byte_fallback": False, "ignore_merges": model.ignore_merges}
        return {
            "type": "BPE",
            **settings,
            **flags,
            "vocab": model.vocabulary,
            "merges": [list(m) for m in model.merges],
        }
    vocabulary = dict(sorted(model.vocabulary.items(), key=lambda item: item[1]))
    if isinstance(model, WordLevel):
        return {"type": "WordLevel", "vocab": vocabulary, "unk_token": model.unk_token}
    if not isinstance(model, WordPiece):
        raise InputError(f"a {type(model).__name__} model has no form in tokenizer.json")
    return {
        "type": "WordPiece",
        "unk_token": model.unk_token,
        "continuing_subword_prefix": model.continuing_subword_prefix,
        "max_input_chars_per_word": model.max_input_chars_per_word,
        "vocab": vocabulary,
    }
