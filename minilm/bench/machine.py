"""What surrounds a measurement: threads, a fresh process, options in common, tables, and a line about the machine."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import minilm
import minilm_kernels
from minilm.files import write_text

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
# left to OpenBLAS, so that the figures are those of an ordinary run
UNSET_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
CHILD = "MINILM_BENCH_CHILD"


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """An argument parser whose --help shows `description` as it is written, with the options all benchmarks share."""
    made = argparse.ArgumentParser(
        prog=f"python -m minilm.bench {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to this file")
    return made


def add_threads(options: argparse.ArgumentParser) -> None:
    options.add_argument("--threads", type=positive, default=2, help="threads for each engine (default: 2)")


def positive(text: str) -> int:
    """An argparse type: a whole number, at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def environment(threads: int | None = None) -> dict[str, str]:
    """The environment of a child that imports this very minilm, with the BLAS left to its own choices.

    threads: so many for every thread pool; None leaves that as it is.
    """
    kept = {name: value for name, value in os.environ.items() if name not in UNSET_VARIABLES}
    roots = {str(Path(str(package.__file__)).parents[1]): None for package in (minilm, minilm_kernels)}  # each once
    kept["PYTHONPATH"] = os.pathsep.join([*roots, *filter(None, [os.environ.get("PYTHONPATH")])])
    if threads is not None:
        kept.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    return kept


def in_child(name: str, argv: Sequence[str], threads: int) -> int | None:
    """Run this benchmark once more in a process with the right number of threads, and return its exit code.

    A BLAS reads the number of its threads when NumPy loads, which has happened by now. None in that child: go on.
    """
    if os.environ.get(CHILD):
        return None
    command = [sys.executable, "-m", "minilm.bench", name, *argv]
    return subprocess.run(command, env={**environment(threads), CHILD: "1"}).returncode


def describe() -> dict[str, Any]:
    """What the figures were taken on."""
    facts: dict[str, Any] = {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": blas_name(),
        "load": load(),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        facts["torch"] = torch.__version__
    return facts


def blas_name() -> str:
    config: Any = np.show_config(mode="dicts")
    blas = config["Build Dependencies"]["blas"]
    return f"{blas['name']} {blas['version']}"


def load() -> float | None:
    """How many processes wanted to run during the last minute, on average; None where the system does not say."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def headline(threads: int | None = None) -> str:
    facts = describe()
    parts = [
        f"{facts['cpus']} CPUs ({facts['machine']})",
        *([f"{threads} threads each"] if threads else []),
        f"Python {facts['python']}",
        f"NumPy {facts['numpy']} with {facts['blas']}",
        *([f"PyTorch {facts['torch']}"] if "torch" in facts else []),
        *([f"load {facts['load']}"] if facts["load"] is not None else []),
    ]
    return ", ".join(parts)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text as a table: the first row is the head, the first column stands left, the others right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))
        )
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def write_json(path: Path | None, name: str, argv: Sequence[str], results: Any) -> None:
    """Write the figures, with the command that made them and the machine, if a path was given."""
    if path is None:
        return
    document = {
        "command": " ".join(["python -m minilm.bench", name, *argv]),
        "machine": describe(),
        "results": results,
    }
    write_text(path, json.dumps(document, indent=2) + "\n")
    print(f"figures written to {path}")
