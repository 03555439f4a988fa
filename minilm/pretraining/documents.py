"""From files to documents, from documents to sentences, and a part of them set aside.

Plain text: an empty line ends a document, and so does the end of a file. JSON lines: each line's "text" is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from minilm.data import open_corpus, split_examples
from minilm.errors import InputError
from minilm.text.unicode.cleaning import refuse_surrogates

EMPTY_LINE = re.compile(r"\n[^\S\n]*\n\s*")
SENTENCE_END = re.compile(r"\n|(?<=[.!?])\s+|(?<=[。！？])")
FEWEST_TO_DRAW = 20  # of fewer documents none is drawn: the end of the text is set aside


def read_texts(paths: Sequence[str], field: str) -> list[str]:
    """The text of each file, or of each line of a .jsonl file.

    Raises InputError for what is no such file: missing, empty, not UTF-8, a line that is no JSON or has no such field.
    """
    texts: list[str] = []
    for path in paths:
        if Path(path).suffix.lower() in (".jsonl", ".ndjson"):
            texts += json_texts(path, field)
        else:
            texts.append(open_corpus(path).read())
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise InputError(f"there is no text in {', '.join(paths)}; give files with text to learn from")
    return texts


def json_texts(path: str, field: str) -> Iterator[str]:
    """The text of each JSON line that is not empty."""
    for number, line in enumerate(open_corpus(path).read().split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number} is no JSON ({error}); mend or remove it") from error
        text = value.get(field) if isinstance(value, dict) else None
        if not isinstance(text, str):
            known = ", ".join(map(str, value)) if isinstance(value, dict) else f"a {type(value).__name__}"
            raise InputError(
                f"{path}, line {number} has no text under {field!r}, but {known or 'nothing'}; name the field with --text"
            )
        try:
            refuse_surrogates(text)
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from error
        yield text


def paragraphs(text: str) -> list[str]:
    """A text's documents: what stands between empty lines."""
    return [part for part in map(str.strip, EMPTY_LINE.split(text)) if part]


def sentences(document: str) -> list[str]:
    """A document's sentences: its lines, and where a mark ends a sentence within a line."""
    return [part for part in map(str.strip, SENTENCE_END.split(document)) if part]


def set_aside(documents: Sequence[str], fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """(training, validation): documents drawn, or where there are few of them the end of the last ones.

    Raises InputError if one of the two would be empty.
    """
    if len(documents) >= FEWEST_TO_DRAW:
        training, validation = split_examples(documents, (1 - fraction, fraction), seed=seed)
        return training, validation
    left = max(1, round(fraction * sum(map(len, documents))))  # characters that validation is to have
    training, validation = list(documents), []
    while training and left > 0:
        last = training.pop()
        if len(last) <= left:
            validation.insert(0, last)
            left -= len(last)
            continue
        place = cut_place(last, len(last) - left)
        training += [last[:place]] if last[:place].strip() else []
        validation.insert(0, last[place:])
        left = 0
    if not training or not any(text.strip() for text in validation):
        raise InputError(
            f"a text of {sum(map(len, documents))} characters is too short to set {fraction:g} of it aside for validation; "
            "give more text, or a file for --validation"
        )
    return training, validation


def cut_place(text: str, wanted: int) -> int:
    """Where to cut a text near a place: behind the line break, the sentence or the space before it."""
    for mark in ("\n", ". ", "。", " "):
        place = text.rfind(mark, wanted // 2, wanted)
        if place >= 0:
            return place + len(mark)
    return wanted
