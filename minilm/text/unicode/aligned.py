"""Text that has been changed, and for each of its characters the place in the given text that it came from.

    given      Ḗa b      É is one character, and so are the space and a
    lowered    ḗa b      places 0 1 2 3
    decomposed ḗa b    places 0 0 0 1 2 3   (e and its two marks all came from character 0)

A tokenizer cuts the changed text, but a reader wants to know where a token stands in what was given: `spans` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import NamedTuple

import numpy as np


class CharacterTable(dict[str, str]):
    """What each character becomes, worked out when the character is first met."""

    def __init__(self, function: Callable[[str], str]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, character: str) -> str:
        self[character] = result = self._function(character)
        return result


class AlignedText(NamedTuple):
    """text: as it is now. places: (len(text),) the position in the given text of the character each came from."""

    text: str
    places: np.ndarray

    @classmethod
    def of(cls, text: str) -> AlignedText:
        """A text that is as it was given."""
        return cls(text, np.arange(len(text)))

    def cut(self, start: int, end: int) -> AlignedText:
        return AlignedText(self.text[start:end], self.places[start:end])

    def map(self, table: Mapping[str, str]) -> AlignedText:
        """Write table[character], of any length, for each character; what is written has that character's place."""
        pieces = [*map(table.__getitem__, self.text)]
        lengths = np.fromiter(map(len, pieces), np.intp, len(pieces))
        return AlignedText("".join(pieces), np.repeat(self.places, lengths))

    def transform(self, changes: Iterable[tuple[str, int]]) -> AlignedText:
        """A text told character by character, each with its change against this one.

        0: it takes the place of the next character. 1: it is new, and has the place of the character before the next.
        -n: it takes the place of the next character, and the n after that are gone.
        """
        characters, sources, position = [], [], 0
        for character, change in changes:
            characters.append(character)
            sources.append(max(position - 1, 0) if change > 0 else position)
            position += 0 if change > 0 else 1 - change
        return AlignedText("".join(characters), self.places[np.array(sources, np.intp)])

    def prepend(self, prefix: str) -> AlignedText:
        """`prefix` before the text, with the place of its first character; an empty text stays empty."""
        if not self.text:
            return self
        return AlignedText(prefix + self.text, np.concatenate([np.repeat(self.places[:1], len(prefix)), self.places]))

    def spans(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """(n, 2): from where to where in the given text the pieces [start, end) of this text reach; none is empty."""
        spans = np.empty((len(starts), 2), np.int64)
        spans[:, 0], spans[:, 1] = self.places[starts], self.places[ends - 1] + 1
        return spans


def join(parts: Iterable[AlignedText]) -> AlignedText:
    """One text after the other, all of them parts of one given text."""
    parts = list(parts)
    places = [part.places for part in parts]
    return AlignedText("".join(part.text for part in parts), np.concatenate([np.empty(0, np.intp), *places]))


def concatenated(lists: Iterable[list[int]]) -> np.ndarray:
    """Many short lists of numbers as one array."""
    return np.fromiter(chain.from_iterable(lists), np.int64)
