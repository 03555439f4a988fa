"""What all readers of task files share: a text file whole, JSON, and errors that name file and line."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from minilm.data.corpus import open_plain
from minilm.data.encodings import check_head
from minilm.data.reading import decode_blocks
from minilm.errors import InputError

_HALF_OF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


def read_file(path: str | Path) -> str:
    r"""The text of a file in UTF-8, with or without a byte order mark; every line end is "\n".

    Raises InputError if there is no such file, or it is empty, unreadable, binary, or in another encoding: then the
    error names the line and the encoding it looks like.
    """
    place = Path(path).expanduser()
    try:
        exists, is_file = place.exists(), place.is_file()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot open {str(path)!r}: {error}; check the path") from error
    if not exists:
        raise InputError(f"there is no file {str(path)!r} (looked for it from {Path.cwd()}); check the path")
    if not is_file:
        raise InputError(f"{place} is a folder or no ordinary file; give the path of one file with examples")
    open_binary = partial(open_plain, place)
    check_head(open_binary, str(place))
    return "".join(decode_blocks(open_binary, str(place), 1 << 20))


def file_lines(text: str) -> list[tuple[int, str]]:
    r"""Lines with their numbers, from 1. Only "\n" ends a line: U+2028 and its like stay inside a text."""
    return list(enumerate(text.split("\n"), 1))


def fault(path: str | Path, line: int | None, problem: str) -> InputError:
    """The error for one line of a file; None where no line can be told."""
    return InputError(f"{path}: {problem}" if line is None else f"{path}, line {line:,}: {problem}")


def no_examples(path: str | Path, expected: str) -> InputError:
    """The error for a file that is not empty and yet holds nothing."""
    return InputError(f"{path} has no example in it; expected {expected}")


def parse_json(text: str, path: str | Path, line: int | None) -> Any:
    """The value of a JSON text; line: where the text stands in the file, None if it is the file.

    Raises InputError with the line for what is no JSON, for NaN and Infinity (which JSON does not have), numbers too
    long, nesting too deep, and halves of surrogate pairs.
    """
    try:
        value = json.loads(text, parse_constant=refuse_constant)
        if _HALF_OF_A_PAIR.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except json.JSONDecodeError as error:
        line = error.lineno if line is None else line
        problem = f"no valid JSON ({error.msg} at column {error.colno}); mend it, or write the file anew with json.dump"
    except UnicodeEncodeError:
        problem = "a lone surrogate \\uD800 to \\uDFFF, which is half a character; write the text anew from its source"
    except RecursionError:
        problem = "JSON nested too deeply for an example; check that this is the right file"
    except ValueError as error:
        problem = f"no valid JSON ({error}); mend it, or write the file anew with json.dump"
    raise fault(path, line, problem)


def refuse_constant(name: str) -> NoReturn:
    """JSON has no NaN and no Infinity, though Python's reader would take them."""
    raise ValueError(f"{name} is no number of JSON")
