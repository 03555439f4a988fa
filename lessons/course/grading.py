"""grade, feedback and export: nbgrader's converters and gradebook, one student after another."""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lessons.course.building import run
from lessons.course.executing import short_folder
from lessons.course.folder import Folder, converter, nbgrader_config, quiet
from lessons.course.preflight import Finding, preflight
from lessons.course.sandbox import Sandbox, sandbox
from minilm.errors import InputError
from minilm.files import write_text


@dataclass
class Result:
    """A graded submission, or the reason why there are no points."""

    student: str
    points: dict[str, float] = field(default_factory=dict)  # grade_id → points
    most: dict[str, float] = field(default_factory=dict)
    status: str = "graded"

    @property
    def score(self) -> float:
        return sum(self.points.values())

    def lost(self) -> dict[str, float]:
        """task → points lost."""
        losses: dict[str, float] = {}
        for grade_id, most in self.most.items():
            task = grade_id.rpartition("-")[0]
            losses[task] = losses.get(task, 0) + most - self.points.get(grade_id, 0)
        return {task: points for task, points in losses.items() if points}


@dataclass(frozen=True)
class Limits:
    """Of one submission."""

    cell_seconds: float = 30
    total_seconds: float = 300
    memory_mb: int = 4096
    isolation: str = "auto"


def isolation(folder: Folder, limits: Limits) -> Sandbox:
    """The sandbox that works here."""
    with tempfile.TemporaryDirectory(prefix="probe", dir=short_folder()) as work:
        return sandbox(limits.isolation, folder.path, limits.memory_mb, Path(work))


def grade(
    folder: Folder, name: str, limits: Limits, again: bool, progress: Any, box: Sandbox
) -> tuple[list[Result], list[Finding]]:
    """Grade what preflight lets pass and was not graded since it was handed in. Returns all results and all findings."""
    config = nbgrader_config(folder)
    findings = preflight(folder, name)
    passed = [finding.student for finding in findings if not finding.refused]
    for finding in findings:
        if finding.refused:
            forget(folder, name, finding.student)
    failures = {}
    with tempfile.TemporaryDirectory(prefix="course", dir=short_folder()) as support:
        for each in (folder.path / "source" / name).iterdir():
            if each.suffix != ".ipynb":
                shutil.copy(each, support)
        configure(config, folder, limits, box, support)
        todo = [student for student in passed if again or outdated(folder, name, student)]
        for student in progress(todo):
            failure = grade_one(folder, config, name, student)
            if failure:
                failures[student] = failure
                forget(folder, name, student)
    return results(folder, name, findings, failures), findings


def configure(config: Any, folder: Folder, limits: Limits, box: Sandbox, support: str) -> None:
    """nbgrader's pipeline with our way to run a notebook."""
    from nbconvert.preprocessors import ClearMetadataPreprocessor
    from nbgrader import preprocessors as steps

    from lessons.course.executing import SandboxedExecute

    config.Autograde.autograde_preprocessors = [
        SandboxedExecute, steps.IgnorePattern, ClearMetadataPreprocessor, steps.LimitOutput, steps.SaveAutoGrades,
        steps.AssignLatePenalties, steps.CheckCellMetadata,
    ]  # fmt: skip
    own = config.SandboxedExecute
    own.language, own.support = folder.language, support
    own.mode, own.hidden, own.memory_mb = box.mode, str(box.hidden), box.memory_mb
    own.cell_seconds, own.total_seconds = float(limits.cell_seconds), float(limits.total_seconds)


def outdated(folder: Folder, name: str, student: str) -> bool:
    """Whether something was handed in, or built, since this student was graded."""
    graded = folder.path / "autograded" / student / name / f"{name}.ipynb"
    if not graded.exists():
        return True
    inputs = folder.submission(student, name) / f"{name}.ipynb", folder.release(name)
    return any(path.stat().st_mtime > graded.stat().st_mtime for path in inputs)


