"""Saying what is wrong with a file that is not UTF-8 text, and how to mend it."""

from __future__ import annotations

import codecs
import shlex
from collections.abc import Callable
from typing import BinaryIO

from minilm.errors import InputError

HEAD = 1 << 16  # as much of a file as is looked at to judge it
TEXT_CONTROLS = b"\b\t\n\v\f\r\x1b"  # control characters that texts do have
BYTE_ORDER_MARKS = (  # UTF-32 first: its little-endian mark begins with UTF-16's
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def check_head(open_binary: Callable[[], BinaryIO], label: str) -> None:
    """Raise InputError if the file's beginning shows that it is empty, UTF-16 or UTF-32, or no text at all."""
    try:
        with open_binary() as stream:
            head = stream.read(HEAD)
    except OSError as error:
        raise cannot_read(label, error) from error
    if not head:
        raise InputError(f"{label} is empty; give a file with text in it")
    for mark, encoding in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            raise wrong_encoding(label, encoding, 0, 1)
    nul = head.find(b"\0")
    if nul >= 0:
        encoding_without_mark = utf16_without_mark(head)
        if encoding_without_mark:
            raise wrong_encoding(label, encoding_without_mark, nul, head.count(b"\n", 0, nul) + 1)
        raise binary_error(label, f"a NUL byte at byte {nul:,}")
    controls = sum(byte < 32 and byte not in TEXT_CONTROLS for byte in head)
    if controls > len(head) // 10:
        raise binary_error(label, f"{controls:,} control characters in its first {len(head):,} bytes")


def utf16_without_mark(head: bytes) -> str | None:
    """English in UTF-16 has a NUL in every second byte: return which UTF-16, or None if it is not that."""
    half = max(len(head) // 2, 1)
    even, odd = head[0::2].count(0) / half, head[1::2].count(0) / half
    if odd > 0.3 and even < 0.05:
        return "UTF-16LE"
    if even > 0.3 and odd < 0.05:
        return "UTF-16BE"
    return None


def encoding_error(open_binary: Callable[[], BinaryIO], label: str, offset: int) -> InputError:
    """The error for bytes at `offset` that are not UTF-8: finds the line and guesses the encoding from the file."""
    line, seen_utf8 = 1, False
    with open_binary() as stream:
        left = offset
        while left > 0:
            block = stream.read(min(left, 1 << 20))
            if not block:
                break
            line += block.count(b"\n")
            seen_utf8 = seen_utf8 or not block.isascii()
            left -= len(block)
        sample = stream.read(HEAD)
    if seen_utf8:  # up to here it was UTF-8, and not only ASCII: damaged, then, rather than of another encoding
        return InputError(
            f"{label} is not UTF-8 throughout: after text that is, byte {offset:,} (line {line:,}) cannot be read; mend"
            f" it, or drop what is not UTF-8: iconv -c -f UTF-8 -t UTF-8 {shlex.quote(label)} > clean.txt"
        )
    return wrong_encoding(label, guess_encoding(sample), offset, line)


def guess_encoding(sample: bytes) -> str:
    """Guess the encoding of bytes that are not UTF-8: GB18030 (Chinese), CP1252 (Windows) or LATIN1."""
    high = sum(byte >= 0x80 for byte in sample)
    if high > len(sample) / 5:  # in a European text the letters with accents are fewer
        try:
            codecs.getincrementaldecoder("gb18030")("strict").decode(sample)
            return "GB18030"
        except UnicodeDecodeError:
            pass
    return "CP1252" if any(0x80 <= byte < 0xA0 for byte in sample) else "LATIN1"


def wrong_encoding(label: str, encoding: str, offset: int, line: int) -> InputError:
    return InputError(
        f"{label} is not UTF-8: byte {offset:,} (line {line:,}) cannot be read, and it looks like {encoding};"
        f" convert it first: iconv -f {encoding} -t UTF-8 {shlex.quote(label)} > utf8.txt"
    )


def binary_error(label: str, evidence: str) -> InputError:
    return InputError(f"{label} is no text file ({evidence}); give a plain text file in UTF-8")


def cannot_read(label: str, error: OSError) -> InputError:
    if isinstance(error, PermissionError):
        advice = f"allow it with: chmod u+r {shlex.quote(label)}, or give another file"
    else:
        advice = "check the disk and the file, or give another file"
    return InputError(f"cannot read {label}: {error.strerror or error}; {advice}")
