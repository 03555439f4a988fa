"""python -m lessons.course build|preflight|grade|feedback|export: a class from one folder (see lessons/course/guide)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lessons.course.folder import Folder, open_folder
from lessons.course.sources import LANGUAGES, find, load, names
from minilm.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit code: 0, 1 if a submission was refused or a proof fails, 2 for what the user can mend."""
    options = parser().parse_args(arguments)
    try:
        return options.run(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on where this one ended", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m lessons.course", description="Assignments from their sources to grades."
    )
    commands = made.add_subparsers(required=True, metavar="COMMAND")

    def command(function: Any, assignments: str = "*") -> argparse.ArgumentParser:
        each = commands.add_parser(function.__name__.rstrip("_"), help=function.__doc__, description=function.__doc__)
        each.set_defaults(run=function)
        each.add_argument(
            "assignment", nargs=assignments, help=f"one or more of {', '.join(names())}, or a1, a2; default: all"
        )
        return each

    def in_folder(each: argparse.ArgumentParser) -> None:
        each.add_argument("--course", type=Path, default=Path("course"), help="the course folder (default: ./course)")

    each = command(build_)
    in_folder(each)
    each.add_argument("--language", choices=LANGUAGES, help="of the notebooks (default: as before; a new folder: en)")
    each.add_argument(
        "--seed", type=at_least(0), help="of the hidden tests (default: as before; a new folder draws one)"
    )
    each = command(preflight_)
    in_folder(each)
    each = command(grade_)
    in_folder(each)
    each.add_argument("--again", action="store_true", help="also those graded before")
    each.add_argument(
        "--cell-seconds", type=at_least(1), default=30, metavar="S", help="time for one cell (default 30)"
    )
    each.add_argument(
        "--total-seconds", type=at_least(1), default=300, metavar="S", help="time for one submission (default 300)"
    )
    each.add_argument(
        "--memory", type=at_least(1024), default=4096, metavar="MB", help="address space of a process (default 4096)"
    )
    each.add_argument(
        "--isolation", choices=("auto", "bwrap", "unshare", "none"), default="auto", help="default: what works"
    )
    each = command(feedback_)
    in_folder(each)
    each = command(export_)
    in_folder(each)
    each.add_argument("--to", type=Path, help="the file (default: COURSE/grades.csv)")
    command(prove_)
    return made


def at_least(smallest: int) -> Callable[[str], int]:
    """A whole number on the command line that must not be smaller."""

    def number(text: str) -> int:
        if not text.strip().isascii() or not text.strip().isdigit() or int(text) < smallest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {smallest}")
        return int(text)

    return number


def chosen(options: argparse.Namespace, folder: Folder) -> list[str]:
    """The assignments that were named, or all that were built in the folder."""
    found = [find(asked) for asked in options.assignment] or folder.assignments()
    if not found:
        raise InputError(
            f"nothing was built in {folder.path} yet; run: python -m lessons.course build --course {folder.path}"
        )
    for name in found:
        folder.built(name)
    return found


def bar(what: str) -> Any:
    """A progress bar over students; nothing where nobody looks."""
    from tqdm import tqdm

    return lambda items: tqdm(items, desc=what, unit="student", disable=None, leave=False)


def build_(options: argparse.Namespace) -> int:
    """Make the notebooks that students get, with nbgrader."""
    from lessons.course.building import build

    wanted = [find(asked) for asked in options.assignment] or names()
    folder = open_folder(options.course, options.language, options.seed, create=True)
    for name in wanted:
        print(build(folder, name), flush=True)
    others = [name for name in folder.assignments() if name not in wanted]
    if others and (options.language or options.seed is not None):
        print(
            f"note: {', '.join(others)} still has the language and seed of its own build; build it again to change them"
        )
    print(f"what comes back belongs at {folder.path / 'submitted'}/STUDENT/{wanted[0]}/{wanted[0]}.ipynb")
    return 0


def preflight_(options: argparse.Namespace) -> int:
    """Find submissions that cannot be graded, and say why, without running anything."""
    from lessons.course.preflight import preflight

    folder = open_folder(options.course)
    refused = 0
    for name in chosen(options, folder):
        findings = preflight(folder, name)
        bad = [finding for finding in findings if finding.refused]
        refused += len(bad)
        print(f"{name}: {len(findings) - len(bad)} can be graded, {len(bad)} cannot")
        show_findings(findings)
    return 1 if refused else 0


def show_findings(findings: list) -> None:
    for finding in findings:
        if finding.refused:
            print(f"  refused  {finding.student}: {finding.refused}")
    for finding in findings:
        if finding.odd:
            print(f"  read     {finding.student}: unusual code: {' | '.join(finding.odd[:3])}")


def grade_(options: argparse.Namespace) -> int:
    """Run the submissions' tests and store the scores; prints a report."""
    from lessons.course.folder import nbgrader_config

    folder = open_folder(options.course)
    nbgrader_config(folder)
    from lessons.course.grading import Limits, grade, isolation
    from lessons.course.sandbox import SAYS

    limits = Limits(options.cell_seconds, options.total_seconds, options.memory, options.isolation)
    box = isolation(folder, limits)
    print(SAYS[box.mode], flush=True)
    refused = 0
    for name in chosen(options, folder):
        found, findings = grade(folder, name, limits, options.again, bar(name), box)
        graded = [result for result in found if result.most]
        total = sum(graded[0].most.values()) if graded else 0
        mean = f", mean {sum(r.score for r in graded) / len(graded):.1f} of {total:g}" if graded else ""
        print(f"{name}: {len(graded)} graded, {len(found) - len(graded)} not{mean}")
        for result in found:
            lost = ", ".join(f"{task} −{points:g}" for task, points in result.lost().items())
            if result.most:
                print(f"  {result.score:5g}  {result.student}" + (f"  ({lost})" if lost else ""))
        show_findings(findings)
        for result in found:
            if not result.most and result.status.removeprefix("refused: ") not in {f.refused for f in findings}:
                print(f"  failed   {result.student}: {result.status.removeprefix('refused: ')}")
        refused += len(found) - len(graded)
    return 1 if refused else 0


def feedback_(options: argparse.Namespace) -> int:
    """Make a page for each graded student."""
    from lessons.course.grading import feedback

    folder = open_folder(options.course)
    for name in chosen(options, folder):
        pages = feedback(folder, name, bar(name))
        print(f"{name}: {len(pages)} pages, {pages[0].parent.parent.parent}/STUDENT/{name}/{name}.html")
    return 0


def export_(options: argparse.Namespace) -> int:
    """Write all scores to a CSV file."""
    from lessons.course.grading import export

    folder = open_folder(options.course)
    to = options.to or folder.path / "grades.csv"
    lines = export(folder, chosen(options, folder), to)
    print(f"{lines} lines in {to}")
    return 0


def prove_(options: argparse.Namespace) -> int:
    """For authors: the reference gets all points, the stub none, each wrong solution loses them in its task."""
    from lessons.course.proving import prove, write_table

    faults = []
    for name in [find(asked) for asked in options.assignment] or names():
        print(f"{name}:")
        assignment = load(name)
        found, rows = prove(assignment, lambda line: print(f"  {line}", flush=True))
        faults += found
        if not found:
            write_table(assignment, rows)
            print(f"  {name} holds; its table in the teacher's guides is up to date")
    for fault in faults:
        print(f"WRONG: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