def grade_one(folder: Folder, config: Any, name: str, student: str) -> str:
    """Grade a submission; "" or why it could not be graded."""
    from nbgrader.converters import Autograde

    try:
        run(converter(Autograde, folder, config, name, student), folder)
    except InputError as error:
        return str(error)
    except Exception as error:  # whatever a submission does to nbgrader, the class goes on
        quiet(folder).exception("grading %s", student)
        return f"grading failed: {type(error).__name__}: {error}"
    return ""


def forget(folder: Folder, name: str, student: str) -> None:
    """Remove an earlier grade of a submission that is now refused."""
    for stage in ("autograded", "feedback"):
        shutil.rmtree(folder.path / stage / student / name, ignore_errors=True)
    from nbgrader.api import Gradebook, MissingEntry

    with Gradebook(f"sqlite:///{folder.path}/gradebook.db") as book, suppress(MissingEntry):
        book.remove_submission(name, student)


def results(
    folder: Folder, name: str, findings: Iterable[Finding], failures: dict[str, str] | None = None
) -> list[Result]:
    """The scores in nbgrader's gradebook, and a line for everybody who has none."""
    nbgrader_config(folder)
    from nbgrader.api import Gradebook, MissingEntry

    found = []
    with Gradebook(f"sqlite:///{folder.path}/gradebook.db") as book:
        for finding in findings:
            why = finding.refused or (failures or {}).get(finding.student, "")
            result = Result(finding.student, status=f"refused: {why}" if why else "graded")
            found.append(result)
            try:
                submission = None if why else book.find_submission(name, finding.student)
            except MissingEntry:
                submission, result.status = None, "not graded yet"
            for notebook in submission.notebooks if submission else []:
                for each in notebook.grades:
                    result.points[each.name], result.most[each.name] = float(each.score or 0), float(each.max_score)
    return found


def feedback(folder: Folder, name: str, progress: Any) -> list[Path]:
    """One HTML page for each graded submission; hidden tests appear by their verdict only."""
    config = nbgrader_config(folder)
    from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
    from nbgrader.converters import GenerateFeedback
    from nbgrader.preprocessors import GetGrades

    from lessons.course.hiding import HideHiddenTests
    from lessons.course.typesetting import FormulasAsMathML, without_network

    config.GenerateFeedback.preprocessors = [GetGrades, HideHiddenTests, FormulasAsMathML, CSSHTMLHeaderPreprocessor]
    config.HideHiddenTests.language = folder.language
    graded = sorted(p.parent.name for p in (folder.path / "autograded").glob(f"*/{name}"))
    if not graded:
        raise InputError(
            f"nothing of {name} is graded yet; run: python -m lessons.course grade {name} --course {folder.path}"
        )
    pages = []
    for student in progress(graded):
        run(converter(GenerateFeedback, folder, config, name, student), folder)
        pages.append(folder.path / "feedback" / student / name / f"{name}.html")
        without_network(pages[-1])
    return pages


def export(folder: Folder, chosen: list[str], to: Path) -> int:
    """All scores as CSV through nbgrader's export plugin; the number of lines. Nobody gets a silent zero."""
    config = nbgrader_config(folder)
    from nbgrader.api import Gradebook
    from nbgrader.plugins import ExportPlugin

    class Export(ExportPlugin):
        lines = 0

        def export(self, gradebook: Any) -> None:
            text = io.StringIO()
            table = csv.writer(text, lineterminator="\n")
            table.writerow(["assignment", "student", "score", "max_score", "status", "points_by_test"])
            for name in chosen:
                most = gradebook.find_assignment(name).max_score
                for result in results(folder, name, preflight(folder, name)):
                    score = f"{result.score:g}" if result.points else ""
                    tests = " ".join(f"{key}={value:g}" for key, value in result.points.items())
                    table.writerow([name, safe(result.student), score, f"{most:g}", safe(result.status), tests])
                    self.lines += 1
            # Excel takes UTF-8 for what it is only with the mark in front
            write_text(self.to, "\ufeff" + text.getvalue())

    plugin = Export(config=config)
    plugin.to = str(to)
    with Gradebook(f"sqlite:///{folder.path}/gradebook.db") as book:
        plugin.export(book)
    return plugin.lines


def safe(text: str) -> str:
    """A spreadsheet must not take a name for a formula."""
    return f"'{text}" if text[:1] in "=+-@" else text
