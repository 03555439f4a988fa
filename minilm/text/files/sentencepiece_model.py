"""SentencePiece's own file, spiece.model: pieces with their scores, and what is done to a text first.

The file is one protobuf message, a row of fields; each begins with a number (field number · 8 + wire type):

    wire type 0   a varint: 7 bits per byte, the lowest first, the highest bit set where another byte follows
    wire type 1   8 bytes            wire type 5   4 bytes, for a float32
    wire type 2   a varint n, then n bytes: a text, bytes, or a message inside the message

    ModelProto       1 pieces (each a message)   2 trainer   3 normalizer
    piece            1 text   2 score   3 type: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
    trainer          3 kind of model: 1 Unigram, 2 BPE, 3 word, 4 character   24 ▁ behind a word   35 byte fallback
    normalizer       2 charsmap   3 ▁ before the text   4 one space for several   5 ▁ for a space

[https://protobuf.dev/programming-guides/encoding; sentencepiece_model.proto of https://github.com/google/sentencepiece]
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minilm.errors import InputError

LIMIT = 256 << 20  # bytes; the largest known, of 250,000 pieces, has 5 MB
VARINT, EIGHT, BLOCK, FOUR = 0, 1, 2, 5  # wire types
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
KINDS = {1: "Unigram", 2: "BPE", 3: "word", 4: "character"}
RESTORE = "copy it again from a good one"

Value = int | bytes


class DamagedFileError(Exception):
    """What is wrong with the bytes."""


@dataclass(frozen=True)
class SentencePieceModel:
    """pieces: (text, score, type), the place being the id. kind: "Unigram", "BPE", "word" or "character".

    precompiled_charsmap: base64, as in tokenizer.json; "" for none. add_dummy_prefix: ▁ before the text.
    remove_extra_whitespaces: one space for several, none at the ends. escape_whitespaces: ▁ for a space.
    """

    pieces: list[tuple[str, float, int]]
    kind: str = "Unigram"
    byte_fallback: bool = False
    whitespace_as_suffix: bool = False
    precompiled_charsmap: str = ""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True

    @property
    def unknown_id(self) -> int:
        """The place of the one piece of type unknown."""
        return next(n for n, (_, _, kind) in enumerate(self.pieces) if kind == UNKNOWN)

    def check_unigram(self, path: str | Path) -> None:
        """Raise InputError unless this is a Unigram model that cuts as T5's does."""
        problem = None
        if self.kind != "Unigram":
            problem = f"is a {self.kind} model"
        elif self.whitespace_as_suffix or not (
            self.add_dummy_prefix and self.remove_extra_whitespaces and self.escape_whitespaces
        ):
            problem = "treats spaces in another way than T5 (▁ before each word, one space for several)"
        else:
            other = next((text for text, _, kind in self.pieces if kind in (USER_DEFINED, UNUSED)), None)
            if other is not None:
                problem = f"has the user-defined or unused piece {other!r}"
        if problem:
            raise InputError(
                f"{path} {problem}, and minilm reads SentencePiece files of Unigram models as T5 has them; save the tokenizer "
                "once with transformers, which writes tokenizer.json"
            )


def read_sentencepiece(path: str | Path) -> SentencePieceModel:
    """The model in a file. Raises InputError for one that is missing, too large, damaged, or no SentencePiece model."""
    path = Path(path)
    try:
        if path.stat().st_size > LIMIT:
            raise InputError(f"{path} is larger than {LIMIT >> 20} MB, which no SentencePiece model is; {RESTORE}")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    try:
        return parse_sentencepiece(data)
    except DamagedFileError as error:
        raise InputError(f"{path} is no SentencePiece model, or damaged: {error}; {RESTORE}") from None


