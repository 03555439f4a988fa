"""Fine-tune for seven real tasks with minilm, with transformers, and with bags of words, and put them side by side.

    movie     10,605 movie reviews, positive or negative         accuracy
    intent    SNIPS: what a command to an assistant wants          accuracy
    ner       wikigold: names of people, places, organizations     F1 of entities
    slots     SNIPS: the pieces of a command that fill its slots   F1 of entities
    xquad     XQuAD: the piece of a text that answers a question   F1, exact match
    tatoeba   English sentences into Chinese                       BLEU, chrF
    scitldr   abstracts of papers into one sentence                ROUGE

Each row is trained from scratch and, where an encoder fits, from MiniLM-L6. A row is exactly one `minilm finetune` command
(shown by --list and in the table), so that command gives the same minilm score. --engine both trains the same model with
transformers: the same initial weights, the same batches in the same order, AdamW with the same groups, rates and clipping,
for as many steps; its predictions are judged by the same metrics. The baselines are scikit-learn's, on the same parts.

Scores have 95 % intervals by bootstrap over the test examples: other examples would move a score so much. Another seed
moves it as well, and dropout differs between the engines, so the two scores are not equal to the digit.

The time per step is measured apart, in turns on the same batches in one process, with equal threads (tasks_timing.py); only
the ratio means much on a busy machine.

Every piece is written into the folder --out as soon as it is there, and is not computed again; --again forgets what is there.
The data are taken from the folder that MINILM_DATA names; --data FOLDER names another one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minilm.bench import machine
from minilm.bench.tasks_rows import ENCODER, NAMES, PRETRAINED, ROWS, SCRATCH, Row, chosen_rows, find_encoder
from minilm.bench.tasks_table import agreement, markdown
from minilm.errors import InputError, MissingDependencyError
from minilm.files import write_text

PIECES = ("minilm", "transformers", "baselines", "times")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; always 0, the figures speak."""
    argv = list(sys.argv[1:] if argv is None else argv)
    options = make_parser().parse_args(argv)
    rows = chosen_rows(options.row, options.start)
    if options.list:
        print(listing(rows))
        return 0
    data = data_folder(options.data, rows)
    code = machine.in_child("tasks", argv, options.threads)
    if code is not None:
        return code
    print(machine.headline(options.threads), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    for row in rows:
        run_row(row, data, options)
    results = [(row, read_result(options.out, row)) for row in ROWS]
    write_text(options.out / "tasks.md", markdown(results))
    print(markdown([(row, result) for row, result in results if row in rows]))
    machine.write_json(options.json, "tasks", argv, {row.key: result for row, result in results if result})
    return 0


def make_parser() -> argparse.ArgumentParser:
    options = machine.parser("tasks", __doc__ or "")
    options.add_argument("row", nargs="*", metavar="ROW", help=f"{', '.join(NAMES)} (default: all)")
    options.add_argument("--start", choices=[SCRATCH, PRETRAINED, "both"], default="both", help="default: both")
    options.add_argument("--engine", choices=["minilm", "transformers", "both", "none"], default="minilm",
                         help="which engines train; none for baselines and times alone (default: minilm)")  # fmt: skip
    options.add_argument("--no-baseline", action="store_true", help="without scikit-learn's baselines")
    options.add_argument("--time", type=machine.positive, metavar="N", help="also time N steps of either engine")
    options.add_argument("--steps", type=machine.positive, help="train so few steps, for a quick look")
    options.add_argument("--encoder", metavar="FOLDER", help=f"MiniLM-L6 (default: {ENCODER}, wherever it is)")
    options.add_argument("--data", type=Path, metavar="FOLDER", help="where the data files are (default: MINILM_DATA)")
    options.add_argument("--out", type=Path, default=Path("runs/bench-tasks"), metavar="FOLDER",
                         help="where results are kept (default: runs/bench-tasks)")  # fmt: skip
    options.add_argument("--again", action="store_true", help="compute also what --out has already")
    options.add_argument("--list", action="store_true", help="show the rows and their commands, and stop")
    machine.add_threads(options)
    return options


def listing(rows: Sequence[Row]) -> str:
    """Each row with its command."""
    return "\n\n".join(
        f"{row.name}, from {row.start}: {row.title}, seed {row.seed}, about {row.minutes:g} minutes\n  {row.command()}"
        for row in rows
    )


def data_folder(given: Path | None, rows: Sequence[Row]) -> Path:
    """The folder with the data files. Raises InputError where it is not named, or a file is not in it."""
    named = given if given is not None else os.environ.get("MINILM_DATA")
    if not named:
        raise InputError("the tasks need their data files; set MINILM_DATA to their folder, or give --data FOLDER")
    folder = Path(named).expanduser()
    for row in rows:
        for name in row.files.values():
            if not (folder / name).is_file():
                raise InputError(
                    f"{folder} has no file {name}, which row {row.name} needs; README says where it is from"
                )
    return folder


def run_row(row: Row, data: Path, options: argparse.Namespace) -> None:
    """Compute what of a row is wanted and not there yet, writing each piece as soon as it is known."""
    from minilm.bench import tasks_run  # after the child process has its threads

    print(f"\n{row.name}, from {row.start}: {row.command()}", flush=True)
    job = tasks_run.Job(row, data, find_encoder(options.encoder), options.threads, tell, options.steps or 0)
    wanted = pieces(options)
    known: dict[str, Any] = read_result(options.out, row)
    makers = {
        "minilm": lambda: tasks_run.run_minilm(job),
        "transformers": lambda: tasks_run.run_transformers(job),
        "baselines": lambda: tasks_run.run_baselines(job),
        "times": lambda: tasks_run.run_times(job, options.time),
    }
    for piece in wanted:
        if piece in known and not options.again:
            continue
        try:
            made = makers[piece]()
        except MissingDependencyError as error:
            if piece != "baselines":
                raise
            print(f"no baseline: {error}", file=sys.stderr)
            continue
        known = {**read_result(options.out, row), "command": row.command(), "machine": machine.describe(), piece: made}
        write_text(options.out / f"{row.key}.json", json.dumps(known, indent=1) + "\n")
    if line := agreement(row, known):
        print(line, flush=True)


def pieces(options: argparse.Namespace) -> list[str]:
    """Which of PIECES are asked for, in that order."""
    asked = {
        "minilm": options.engine in ("minilm", "both"),
        "transformers": options.engine in ("transformers", "both"),
        "baselines": not options.no_baseline,
        "times": options.time is not None,
    }
    return [piece for piece in PIECES if asked[piece]]


def read_result(folder: Path, row: Row) -> dict[str, Any]:
    """What an earlier run has written of a row."""
    path = folder / f"{row.key}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def tell(line: str) -> None:
    """One line, at once: logs of long runs are read while they grow."""
    print(line, flush=True)
