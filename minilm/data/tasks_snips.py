"""SNIPS: commands to an assistant, each with its intent, cut into chunks of which some fill a slot.

    {"intent": "PlayMusic", "chunks": [{"text": "play "}, {"text": "Hey Jude", "entity": "track"}]}

Coucke and others, "Snips Voice Platform", 2018; the data are CC0.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from minilm.data.tables import cell, read_rows, text_cell
from minilm.data.tasks import TextExample, TokensExample
from minilm.data.tasks_files import fault, no_examples


class Chunk(NamedTuple):
    """A piece of a command, and the slot it fills or None."""

    text: str
    slot: str | None


class Command(NamedTuple):
    """A line of the file."""

    intent: str
    chunks: tuple[Chunk, ...]


def read_snips_intents(path: str | Path) -> list[TextExample]:
    """The commands with their intents as labels, for classification.

    Raises InputError, with file and line, for a file that cannot be read and for a line that is not as above.
    """
    return [
        TextExample("".join(chunk.text for chunk in command.chunks).strip(), command.intent)
        for command in read_commands(path)
    ]


def read_snips_slots(path: str | Path) -> list[TokensExample]:
    """The commands as tokens with their slots as tags in BIO: play O, Hey B-track, Jude I-track.

    Tokens are what stands between spaces, cut also where a slot begins or ends. Raises InputError as
    `read_snips_intents` does.
    """
    examples = []
    for command in read_commands(path):
        tokens: list[str] = []
        tags: list[str] = []
        for text, slot in command.chunks:
            words = text.split()
            tokens += words
            tags += ["O" if slot is None else f"I-{slot}" if n else f"B-{slot}" for n in range(len(words))]
        examples.append(TokensExample(tuple(tokens), tuple(tags)))
    return examples


def read_commands(path: str | Path) -> list[Command]:
    """All lines of the file, checked."""
    commands = []
    for row in read_rows(path, None, "jsonl"):
        intent, pieces = text_cell(path, row, "intent"), cell(path, row, "chunks")
        if not isinstance(pieces, list):
            raise fault(path, row.line, f"its chunks are {type(pieces).__name__} instead of a list")
        chunks = []
        for n, piece in enumerate(pieces):
            text = piece.get("text") if isinstance(piece, dict) else None
            slot = piece.get("entity") if isinstance(piece, dict) else None
            if not isinstance(text, str) or not (slot is None or (isinstance(slot, str) and slot.strip())):
                raise fault(
                    path, row.line, f'chunk {n} is not {{"text": string}}, with "entity": string if it fills one'
                )
            chunks.append(Chunk(text, slot))
        if not any(chunk.text.strip() for chunk in chunks):
            raise fault(path, row.line, "its chunks have no text; fill them in or remove the line")
        commands.append(Command(intent, tuple(chunks)))
    if not commands:
        raise no_examples(path, "objects with an intent and chunks")
    return commands
