"""What the tests of the command line share: run it here or in a fresh process, and look at what it left on the disk."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from minilm import cli

TINY_MODEL = "--model.num_layers 1 --model.num_heads 2 --model.hidden_size 16 --model.context_length 16"
TINY = f"{TINY_MODEL} --training.max_steps 6 --training.batch_size 4 --training.warmup_steps 0"


def without_notice(err: str) -> str:
    """What stands on stderr, but for the line that comes where kernels had to be compiled: with a fresh cache, that is."""
    return "".join(line for line in err.splitlines(True) if not line.startswith("compiling kernels"))


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class CommandLine:
    """`minilm` in a folder of its own: minilm("train --corpus t.txt") calls it here, .fresh(...) in a new process."""

    def __init__(self, folder: Path, capsys):
        self.folder, self.capsys = folder, capsys

    def __call__(self, line: str) -> Result:
        self.capsys.readouterr()
        try:
            code = cli.main(shlex.split(line))
        except SystemExit as end:  # --help and --version
            code = int(end.code or 0)
        out, err = self.capsys.readouterr()
        return Result(code, out, without_notice(err))

    def fresh(self, line: str, timeout: float = 120, **changes: str) -> Result:
        done = subprocess.run(
            command(line), cwd=self.folder, env=environment(**changes), capture_output=True, text=True, timeout=timeout,
            check=False,
        )  # fmt: skip
        return Result(done.returncode, done.stdout, without_notice(done.stderr))

    def start(self, line: str) -> subprocess.Popen:
        """Start it and come back at once; its output is read with communicate()."""
        return subprocess.Popen(
            command(line), cwd=self.folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def snapshot(self) -> dict[str, bytes | None]:
        """Every path below the folder, with the bytes of the files."""
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes() if path.is_file() else None
            for path in self.folder.rglob("*")
        }


def run_here(folder: Path, line: str) -> int:
    """Run a command in this process and that folder, for what is only made to be looked at; returns its exit code."""
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        return cli.main(shlex.split(line))


def command(line: str) -> list[str]:
    return [sys.executable, "-m", "minilm", *shlex.split(line)]


def environment(**changes: str) -> dict[str, str]:
    """This process' environment, with the packages on the path, one BLAS thread, and output buffered as for everybody."""
    path = os.pathsep.join(path for path in sys.path if path)
    return {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "", **changes}


def some_text(characters: int = 3000) -> str:
    """Lower-case sentences, the same in every run, in which there is something to learn."""
    words, chooser = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"], random.Random(0)
    text = ""
    while len(text) < characters:
        text += " ".join(chooser.choice(words) for _ in range(8)) + ".\n"
    return text[:characters]


def refusal(result: Result, code: int = 2) -> str:
    """Check that a command was refused in one line on stderr, and return it."""
    assert result.code == code, result
    assert result.err.startswith("minilm: "), result.err
    assert result.err.count("\n") == 1, result.err
    assert result.err.endswith("\n"), result.err
    assert "Traceback" not in result.out + result.err
    for jargon in ("<class", "None", "NoneType", "Errno", "Error(", "Parser key", "functools", "jsonargparse"):
        assert jargon not in result.err, result.err
    return result.err
