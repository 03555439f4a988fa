"""GPT-2's way to write any byte as one visible character, and back.

A byte-level tokenizer's pieces are bytes, which a JSON or text file cannot hold. So each of the 256 bytes gets a
character of its own: the visible ones of Latin-1 stand for themselves ("a" is byte 0x61), and the other 68 take
U+0100, U+0101, ... in order. The space, byte 0x20, becomes "Ġ" (U+0120), the line feed becomes "Ċ" (U+010A).
"""

from __future__ import annotations


def _byte_characters() -> list[str]:
    """Character of byte 0, of byte 1, ..., of byte 255."""
    characters, free = [], 256
    for byte in range(256):
        visible = 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or 0xAE <= byte <= 0xFF
        characters.append(chr(byte if visible else free))
        free += not visible
    return characters


BYTE_TO_CHARACTER = _byte_characters()
CHARACTER_TO_BYTE = {character: byte for byte, character in enumerate(BYTE_TO_CHARACTER)}
ALPHABET = sorted(BYTE_TO_CHARACTER)  # GPT-2 numbers the bytes in this order: "!" is token 0


def to_printable(piece: bytes) -> str:
    """b" cat" → "Ġcat"."""
    return "".join([BYTE_TO_CHARACTER[byte] for byte in piece])


def to_bytes(printable: str) -> bytes:
    """ "Ġcat" → b" cat". Raises KeyError for a character that stands for no byte."""
    return bytes([CHARACTER_TO_BYTE[character] for character in printable])
