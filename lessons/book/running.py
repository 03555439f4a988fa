"""Runs the notebook of a page, or takes what an earlier run of the same code left."""

from __future__ import annotations

import hashlib
import platform
import re
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from lessons.book import ROOT
from minilm.errors import InputError
from minilm.files import write_text

TIMEOUT = 300  # seconds for one cell
COLOURS = re.compile(r"\x1b\[[\d;]*m")  # of a traceback in a terminal


class Ran(NamedTuple):
    """A notebook with its outputs, the seconds that its cells took, and whether they were taken from an earlier run."""

    notebook: Any
    seconds: float
    cached: bool


def run(notebook: Any, page: str, folder: Path, tell: Callable[[str], None], fresh: bool = False) -> Ran:
    """Run a notebook in a kernel of its own. folder: where results are kept; tell: gets "cell 3 of 20: name".

    Raises InputError with the cell and its traceback if one fails, or writes to stderr (warnings are mistakes in a book).
    """
    import nbformat

    kept = folder / f"{page.replace('/', '-')}-{key(notebook)}.ipynb"
    if kept.exists() and not fresh:
        found = nbformat.read(kept, as_version=4)
        for cell, now in zip(found.cells, notebook.cells, strict=True):
            cell.metadata = now.metadata  # captions may have changed
        return Ran(found, found.metadata["seconds"], True)
    start = time.perf_counter()
    execute(notebook, page, tell)
    seconds = time.perf_counter() - start
    notebook.metadata["seconds"] = round(seconds, 1)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{page.replace('/', '-')}-*.ipynb"):
        old.unlink()
    write_text(kept, nbformat.writes(notebook))
    return Ran(notebook, seconds, False)


def execute(notebook: Any, page: str, tell: Callable[[str], None]) -> None:
    """Fill in the outputs of all cells."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    names = [cell.metadata["minilm"] for cell in notebook.cells]

    def started(cell: Any, cell_index: int) -> None:
        tell(f"cell {cell_index + 1} of {len(names)}: {names[cell_index]}")

    client = NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", on_cell_start=started)
    client.extra_arguments = ["--log-level=ERROR"]  # what the kernel says of its sockets is no news
    try:
        client.execute(cwd=str(ROOT))
    except CellExecutionError as error:
        raise InputError(f"{page}: a cell failed\n{COLOURS.sub('', str(error))}") from None
    except (CellTimeoutError, DeadKernelError) as error:
        raise InputError(f"{page}: {error}") from error
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise InputError(f"{page}: cell {cell.metadata['minilm']!r} warns:\n{output['text']}")


def key(notebook: Any) -> str:
    """What decides about the outputs: the cells, minilm's files, the libraries that compute and draw."""
    import matplotlib
    import numpy

    code = "\0".join(cell.source for cell in notebook.cells)
    parts = (code, sources(), numpy.__version__, matplotlib.__version__, platform.python_version())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@cache
def sources() -> str:
    """A checksum of all of minilm's files."""
    digest = hashlib.sha256()
    for package in (ROOT / "minilm", ROOT / "kernels" / "minilm_kernels"):
        for path in sorted(package.rglob("*")):
            if path.suffix in (".py", ".cu", ".cuh"):
                digest.update(path.read_bytes())
    return digest.hexdigest()
