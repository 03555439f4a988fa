"""The two corpora that every CPython carries: its language reference and its standard library."""

from __future__ import annotations

import os
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path

from minilm.errors import InputError

# Tests repeat the library's vocabulary in odd places, and site-packages holds other people's code under other licences.
LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}


def python_reference() -> Iterator[str]:
    """Yield the topics of the Python Language Reference in the order of their names, an empty line between two."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise InputError(
            "this Python comes without pydoc_data.topics, the text of the corpus python-reference; install the full"
            " standard library, or give another corpus with --corpus FILE"
        ) from error
    for number, name in enumerate(sorted(topics)):
        yield topics[name] if number == 0 else "\n\n" + topics[name]


def python_source(folder: Path | None = None) -> Iterator[str]:
    """Yield the standard library's .py files in the order of their paths, each ending in a newline.

    A file that is not valid in the encoding it declares is passed over, as Python itself could not run it.
    """
    folder = Path(sysconfig.get_paths()["stdlib"]) if folder is None else folder
    paths = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT]  # os.walk goes into those that are left
        paths += [Path(parent, name) for name in files if name.endswith(".py")]
    if not paths:
        raise InputError(
            f"the standard library has no .py files in {folder}, which the corpus python-source is made of;"
            " use a Python with an unpacked standard library, or give another corpus with --corpus FILE"
        )
    for path in sorted(paths):
        try:
            with tokenize.open(path) as stream:  # honours the coding line, translates \r\n
                text = stream.read()
        except (SyntaxError, UnicodeDecodeError, OSError):
            continue
        if text:
            yield text if text.endswith("\n") else text + "\n"


BUILTIN = {"python-reference": python_reference, "python-source": python_source}