def parse_sentencepiece(data: bytes) -> SentencePieceModel:
    """The model in the bytes of a file; raises DamagedFileError."""
    pieces: list[tuple[str, float, int]] = []
    trainer: dict[int, Value] = {}
    normalizer: dict[int, Value] = {}
    for number, value in message(data):
        if number == 1:
            pieces.append(piece(block(value, "a piece")))
        elif number == 2:
            trainer.update(message(block(value, "the trainer's settings")))
        elif number == 3:
            normalizer.update(message(block(value, "the normalizer's settings")))
    check_pieces(pieces)
    kind = whole(trainer, 3, 1)
    if kind not in KINDS:
        raise DamagedFileError(f"its kind of model is {kind}")
    return SentencePieceModel(
        pieces,
        KINDS[kind],
        byte_fallback=flag(trainer, 35, False),
        whitespace_as_suffix=flag(trainer, 24, False),
        precompiled_charsmap=base64.b64encode(block(normalizer.get(2, b""), "the charsmap")).decode(),
        add_dummy_prefix=flag(normalizer, 3, True),
        remove_extra_whitespaces=flag(normalizer, 4, True),
        escape_whitespaces=flag(normalizer, 5, True),
    )


def check_pieces(pieces: list[tuple[str, float, int]]) -> None:
    if not pieces:
        raise DamagedFileError("it has no pieces")
    texts = [text for text, _, _ in pieces]
    if len(set(texts)) < len(texts):
        twice = next(text for n, text in enumerate(texts) if text in texts[:n])
        raise DamagedFileError(f"the piece {twice!r} is there twice")
    unknown = [text for text, _, kind in pieces if kind == UNKNOWN]
    if len(unknown) != 1:
        raise DamagedFileError(f"{len(unknown)} of its pieces stand for what is unknown, and there must be one")


def piece(data: bytes) -> tuple[str, float, int]:
    """Text, score and type of one piece."""
    values = dict(message(data))
    try:
        text = block(values.get(1, b""), "a piece's text").decode("utf-8")
    except UnicodeDecodeError:
        raise DamagedFileError("the text of a piece is no UTF-8") from None
    score = values.get(2, b"\0\0\0\0")
    if not isinstance(score, bytes) or len(score) != 4:
        raise DamagedFileError(f"the score of the piece {text!r} is no float32")
    number = struct.unpack("<f", score)[0]
    kind = whole(values, 3, NORMAL)
    if not text or not math.isfinite(number) or not NORMAL <= kind <= BYTE:
        raise DamagedFileError(f"a piece has the text {text!r}, the score {number} and the type {kind}")
    return text, number, kind


def message(data: bytes) -> Iterator[tuple[int, Value]]:
    """The fields of a message: (field number, value), whole numbers as int, everything else as its bytes."""
    place = 0
    while place < len(data):
        key, place = varint(data, place)
        number, wire = key >> 3, key & 7
        if number == 0 or wire not in (VARINT, EIGHT, BLOCK, FOUR):
            raise DamagedFileError(
                f"byte {place} begins a field of number {number} and kind {wire}, which do not exist"
            )
        if wire == VARINT:
            value, place = varint(data, place)
            yield number, value
            continue
        length = {EIGHT: 8, FOUR: 4}.get(wire)
        if length is None:
            length, place = varint(data, place)
        if length > len(data) - place:
            raise DamagedFileError(f"a field of {length} bytes does not fit in the {len(data) - place} that are left")
        yield number, data[place : place + length]
        place += length


def varint(data: bytes, place: int) -> tuple[int, int]:
    """The number at a place, and the place behind it."""
    value = 0
    for n, byte in enumerate(data[place : place + 10]):
        value |= (byte & 0x7F) << 7 * n
        if byte < 0x80:
            return value, place + n + 1
    raise DamagedFileError("a number is cut off, or longer than 10 bytes")


def block(value: Value, what: str) -> bytes:
    if not isinstance(value, bytes):
        raise DamagedFileError(f"{what} is a number where bytes were expected")
    return value


def whole(values: dict[int, Value], number: int, default: int) -> int:
    value = values.get(number, default)
    if not isinstance(value, int):
        raise DamagedFileError(f"field {number} is no whole number")
    return value


def flag(values: dict[int, Value], number: int, default: bool) -> bool:
    return bool(whole(values, number, default))
