"""An assignment's cells → the notebook that nbgrader takes as its source."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from lessons.course.sources import FOLDER, STUB, Assignment, Cell, in_language, names, parse, translated
from minilm.errors import InputError

HIDDEN = "### BEGIN HIDDEN TESTS\n{}\n### END HIDDEN TESTS"
FRESH = 'import sys\n\nsys.modules.pop("checks", None)\nimport checks\n\nchecks.ready()'
ABOVE_HIDDEN = {
    "en": "# Hidden tests: {} points. They call your function with other numbers and shapes.",
    "zh": "# 隐藏测试：{} 分。用别的数和形状调用你的函数。",
}
CODE_STUB = {language: f"{text}\nraise NotImplementedError()" for language, text in STUB.items()}


def source_notebook(assignment: Assignment, language: str, seed: int) -> Any:
    """The notebook with solutions and hidden tests, and nbgrader's metadata on each cell."""
    from nbformat import v4

    notebook = v4.new_notebook()
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata.language_info = {"name": "python"}
    for number, cell in enumerate(in_language(assignment.cells, language)):
        if cell.kind == "text":
            made = v4.new_markdown_cell(cell.source)
            made.metadata = {"deletable": False, "editable": False}
        else:
            made = v4.new_code_cell(code(cell, language, seed))
            made.metadata = metadata(cell, number)
        made.id = f"{assignment.name}-{number}".replace("_", "-")
        notebook.cells.append(made)
    return notebook


def code(cell: Cell, language: str, seed: int) -> str:
    """The code of a cell; tests begin with a fresh copy of the checks, which the release does not show."""
    if cell.kind == "test":
        return f"{HIDDEN.format(FRESH)}\n{cell.source}"
    if cell.kind == "hidden":
        tests = HIDDEN.format(f"{FRESH}\nSEED = {seed}\n{cell.source}")
        return f"{ABOVE_HIDDEN[language].format(cell.points)}\n{tests}"
    return cell.source


def metadata(cell: Cell, number: int) -> dict[str, Any]:
    """nbgrader's word for what a cell is."""
    if cell.kind == "free":
        return {}
    given = cell.kind == "given"
    about = {
        "grade_id": f"given-{number}" if given else cell.grade_id,
        "grade": bool(cell.points),
        "solution": cell.kind == "task",
        "locked": cell.kind != "task",
        "task": False,
        "schema_version": 3,
    }
    if cell.points:
        about["points"] = cell.points
    return {"nbgrader": about, "deletable": False, **({} if cell.kind == "task" else {"editable": False})}


def checks_file(language: str) -> str:
    """checks.py with its sentences in one language."""
    text = translated((FOLDER / "checks.py").read_text(encoding="utf-8"), language)
    return re.sub(r"\ndef tr\(.*?\n\n\n", "\n", text, flags=re.DOTALL)


def with_private_tests(assignment: Assignment, folder: Path) -> tuple[Assignment, list[str]]:
    """The assignment with the teacher's own hidden tests, folder/NAME.py, and the tasks whose tests were replaced.

    Raises InputError for anything in the folder but hidden tests of tasks that there are.
    """
    for other in folder.glob("*.py"):
        if other.stem not in names():
            raise InputError(f"{other}: there is no assignment {other.stem}; it must be one of {', '.join(names())}")
    path = folder / f"{assignment.name}.py"
    if not path.exists():
        return assignment, []
    found = [cell for cell in parse(path.read_text(encoding="utf-8"), path.name) if cell.kind != "text"]
    own = {cell.task: cell for cell in found}
    wrong = [cell for cell in found if cell.kind != "hidden" or not cell.points or cell.task not in assignment.tasks]
    if wrong or not found:
        raise InputError(
            f'{path}: every cell here must start with `# %% hidden="TASK" points=N`, TASK one of {", ".join(assignment.tasks)}'
        )
    if len(own) < len(found):
        raise InputError(f"{path}: a task has two cells; put all its tests into one")
    for cell in found:
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            line = (error.text or "").strip()
            raise InputError(f"{path}: the tests of {cell.task} are no Python: {error.msg}, {line!r}") from error
    cells = tuple(own[c.task] if c.kind == "hidden" and c.task in own else c for c in assignment.cells)
    return replace(assignment, cells=cells), sorted(own)
