"""build: sources → source/ (with solutions) → nbgrader → release/ (what students get)."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

from lessons.course import notebooks, proving
from lessons.course.folder import Folder, converter, nbgrader_config
from lessons.course.sources import BEGIN, Assignment, load
from minilm.errors import InputError


def build(folder: Folder, name: str) -> str:
    """Make the release of an assignment; a sentence about it. Raises InputError if anything of it must not be handed out."""
    config = nbgrader_config(folder)
    import nbformat
    from nbgrader.converters import GenerateAssignment

    assignment, own = notebooks.with_private_tests(load(name), folder.path / "private")
    for task in own:
        try_out(assignment, task, folder)
    source = folder.path / "source" / name
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    nbformat.write(notebooks.source_notebook(assignment, folder.language, folder.seed), source / f"{name}.ipynb")
    (source / "checks.py").write_text(notebooks.checks_file(folder.language), encoding="utf-8")

    shutil.rmtree(folder.path / "release" / name, ignore_errors=True)
    run(converter(GenerateAssignment, folder, config, name), folder)
    release = folder.built(name)
    leaks = leaked(nbformat.read(release, as_version=4), assignment)
    if leaks:
        shutil.rmtree(release.parent)
        raise InputError(f"{name}: the release would show {', '.join(leaks)}; nothing was released")
    archive = folder.path / "release" / f"{name}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(release.parent.iterdir()):
            packed.write(file, f"{name}/{file.name}")
    private = f", your own hidden tests for {', '.join(own)}" if own else ""
    return f"{name}: {len(assignment.tasks)} tasks, {assignment.points} points{private}; hand out {archive}"


def try_out(assignment: Assignment, task: str, folder: Folder) -> None:
    """Raise InputError for a teacher's hidden tests of a task that the reference fails, or that the untouched stub passes."""
    where = f"{folder.path / 'private' / assignment.name}.py: your hidden tests of {task}"
    for made, should_pass in ((assignment, True), (proving.as_stub(assignment), False)):
        sentence = proving.scores(made, task, folder.seed, folder.language)[f"{task}-hidden"][1]
        if should_pass and sentence:
            raise InputError(f"{where} fail for the reference solution: {sentence}")
        if not should_pass and not sentence:
            raise InputError(f"{where} pass where nothing was written; let them call the student's function")


def run(made: Any, folder: Folder) -> None:
    """Run one of nbgrader's converters; what it has to say is in log.txt."""
    from nbgrader.converters.base import NbGraderException

    try:
        made.start()
    except (NbGraderException, SystemExit) as error:
        raise InputError(
            f"nbgrader failed ({str(error).splitlines()[0]}); {folder.path / 'log.txt'} has its whole report"
        ) from error


def leaked(release: Any, assignment: Assignment) -> list[str]:
    """What a release holds of solutions and hidden tests; it must be nothing."""
    text = "\n".join(cell.source for cell in release.cells)
    found = [
        mark for mark in (BEGIN, "END SOLUTION", "BEGIN HIDDEN", "END HIDDEN", "SEED", "checks.ready") if mark in text
    ]
    for cell in assignment.cells:
        if cell.kind == "hidden":
            secret = cell.source
        elif cell.kind == "task":
            secret = cell.source.split(BEGIN)[1].split("### END")[0]
        else:
            continue
        lines = [line.strip() for line in secret.splitlines() if len(line.strip()) > 30]
        visible = "\n".join(c.source for c in assignment.cells if c.kind in ("given", "test", "free", "text"))
        if any(line in text and line not in visible for line in lines):
            found.append(f"the {'hidden tests' if cell.kind == 'hidden' else 'solution'} of {cell.task}")
    return found


def solved(folder: Folder, name: str) -> Path:
    """The notebook with all solutions, for the teacher."""
    return folder.path / "source" / name / f"{name}.ipynb"
