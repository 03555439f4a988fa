"""Added tokens: texts such as [CLS] or <|endoftext|> that are found in a text before it is cut into words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from minilm.text.unicode.cleaning import refuse_surrogates
from minilm.text.words.gpt2_pattern import WHITESPACE

_WORD = re.compile(r"\w")
_SPACES = re.compile(f"[{WHITESPACE}]*")


@dataclass(frozen=True)
class AddedToken:
    """content: its text. single_word: only where no letter or digit touches it. lstrip, rstrip: it takes the
    whitespace before, after it along. normalized: it is looked for in the normalized text, as if it were normalized
    itself. special: left out by decode(..., skip_special_tokens=True).
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False

    def __str__(self) -> str:
        return self.content

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def as_special(token: AddedToken | str) -> AddedToken:
    """A special token of its text alone is not normalized."""
    return token if isinstance(token, AddedToken) else AddedToken(token, normalized=False, special=True)


class AddedTokens:
    """{id: AddedToken}, and where they stand in a text.

    normalize: what the normalizer makes of a token's text.
    """

    def __init__(self, tokens: dict[int, AddedToken], normalize: Callable[[str], str] = str) -> None:
        self.tokens = dict(sorted(tokens.items()))
        for token in tokens.values():
            refuse_surrogates(token.content)
        self.ids = {token.content: n for n, token in self.tokens.items()}
        self.special_ids = {n for n, token in self.tokens.items() if token.special}
        self._raw = _Finder((token.content, n) for n, token in self.tokens.items() if not token.normalized)
        self._normal = _Finder((normalize(token.content), n) for n, token in self.tokens.items() if token.normalized)

    def find(self, text: str, normalized: bool, split_special: bool = False) -> Iterable[tuple[int, int, int | None]]:
        """The text in parts (start, end, id), id None for what is no added token; none is empty.

        normalized: look for the tokens that are normalized, else for the others. split_special: not for special ones.
        """
        finder = self._normal if normalized else self._raw
        done = 0
        for match in finder.matches(text):
            start, end, n = match.start(), match.end(), finder.ids[match.group()]
            token = self.tokens[n]
            if split_special and token.special:
                continue
            if token.single_word and (_WORD.match(text[start - 1 : start]) or _WORD.match(text, end)):
                continue
            if token.lstrip:
                while start > done and _SPACES.fullmatch(text, start - 1, start):
                    start -= 1
            if token.rstrip:
                found = _SPACES.match(text, end)
                end = found.end() if found else end
            if done < start:
                yield done, start, None
            yield start, end, n
            done = end
        if done < len(text):
            yield done, len(text), None


class _Finder:
    """Finds any of some texts, the longest of those that begin at one place."""

    def __init__(self, texts: Iterable[tuple[str, int]]) -> None:
        self.ids = {text: n for text, n in texts if text}
        longest_first = sorted(self.ids, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def matches(self, text: str) -> Iterable[re.Match[str]]:
        return self._pattern.finditer(text) if self._pattern else ()
