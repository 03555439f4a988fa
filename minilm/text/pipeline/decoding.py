"""Decoders: from tokens back to text.

Each takes the tokens as they stand in the vocabulary and gives the pieces of text that are joined.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from minilm.text.unicode.byte_map import CHARACTER_TO_BYTE

# What is taken back after spaces have been put between all tokens, in this order.
_CLEANUPS = [
    *[(" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m")],
    *[(" 's", "'s"), (" 've", "'ve"), (" 're", "'re")],
]


class Decoder(Protocol):
    def __call__(self, tokens: list[str]) -> list[str]: ...


def clean_up(text: str) -> str:
    """Spaces before punctuation and contractions go: "do n't , he 's ." → "don't, he's." """
    for old, new in _CLEANUPS:
        text = text.replace(old, new)
    return text


@dataclass(frozen=True)
class WordPieceDecoder:
    """A space before every token but the first, unless it begins with the prefix, which goes.

    cleanup: then `clean_up`, token by token.
    """

    prefix: str = "##"
    cleanup: bool = True

    def __call__(self, tokens: list[str]) -> list[str]:
        p = self.prefix
        out = [
            token[len(p) :] if n and token.startswith(p) else " " * (n > 0) + token for n, token in enumerate(tokens)
        ]
        # the Rust package also makes "don't" of "do not" here, which a token has only if it was added so
        return [clean_up(token.replace(" do not", " don't")) for token in out] if self.cleanup else out


@dataclass(frozen=True)
class ByteLevelDecoder:
    """Visible characters to bytes to text; a token with a character that is no byte's stands for its own UTF-8."""

    def __call__(self, tokens: list[str]) -> list[str]:
        return [b"".join(map(_bytes, tokens)).decode("utf-8", "replace")]


def _bytes(token: str) -> bytes:
    try:
        return bytes([CHARACTER_TO_BYTE[character] for character in token])
    except KeyError:
        return token.encode()


@dataclass(frozen=True)
class MetaspaceDecoder:
    """ "▁" becomes a space, and those of the first token go if one was put there."""

    replacement: str = "▁"
    prepend_scheme: str = "always"
    split: bool = True

    def __call__(self, tokens: list[str]) -> list[str]:
        gone = self.prepend_scheme != "never"
        return [token.replace(self.replacement, "" if n == 0 and gone else " ") for n, token in enumerate(tokens)]


@dataclass(frozen=True)
class ReplaceDecoder:
    """`content` for every `pattern` in each token."""

    pattern: str
    content: str
    regex: bool = False

    def __call__(self, tokens: list[str]) -> list[str]:
        pattern = re.compile(self.pattern if self.regex else re.escape(self.pattern))
        return [pattern.sub(lambda match: self.content, token) for token in tokens]


@dataclass(frozen=True)
class Fuse:
    """All tokens as one."""

    def __call__(self, tokens: list[str]) -> list[str]:
        return ["".join(tokens)]


@dataclass(frozen=True)
class ByteFallback:
    """<0x41> and the like become the bytes they name, a run of them at a time; bytes that are no UTF-8 become U+FFFD."""

    def __call__(self, tokens: list[str]) -> list[str]:
        out: list[str] = []
        run = bytearray()
        for token in [*tokens, ""]:
            if re.fullmatch("<0x[0-9A-Fa-f]{2}>", token):
                run.append(int(token[3:5], 16))
                continue
            if run:
                try:
                    out.append(run.decode())
                except UnicodeDecodeError:
                    out += ["\ufffd"] * len(run)
                run.clear()
            out.append(token)
        return out[:-1]


@dataclass(frozen=True)
class StripDecoder:
    """Up to `start` of the character at the beginning of each token and `stop` at its end go."""

    content: str
    start: int
    stop: int

    def __call__(self, tokens: list[str]) -> list[str]:
        c = re.escape(self.content)
        pattern = re.compile(f"^(?:{c}){{0,{self.start}}}|(?:{c}){{0,{self.stop}}}$")
        return [pattern.sub("", token) for token in tokens]


@dataclass(frozen=True)
class DecoderSequence:
    """One after the other."""

    decoders: Sequence[Decoder]

    def __call__(self, tokens: list[str]) -> list[str]:
        for decoder in self.decoders:
            tokens = decoder(tokens)
        return tokens
