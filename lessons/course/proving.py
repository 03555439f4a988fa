"""What a submission scores, found without nbgrader: its cells run in this process, one after another.

For authors and for the everyday tests: the reference, the untouched stub and every seeded wrong solution. Students'
code is never run like this (see sandbox.py).
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lessons.course.sources import (
    FOLDER,
    LANGUAGES,
    SEED,
    Assignment,
    Wrong,
    in_language,
    stub,
    with_wrong,
    wrong_solutions,
)
from minilm.files import write_text

GUIDE = Path(__file__).with_name("guide")
AFTER_TABLES = "<!-- tables of further assignments: prove writes them here -->"
HEADS = {
    "en": "| task | mistake | visible tests | hidden tests | score |",
    "zh": "| 题目 | 错误 | 可见测试 | 隐藏测试 | 总分 |",
}


def scores(
    assignment: Assignment, only: str = "", seed: int = SEED, language: str = "en"
) -> dict[str, tuple[int, str]]:
    """grade_id → (points, why they were lost or ""). only: run this task and the given cells, no other task."""
    space: dict[str, Any] = {"__name__": "__submission__", "SEED": seed}
    result = {}
    sys.modules["checks"] = checks_module()
    try:
        for cell in in_language(assignment.cells, language):
            if cell.kind == "text" or (only and cell.task != only and cell.kind != "given"):
                continue
            sentence = run(cell.source, f"<{cell.task or cell.kind}>", space)
            if cell.points:
                result[cell.grade_id] = (0 if sentence else cell.points, sentence)
            elif cell.kind == "given" and sentence:
                raise RuntimeError(f"{assignment.name}: a given cell fails: {sentence}")
    finally:
        del sys.modules["checks"]
    return result


def run(source: str, where: str, space: dict[str, Any]) -> str:
    """Run a cell; what it raised, as a sentence."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            exec(compile(source, where, "exec"), space)
    except Exception as error:
        return f"{type(error).__name__}: {error}".strip()
    return ""


def checks_module() -> Any:
    """A fresh lessons/assignments/checks.py."""
    spec = importlib.util.spec_from_file_location("checks", FOLDER / "checks.py")
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def as_stub(assignment: Assignment) -> Assignment:
    """The assignment as somebody hands it in who has done nothing."""
    return replace(
        assignment,
        cells=tuple(replace(c, source=stub(c.source, "en")) if c.kind == "task" else c for c in assignment.cells),
    )


def lost(result: dict[str, tuple[int, str]], assignment: Assignment) -> dict[str, int]:
    """task → points lost, for the tasks that lost any."""
    losses: dict[str, int] = {}
    for cell in assignment.graded:
        missing = cell.points - result[cell.grade_id][0]
        if missing:
            losses[cell.task] = losses.get(cell.task, 0) + missing
    return losses


def prove(assignment: Assignment, tell: Callable[[str], None] = lambda line: None) -> tuple[list[str], list[Row]]:
    """Everything that must hold of an assignment: the sentences of what does not, and a row for each wrong solution."""
    reference = scores(assignment).items()
    faults = [f"the reference loses {grade_id}: {sentence}" for grade_id, (_, sentence) in reference if sentence]
    for grade_id, (points, _) in scores(as_stub(assignment)).items():
        if points:
            faults.append(f"the untouched stub gets {points} points for {grade_id}")
    rows = []
    for wrong in wrong_solutions(assignment):
        result = scores(with_wrong(assignment, wrong))
        losses = lost(result, assignment)
        rows.append(row(assignment, wrong, result))
        tell(f"{wrong.task}: {wrong.title['en']}: {rows[-1].points} of {assignment.points}")
        if list(losses) != [wrong.task]:
            faults.append(f"{wrong.title['en']!r} should lose points in {wrong.task} alone, loses {losses or 'none'}")
    return faults, rows


# --- the table of the teacher's guide ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A wrong solution and what it loses."""

    wrong: Wrong
    test: int  # points lost in the visible tests of its task
    hidden: int
    points: int  # what is left of the assignment's


def row(assignment: Assignment, wrong: Wrong, result: dict[str, tuple[int, str]]) -> Row:
    losses = {
        cell.kind: cell.points - result[cell.grade_id][0] for cell in assignment.graded if cell.task == wrong.task
    }
    return Row(wrong, losses["test"], losses["hidden"], assignment.points - sum(losses.values()))


def table(rows: list[Row], language: str) -> str:
    """The rows as a Markdown table."""
    lines = [HEADS[language], "| --- | --- | ---: | ---: | ---: |"]
    for each in rows:
        losses = f"{signed(each.test)} | {signed(each.hidden)}"
        lines.append(f"| `{each.wrong.task}` | {each.wrong.title[language]} | {losses} | {each.points} |")
    return "\n".join(lines)


def signed(points: int) -> str:
    return f"−{points}" if points else "0"


def between(name: str) -> re.Pattern[str]:
    """The place of an assignment's table in a guide."""
    return re.compile(f"(?<=<!-- table of {name} -->\n).*?(?=<!-- end of table -->)", re.DOTALL)


def write_table(assignment: Assignment, rows: list[Row]) -> None:
    """Put an assignment's table into the teacher's guides; a new assignment's after the others, with its heading."""
    for language in LANGUAGES:
        path = GUIDE / f"teacher.{language}.md"
        text = path.read_text(encoding="utf-8")
        if not between(assignment.name).search(text):
            heading = f"### {assignment.title(language)}"
            place = f"{heading}\n\n<!-- table of {assignment.name} -->\n<!-- end of table -->\n\n{AFTER_TABLES}"
            text = text.replace(AFTER_TABLES, place)
        filled = between(assignment.name).sub(lambda _: f"\n{table(rows, language)}\n\n", text)  # noqa: B023
        if filled != text or filled != path.read_text(encoding="utf-8"):
            write_text(path, filled)
