r"""SentencePiece's precompiled charsmap: which strings are replaced by which, in one block of bytes ("Precompiled").

    bytes 0–3      n, the size of the trie in bytes, little-endian
    the next n     a double-array trie (Darts): 32-bit units, little-endian
    the rest       replacement strings, UTF-8, each ended by a zero byte

The trie maps a string's bytes to the place of its replacement among the strings. A double-array trie keeps all nodes
in one array: the child of the node at place i for the byte b is at

    i ⊕ offset(unit_i) ⊕ b,      if the label written in that unit is b,

so walking one byte is one look. A unit's 32 bits are, from the lowest:

    label 0–7 · has_leaf 8 · offset scale 9 · offset 10–30 · is_value 31

offset(unit) = (unit >> 10) << 8 if bit 9 is set, else unit >> 10. If has_leaf is set, a key ends at this node, and the
unit at i ⊕ offset holds its value in bits 0–30.

Sources: the layout of darts-clone by Yata; SentencePiece's normalizer.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from functools import lru_cache

import numpy as np

from minilm.errors import InputError
from minilm.text.unicode.aligned import AlignedText

LONGEST_CLUSTER = 5  # bytes: a cluster of more is looked at character by character


Change = tuple[str, int]  # as in AlignedText.transform


class Precompiled:
    """The normalizer with one charsmap.

    precompiled_charsmap: base64, as it stands in tokenizer.json. Raises InputError for what is no charsmap.
    """

    def __init__(self, precompiled_charsmap: str) -> None:
        self.precompiled_charsmap = precompiled_charsmap
        if not isinstance(precompiled_charsmap, str):
            raise InputError(
                'a Precompiled normalizer needs "precompiled_charsmap", a base64 text; the file is damaged'
            )
        try:
            block = base64.b64decode(precompiled_charsmap, validate=True)
        except ValueError as error:
            raise InputError(f"the precompiled charsmap is no base64 text ({error}); the file is damaged") from None
        size = int.from_bytes(block[:4], "little")
        if len(block) < 8 or size % 4 or not 4 <= size <= len(block) - 4:
            raise InputError(
                f"the precompiled charsmap is damaged: its {len(block)} bytes do not hold the trie they name"
            )
        self._units = np.frombuffer(block[4 : 4 + size], "<u4").tolist()
        self._strings = block[4 + size :]
        self._replacements: dict[str, str | None] = {}  # of texts that were looked up

    def replacement(self, text: str) -> str | None:
        """What the shortest beginning of `text` that is a key becomes; None if no beginning is one."""
        if text not in self._replacements:
            if len(self._replacements) > 100_000:
                self._replacements.clear()
            self._replacements[text] = self._look_up(text.encode())
        return self._replacements[text]

    def _look_up(self, key: bytes) -> str | None:
        units = self._units
        place = 0
        for byte in key:
            place ^= _offset(units[place]) ^ byte
            if byte == 0 or place >= len(units) or units[place] & 0x800000FF != byte:
                return None
            if units[place] >> 8 & 1:
                leaf = place ^ _offset(units[place])
                if leaf >= len(units):
                    raise InputError("the precompiled charsmap is damaged: its trie points outside itself")
                return self._string(units[leaf] & 0x7FFFFFFF)
        return None

    def _string(self, start: int) -> str:
        end = self._strings.find(b"\0", start)
        text = self._strings[start : end if end >= 0 else None]
        if start > len(self._strings):
            raise InputError("the precompiled charsmap is damaged: a replacement is outside it")
        try:
            return text.decode()
        except UnicodeDecodeError:
            raise InputError("the precompiled charsmap is damaged: a replacement is no UTF-8") from None

    def __call__(self, aligned: AlignedText) -> AlignedText:
        """Replace, as the Rust package `tokenizers` does: short clusters whole, else character by character.

        A cluster is what a reader takes for one character, as an e with its accent. If it has at most 5 bytes and its
        beginning is a key, the whole cluster becomes that key's replacement, whatever else it holds.
        """
        text = aligned.text
        present = set(text)
        mapped = {character: new for character in present if (new := self.replacement(character)) is not None}
        joining = present & _joining()
        if not joining and "\r\n" not in text and all(len(new) == 1 for new in mapped.values()):
            return aligned._replace(text=text.translate({ord(old): new for old, new in mapped.items()}))
        # Only what stands beside a character that changes or joins is looked at; most of a text does not.
        active = re.escape("".join(sorted(mapped.keys() | joining | ({"\r", "\n"} & present))))
        out: list[str] = []
        places: list[np.ndarray] = []
        done = shift = 0
        for match in re.finditer(f"(?:[^{active}]?[{active}]+)+[^{active}]?", text):
            changes = self._changes(match.group())
            zone, consumed = _places(changes)
            out += [text[done : match.start()], "".join(character for character, _ in changes)]
            places += [np.arange(done, match.start()) - shift, zone + match.start() - shift]
            shift += len(match.group()) - consumed  # not 0 only where `_replace` did not record a removal
            done = match.end()
        out.append(text[done:])
        places.append(np.arange(done, len(text)) - shift)
        return AlignedText("".join(out), aligned.places[np.concatenate(places)])

    def _changes(self, text: str) -> list[Change]:
        changes: list[Change] = []
        for cluster in _clusters(text):
            whole = self.replacement(cluster) if len(cluster.encode()) <= LONGEST_CLUSTER else None
            for old, new in [(cluster, whole)] if whole is not None else [(c, self.replacement(c)) for c in cluster]:
                if new is None:
                    changes.append((old, 0))
                else:
                    _replace(changes, old, new)
        return changes


def _offset(unit: int) -> int:
    return unit >> 10 << ((unit & 0x200) >> 6)


def _places(changes: list[Change]) -> tuple[np.ndarray, int]:
    """Where each new character comes from, and how many old ones there were."""
    change = np.array([change for _, change in changes], np.intp)
    before = np.cumsum(1 - change) - (1 - change)
    return np.where(change > 0, np.maximum(before - 1, 0), before), int((1 - change).sum())


def _replace(changes: list[Change], old: str, new: str) -> None:
    """Write `new` in the place of `old`: longer, and its last characters are added; shorter, and its last one removes.

    Where nothing is written, the character before removes (and a removal at the very start is not recorded at all,
    which moves the places after it: the Rust package does that, and so its offsets are kept).
    """
    more = len(new) - len(old)
    changes += [(character, 0) for character in new]
    if more > 0:
        changes[-more:] = [(character, 1) for character, _ in changes[-more:]]
    elif more < 0 and changes:
        character, change = changes[-1]
        changes[-1] = (character, change + more)


def _clusters(text: str) -> list[str]:
    """The clusters of `text` (Unicode's extended grapheme clusters, as far as they can have at most 5 bytes)."""
    return _cluster_pattern().findall(text)


@lru_cache(1)
def _marks() -> frozenset[str]:
    """Characters that belong to the one before them."""
    marks = [chr(n) for n in range(0x20000) if unicodedata.category(chr(n))[0] == "M" and n not in _NO_MARK]
    return frozenset(marks + [chr(n) for n in _MORE_MARKS])


@lru_cache(1)
def _joining() -> frozenset[str]:
    """Characters that belong to the one before or after them."""
    return _marks() | set(map(chr, _PREFIXES))


@lru_cache(1)
def _cluster_pattern() -> re.Pattern[str]:
    """\\r\\n, or a control character alone, or a character with the prefixes before it and the marks after it."""
    controls = [
        chr(n)
        for n in range(0x20000)
        if (category := unicodedata.category(chr(n))) in ("Cc", "Zl", "Zp")
        or (category == "Cf" and n not in _NO_CONTROL)
    ]
    mark, control, prefix = (re.escape("".join(sorted(c))) for c in (_marks(), controls, map(chr, _PREFIXES)))
    return re.compile(f"\r\n|[{control}]|[{prefix}]*[^{control}{prefix}][{mark}]*|[{prefix}]+[{mark}]*", re.DOTALL)


_PREFIXES = [*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0xD4E, 0x110BD, 0x110CD]
_MORE_MARKS = [0x200C, 0x200D, 0xE33, 0xEB3, 0xFF9E, 0xFF9F, *range(0x1F3FB, 0x1F400), *range(0xE0020, 0xE0080)]
_NO_CONTROL = {0x200C, 0x200D, *_PREFIXES}
# spacing marks that stand alone (Unicode's list of exceptions to SpacingMark)
_NO_MARK = {
    *[0x102B, 0x102C, 0x1038, *range(0x1062, 0x1065), *range(0x1067, 0x106E), 0x1083, *range(0x1087, 0x108D), 0x108F],
    *[*range(0x109A, 0x109D), 0x1A61, 0x1A63, 0x1A64, 0xAA7B, 0xAA7D, 0x11720, 0x11721],
}
