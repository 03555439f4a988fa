"""CoNLL files: a token and its tag a line, a blank line between sentences.

    Alice B-PER
    lives O
    in O
    New B-LOC
    York I-LOC

Two ways of marking entities are in use. BIO (also IOB2): every entity begins with B. IOB1, the older: entities are
marked I, and B stands only at one that follows at once another of its own type. minilm works with BIO.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from minilm.data.tasks import TokensExample
from minilm.data.tasks_files import fault, file_lines, no_examples, read_file
from minilm.errors import InputError

SCHEMES = ("BIO", "IOB1", "any")


def read_conll(
    path: str | Path, *, scheme: str = "BIO", token_column: int = 0, tag_column: int = -1
) -> list[TokensExample]:
    """The sentences of a CoNLL file; columns stand between tabs or else between spaces.

    scheme: how the file marks entities: "BIO"; "IOB1", which is converted to BIO; or "any" for tags that mark no
    entities, such as parts of speech.
    token_column, tag_column: which columns to take, counted from 0, or from −1 at the end.

    Lines that begin with -DOCSTART- mark documents and are passed over. Raises InputError, with file and line, for a
    file that cannot be read, a line with more or fewer columns than the first, a tag that is none of the scheme, and,
    in BIO, an I- that continues nothing (then the file is likely IOB1).
    """
    if scheme not in SCHEMES:
        raise InputError(f"there is no tagging scheme {scheme!r}; give 'BIO', 'IOB1', or 'any' for other tags")
    examples: list[TokensExample] = []
    tokens: list[str] = []
    tags: list[str] = []
    width = 0
    for line, text in [*file_lines(read_file(path)), (0, "")]:
        cells = split_columns(text)
        if cells and cells[0] == "-DOCSTART-":
            continue
        if not cells:
            if tokens:
                examples.append(TokensExample(tuple(tokens), tuple(iob1_to_bio(tags) if scheme == "IOB1" else tags)))
                tokens, tags = [], []
            continue
        width = width or len(cells)
        check_columns(path, line, cells, width, token_column, tag_column)
        tag = cells[tag_column]
        if scheme != "any":
            check_tag(path, line, tag, tags[-1] if tags else "O", scheme)
        tokens.append(cells[token_column])
        tags.append(tag)
    if not examples:
        raise no_examples(path, "lines with a token and its tag")
    return examples


def split_columns(line: str) -> list[str]:
    """The cells of a line: between tabs where there is one, since a token may hold a space; else between spaces."""
    line = line.rstrip(" \t")
    if "\t" in line:
        return [cell.strip(" ") for cell in line.split("\t")]
    return [cell for cell in line.split(" ") if cell]


def check_columns(path: str | Path, line: int, cells: list[str], width: int, *columns: int) -> None:
    """Raise InputError unless the line has the columns that are wanted, and as many as the first."""
    needed = max(column + 1 if column >= 0 else -column for column in columns)
    needed = max(needed, 2 if len(set(columns)) > 1 else 1)
    if len(cells) < needed or not all(cells[column] for column in columns):
        raise fault(path, line, f"{len(cells)} columns, but a token and its tag need {needed}; add what is missing")
    if len(cells) != width:
        raise fault(
            path,
            line,
            f"{len(cells)} columns, but the lines before have {width}; mend it (a token in a file"
            " with spaces between its columns can hold none)",
        )


def check_tag(path: str | Path, line: int, tag: str, last: str, scheme: str) -> None:
    """Raise InputError for a tag that is none, or that in BIO continues what is not there; last: the tag before."""
    try:
        letter, kind = split_tag(tag)
    except InputError as error:
        raise fault(path, line, f"{error}; or read the file with the scheme 'any'") from error
    if scheme == "BIO" and letter == "I" and (last == "O" or split_tag(last)[1] != kind):
        raise fault(
            path,
            line,
            f"{tag} follows {last}, so it continues no entity; begin it with B-, or, if the whole file is in the older"
            " scheme, read it with the scheme 'IOB1'",
        )


def split_tag(tag: str) -> tuple[str, str]:
    """Letter and type: B-PER → ("B", "PER"), O → ("O", ""); a bare B or I has the type "_".

    Raises InputError for what is no tag.
    """
    letter, _, kind = tag.partition("-")
    if letter not in ("B", "I", "O") or (letter == "O" and tag != "O"):
        raise InputError(f"{tag!r} is no tag of an entity; tags are O, B-TYPE and I-TYPE, such as B-PER")
    return letter, (kind or "_") if letter != "O" else ""


def iob1_to_bio(tags: Sequence[str]) -> list[str]:
    """I-X becomes B-X wherever it continues no X; all else stays. Tags in BIO stay as they are.

    I-PER I-PER O I-LOC B-LOC → B-PER I-PER O B-LOC B-LOC. Raises InputError for what is no tag.
    """
    result, last = [], ""
    for tag in tags:
        letter, kind = split_tag(tag)
        result.append("B" + tag[1:] if letter == "I" and kind != last else tag)
        last = kind
    return result
