"""Tables of texts, a row an example: TSV, CSV and JSON lines.

    .tsv     columns between tabs; quotation marks are text like any other
    .csv     columns between commas; a cell in quotation marks may hold commas, line ends and doubled quotation marks
    .jsonl   an object a line: {"text": "...", "label": "..."}

The first line of a TSV or CSV file names its columns, unless `columns` does. The whole file is checked before the first
example is returned.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from minilm.data.tasks import PairExample, TextExample, TokensExample
from minilm.data.tasks_files import fault, file_lines, no_examples, parse_json, read_file
from minilm.errors import InputError

FORMATS = ("tsv", "csv", "jsonl")


class Row(NamedTuple):
    """A row of a table: its line in the file, and its cells by their columns' names."""

    line: int
    cells: dict[str, Any]


def read_text_examples(
    path: str | Path,
    *,
    text: str = "text",
    label: str | None = "label",
    second: str | None = None,
    columns: Sequence[str] | None = None,
    convert: Callable[[str], str | None] | None = None,
    format: str | None = None,
) -> list[TextExample]:
    """Texts with their classes.

    text, label, second: the columns that hold them; label=None reads texts without classes, second is for pairs.
    columns: names for all columns of a TSV or CSV file whose first line is an example already.
    convert: makes a class of what stands in the label's column, or None to leave the example out; see `sign_label`.
    format: "tsv", "csv" or "jsonl", where the file's name does not end so.

    Raises InputError, which names file and line, for a file that cannot be read, a column that is not there, a row with
    too many or too few cells, and a cell that is empty.
    """
    examples = []
    for row in read_rows(path, columns, format):
        name = None if label is None else label_cell(path, row, label)
        if convert is not None and name is not None:
            try:
                name = convert(name)
            except ValueError as error:
                raise fault(path, row.line, f"its {label} {name!r} does not fit: {error}") from error
            if name is None:
                continue
        other = None if second is None else text_cell(path, row, second)
        examples.append(TextExample(text_cell(path, row, text), name, other))
    if not examples:
        raise no_examples(path, f"rows with the columns {', '.join(filter(None, (text, label, second)))}")
    return examples


def read_pair_examples(
    path: str | Path,
    *,
    source: str = "source",
    target: str = "target",
    columns: Sequence[str] | None = None,
    format: str | None = None,
) -> list[PairExample]:
    """Texts with their translations or summaries; source, target: their columns. The rest as `read_text_examples`."""
    rows = read_rows(path, columns, format)
    examples = [PairExample(text_cell(path, row, source), text_cell(path, row, target)) for row in rows]
    if not examples:
        raise no_examples(path, f"rows with the columns {source} and {target}")
    return examples


def read_token_examples(path: str | Path, *, tokens: str = "tokens", tags: str = "tags") -> list[TokensExample]:
    """JSON lines with two lists of strings, {"tokens": ["Hi", "Ann"], "tags": ["O", "B-PER"]}; tags are not changed.

    Raises InputError, with file and line, unless both are lists of strings of one length.
    """
    examples = []
    for row in read_rows(path, None, "jsonl"):
        lists = [cell(path, row, name) for name in (tokens, tags)]
        for name, values in zip((tokens, tags), lists):
            if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
                raise fault(path, row.line, f"{name} is no list of strings; give one string per token")
        if len(lists[0]) != len(lists[1]) or not lists[0]:
            raise fault(path, row.line, f"{len(lists[0])} {tokens} and {len(lists[1])} {tags}; give one tag per token")
        examples.append(TokensExample(tuple(lists[0]), tuple(lists[1])))
    if not examples:
        raise no_examples(path, f"objects with {tokens} and {tags}")
    return examples


def sign_label(threshold: float = 0.0) -> Callable[[str], str | None]:
    """A `convert` for ratings: above threshold "positive", below −threshold "negative", None (left out) between."""

    def convert(rating: str) -> str | None:
        try:
            number = float(rating)
        except ValueError:
            number = math.nan
        if math.isnan(number):
            raise ValueError("it is no number; give the column that holds the ratings, or mend the line")
        return "positive" if number > threshold else "negative" if number < -threshold else None

    return convert


def read_rows(path: str | Path, columns: Sequence[str] | None = None, format: str | None = None) -> list[Row]:
    """All rows of a table. Blank lines are passed over. Arguments and errors as for `read_text_examples`."""
    format = format or Path(path).suffix.lower().removeprefix(".")
    if format not in FORMATS:
        raise InputError(
            f"the format of {path} cannot be told from its name; let it end in .tsv, .csv or .jsonl, or give the format"
        )
    if format == "jsonl":
        if columns is not None:
            raise InputError(f"{path} is a JSON lines file, which names its columns in each line; give no columns")
        return [json_row(path, line, text) for line, text in file_lines(read_file(path)) if text.strip()]
    text = read_file(path)
    rows = csv_rows(path, text) if format == "csv" else tsv_rows(text)
    if columns is None:
        line, names = next(rows, (0, []))
        if line == 0:
            return []
        check_names(names, f"{path}, line {line:,}")
    else:
        names = list(columns)
        check_names(names, "columns")
    table = []
    for line, cells in rows:
        if len(cells) != len(names):
            raise fault(path, line, f"{len(cells)} columns instead of {len(names)} ({', '.join(names)}); mend the line")
        table.append(Row(line, dict(zip(names, cells))))
    return table


def check_names(names: list[str], where: str) -> None:
    """Raise InputError for columns without a name or with the same."""
    if not names or not all(name.strip() for name in names):
        raise InputError(f"{where}: a column without a name; name every column")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(
            f"{where}: two columns are named {twice!r}; give each its own name (if this line is an example and no"
            " header, name the columns with columns=...)"
        )


def tsv_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each line's number and cells."""
    return ((line, row.split("\t")) for line, row in file_lines(text) if row.strip())


def csv_rows(path: str | Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Each row's first line and cells."""
    reader = csv.reader(io.StringIO(text, newline="\n"), strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise fault(path, line, f"no valid CSV ({error}); check the quotation marks of this row") from error


def json_row(path: str | Path, line: int, text: str) -> Row:
    """One line of a JSON lines file."""
    value = parse_json(text, path, line)
    if not isinstance(value, dict):
        raise fault(path, line, f'{type(value).__name__} instead of an object; give {{"name": value, ...}} a line')
    return Row(line, value)


def cell(path: str | Path, row: Row, name: str) -> Any:
    """What stands in a column of a row; raises InputError if there is no such column."""
    if name not in row.cells:
        names = ", ".join(repr(other[:30]) for other in row.cells) or "none"
        raise fault(
            path,
            row.line,
            f"no column {name!r} (there is {names}); say which column holds it, or, if the file's first line is an"
            " example and no header, name all columns",
        )
    return row.cells[name]


def text_cell(path: str | Path, row: Row, name: str) -> str:
    """A text that is there and not blank."""
    value = cell(path, row, name)
    if not isinstance(value, str):
        raise fault(path, row.line, f"its {name} is {type(value).__name__} instead of a string; put it in quotes")
    if not value.strip():
        raise fault(path, row.line, f"its {name} is empty; fill it in or remove the line")
    return value


def label_cell(path: str | Path, row: Row, name: str) -> str:
    """A label, which may be a number in JSON."""
    value = cell(path, row, name)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise fault(path, row.line, f"its {name} is missing; fill it in or remove the line")
    if not isinstance(value, str | int | float):
        raise fault(path, row.line, f"its {name} is {type(value).__name__}; give a string or a number")
    return str(value).strip()
