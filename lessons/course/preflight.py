"""preflight: what nbgrader would silently score as zero is refused by name, before anything is run."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lessons.course.folder import Folder

LARGEST = 20 << 20  # bytes
ODD = re.compile(
    r"\bchecks\.\w+\s*=[^=]|\bsetattr\(|\bnp\.[\w.]+\s*=[^=]|sys\.modules|sys\.path|__builtins__|\bbuiltins\b|_render_traceback_|"
    r"os\.(?:_exit|fork|exec|kill|system|popen)|"
    r"\bsubprocess\b|\bsocket\b|get_ipython|\bsettrace\b|\bsetprofile\b|\batexit\b|\bctypes\b|\bgc\.get|\bopen\("
)


@dataclass(frozen=True)
class Finding:
    """A submission: why it is refused ("" if it is not) and lines that a teacher should read."""

    student: str
    refused: str
    odd: tuple[str, ...] = ()


def preflight(folder: Folder, name: str) -> list[Finding]:
    """Every submission of an assignment, and the students of students.txt from whom there is none."""
    release = json.loads(folder.built(name).read_text(encoding="utf-8"))
    there = folder.submitted(name)
    found = [examine(folder.submission(student, name), name, release, student) for student in there]
    found += [Finding(student, "nothing was handed in") for student in folder.roster() if student not in there]
    known = set(there) | set(folder.roster())
    found += [
        Finding(p.name, misplaced(p, name)) for p in loose(folder.path / "submitted", name) if p.stem not in known
    ]
    return sorted(found, key=lambda finding: finding.student)


def loose(submitted: Path, name: str) -> list[Path]:
    """Files that lie in submitted/ itself, and students' folders with a notebook in the wrong place."""
    files = [p for p in submitted.iterdir() if p.is_file() and not p.name.startswith(".")]
    short = name.partition("_")[0]
    folders = [
        p for p in submitted.iterdir() if p.is_dir() and not (p / name).is_dir()
        and any(short in str(q.relative_to(p)).lower() for q in p.rglob("*.ipynb") if ".ipynb_checkpoints" not in q.parts)
    ]  # fmt: skip
    return files + folders


def misplaced(path: Path, name: str) -> str:
    if path.is_file():
        return f"{path.name} lies in submitted/ itself; put it at submitted/STUDENT/{name}/{name}.ipynb"
    first = min(q.relative_to(path) for q in path.rglob("*.ipynb") if ".ipynb_checkpoints" not in q.parts)
    return f"its notebook is {first}, expected {name}/{name}.ipynb"


def examine(place: Path, name: str, release: dict[str, Any], student: str) -> Finding:
    """One submission."""
    notebook = place / f"{name}.ipynb"
    if not notebook.is_file():
        others = sorted(
            p.name for p in place.iterdir() if p.is_file() and p.name != "checks.py" and not p.name.startswith(".")
        )
        has = f"there is {', '.join(others[:3])}" if others else "the folder is empty"
        return Finding(student, f"wrong file name: expected {name}.ipynb, {has}")
    if notebook.stat().st_size > LARGEST:
        return Finding(
            student, f"{name}.ipynb has {notebook.stat().st_size >> 20} MB; ask for it with its outputs cleared"
        )
    try:
        handed_in = json.loads(notebook.read_text(encoding="utf-8"))
        cells = [cell for cell in handed_in["cells"] if isinstance(source(cell), str)]
        ids = Counter(grade_id(cell) for cell in cells if grade_id(cell))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return Finding(
            student, f"{name}.ipynb does not parse as a notebook ({type(error).__name__}: {str(error)[:80]})"
        )
    if handed_in.get("nbformat") != 4:
        return Finding(
            student,
            f"{name}.ipynb is in notebook format {handed_in.get('nbformat')}, expected 4; open it in Jupyter and save it",
        )
    return Finding(student, damaged(cells, ids, release), tuple(odd_lines(cells, release)))


def damaged(cells: list[dict], ids: Counter, release: dict[str, Any]) -> str:
    """What is wrong with the graded cells, in a sentence, or ""."""
    expected = {grade_id(cell): cell for cell in release["cells"] if grade_id(cell)}
    missing = [each for each in expected if each not in ids]
    if len(missing) == len(expected):
        return "it is not this assignment: none of its cells is there"
    problems = []
    if missing:
        problems.append(f"deleted: {told(missing)}")
    doubled = [each for each in expected if ids[each] > 1]
    if doubled:
        problems.append(f"doubled: {told(doubled)}")
    strangers = [each for each in ids if each not in expected]
    if strangers:
        problems.append(f"cells of another version or assignment: {told(strangers)}")
    changed = [
        grade_id(cell) for cell in cells
        if grade_id(cell) in expected and cell.get("cell_type") != expected[grade_id(cell)]["cell_type"]
    ]  # fmt: skip
    if changed:
        problems.append(f"no code cell any more: {told(changed)}")
    order = [grade_id(cell) for cell in cells if grade_id(cell) in expected]
    if not problems and order != list(expected):
        moved = next(have for have, want in zip(order, expected) if have != want)
        problems.append(f"moved to another place: cell {moved}")
    return "; ".join(problems)


def told(ids: list[str]) -> str:
    """`cell softmax-test`, or `cells a, b, c and 4 more`."""
    more = f" and {len(ids) - 4} more" if len(ids) > 4 else ""
    return f"cell{'s' if len(ids) > 1 else ''} {', '.join(ids[:4])}{more}"


def odd_lines(cells: list[dict], release: dict[str, Any]) -> list[str]:
    """Lines of the student's own that could interfere with grading; most are harmless."""
    ours = {line.strip() for cell in release["cells"] for line in source(cell).splitlines()}
    return [
        line.strip()[:100] for cell in cells if cell.get("cell_type") == "code"
        for line in source(cell).splitlines() if ODD.search(line) and line.strip() not in ours
    ]  # fmt: skip


def grade_id(cell: dict) -> str:
    return cell.get("metadata", {}).get("nbgrader", {}).get("grade_id", "")


def source(cell: dict) -> str:
    text = cell["source"]
    return "".join(text) if isinstance(text, list) else text
