"""From the bytes of a file to pieces of text, without ever holding the file.

    bytes --decode_blocks--> str (--tsv_column--> str) --regroup--> chunks of one length

A chunk may end anywhere, inside a word too. That is no loss: a tokenizer's `encode_chunks` gives the ids of the whole
text wherever it was cut (byte-level BPE holds a chunk's last words back until it has seen how they go on).
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from minilm.data.encodings import binary_error, cannot_read, encoding_error
from minilm.errors import InputError

OpenBinary = Callable[[], BinaryIO]


def decode_blocks(open_binary: OpenBinary, label: str, block_bytes: int) -> Iterator[str]:
    r"""Yield the UTF-8 text of a file, `block_bytes` at a time.

    A byte order mark at the beginning is dropped; \r\n and a lone \r become \n, also where a block ends inside \r\n.

    Raises InputError that names byte and line for bytes that are not UTF-8, and for a NUL, which no text has.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    offset, at_start = 0, True
    try:
        with open_binary() as stream:
            while True:
                block = stream.read(block_bytes)
                if b"\0" in block:
                    raise binary_error(label, f"a NUL byte at byte {offset + block.index(0):,}")
                pending = len(decoder.getstate()[0])  # bytes of a character that began in the block before
                try:
                    text = decoder.decode(block, final=not block)
                except UnicodeDecodeError as error:
                    raise encoding_error(open_binary, label, offset - pending + error.start) from None
                offset += len(block)
                if at_start and text:
                    text, at_start = text.removeprefix("\ufeff"), False
                text = newlines.decode(text, final=not block)
                if text:
                    yield text
                if not block:
                    return
    except OSError as error:
        raise cannot_read(label, error) from error


def tsv_column(pieces: Iterable[str], column: int, label: str) -> Iterator[str]:
    """Yield one column (counted from 1) of a table with tabs between its columns, a line for every row.

    A row whose cell equals the row's before it is passed over: a table of sentence pairs repeats a sentence for each of
    its translations, and a language model would only learn to say everything twice.
    """
    carry, line_number, previous = "", 0, None
    for piece in pieces:
        *lines, carry = (carry + piece).split("\n")
        cells = []
        for line in lines:
            line_number += 1
            cell = cell_of(line, column, line_number, label)
            if cell != previous:
                cells.append(cell + "\n")
            previous = cell
        if cells:
            yield "".join(cells)
    if carry:
        cell = cell_of(carry, column, line_number + 1, label)
        if cell != previous:
            yield cell + "\n"


def cell_of(line: str, column: int, line_number: int, label: str) -> str:
    cells = line.split("\t")
    if len(cells) < column:
        raise InputError(
            f"{label} has {len(cells)} columns in line {line_number}, but its text is in column {column};"
            " the file is damaged: fetch it again"
        )
    return cells[column - 1]


def regroup(pieces: Iterable[str], chunk_characters: int) -> Iterator[str]:
    """Yield the same text in chunks of just `chunk_characters`, the last one maybe shorter."""
    if chunk_characters < 1:
        raise InputError(f"chunk_characters is {chunk_characters}; give a positive number, such as {1 << 20}")
    parts: list[str] = []
    length = 0
    for piece in pieces:
        parts.append(piece)
        length += len(piece)
        if length < chunk_characters:
            continue
        text = "".join(parts)
        rest = length - length % chunk_characters
        for start in range(0, rest, chunk_characters):
            yield text[start : start + chunk_characters]
        parts, length = [text[rest:]], length - rest
    if length:
        yield "".join(parts)
