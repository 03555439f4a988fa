r"""Pre-tokenization: GPT-2's cut of a text into words, before any pair of bytes is merged.

The pattern, as GPT-2 published it for the `regex` package:

    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+

so an English contraction, or a run of letters, of digits or of anything else, each with the one space before it, or a
run of whitespace that leaves its last character to the word that follows. No character is lost: the words joined are
the text again.

Python's own `re` has no \p{L} (any letter) and \p{N} (any number), and its \s takes four control characters (U+001C to
U+001F) for whitespace that Unicode does not. So the three classes are written out here as ranges of code points.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby

WHITESPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's White_Space

# Letters and numbers that came with Unicode 15.0, 15.1 and 16.0. Python 3.11 knows Unicode 14, Python 3.14 knows 16:
# with these the same text gives the same ids on all of them.
LATER_LETTERS = """
1c89-1c8a a7cb-a7cd a7da-a7dc 105c0-105f3 10d4a-10d65 10d6f-10d85 10ec2-10ec4 1123f-11240 11380-11389 1138b 1138e
11390-113b5 113b7 113d1 113d3 11bc0-11be0 11f02 11f04-11f10 11f12-11f33 1342f 13441-13446 13460-143fa 16100-1611d
16d40-16d6c 18cff 1b132 1b155 1df25-1df2a 1e030-1e06d 1e4d0-1e4eb 1e5d0-1e5ed 1e5f0 2b739 2ebf0-2ee5d 31350-323af"""
LATER_NUMBERS = """
10d40-10d49 116d0-116e3 11bf0-11bf9 11f50-11f59 16130-16139 16d70-16d79 1ccf0-1ccf9 1d2c0-1d2d3 1e4f0-1e4f9
1e5f1-1e5fa"""

LAST_LETTER = 0x3FFFF  # planes 4 to 16 hold no letters and no numbers


def pretokenize(text: str, special: re.Pattern[str] | None = None) -> list[str]:
    """Cut `text` into GPT-2's words: "I'll be 20, OK?" → ["I", "'ll", " be", " 20", ",", " OK", "?"].

    special: a pattern with one capturing group around all of it (`special_pattern`); what it matches is a word by
    itself, and the text before and after is cut as if the other were not there.
    """
    find_words = _gpt2_pattern().findall
    if special is None:
        return find_words(text)
    words = []
    for n, piece in enumerate(special.split(text)):  # the odd pieces are what the group matched
        if n % 2:
            words.append(piece)
        else:
            words += find_words(piece)
    return words


def pretokenize_chunks(
    chunks: Iterable[str], special: re.Pattern[str] | None = None, hold: int = 2
) -> Iterator[list[str]]:
    """The words of all chunks joined, a list per chunk, whatever the places where the chunks were cut.

    A word may go on in the next chunk, so the words at the end of a chunk wait until that is there. The pattern looks
    at most two characters ahead (the "ve" of "'ve"): words that end `hold` = 2 characters before the end are final.
    With special tokens, `hold` is the length of the longest one plus 1.
    """
    rest = ""
    for chunk in chunks:
        rest += chunk
        words = pretokenize(rest, special)
        held = 0
        while words and held < hold:
            held += len(words.pop())
        rest = rest[len(rest) - held :]
        yield words
    yield pretokenize(rest, special)


def special_pattern(tokens: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern that finds any of the special tokens, the longest first; None if there are none."""
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if longest_first else None


@cache
def _gpt2_pattern() -> re.Pattern[str]:
    """The pattern above with its classes written out; built once in a process, in about a tenth of a second."""
    letters = _ranges("L") + parse_ranges(LATER_LETTERS)
    numbers = _ranges("N") + parse_ranges(LATER_NUMBERS)
    L, N, s = _inside_brackets(letters), _inside_brackets(numbers), WHITESPACE
    return re.compile(rf"'(?:[stmd]|re|ve|ll)| ?[{L}]+| ?[{N}]+| ?[^{s}{L}{N}]+|[{s}]+(?![^{s}])|[{s}]+")


def _ranges(major: str) -> list[tuple[int, int]]:
    """First and last code point of each run of characters whose Unicode category starts with `major`."""
    categories = map(unicodedata.category, map(chr, range(LAST_LETTER + 1)))
    ranges, start = [], 0
    for wanted, run in groupby(categories, lambda category: category[0] == major):
        end = start + sum(1 for _ in run)
        if wanted:
            ranges.append((start, end - 1))
        start = end
    return ranges


def parse_ranges(table: str) -> list[tuple[int, int]]:
    """ "1c89-1c8a 1138b" → [(0x1C89, 0x1C8A), (0x1138B, 0x1138B)]."""
    ends = [entry.split("-") for entry in table.split()]
    return [(int(pair[0], 16), int(pair[-1], 16)) for pair in ends]


def _inside_brackets(ranges: list[tuple[int, int]]) -> str:
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)
