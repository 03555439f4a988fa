"""What the tests of the course share: a teacher's commands; submissions as students hand them in, right, wrong, broken."""

import copy
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def course_command(course: Path, *arguments: str, code: int = 0) -> str:
    """python -m lessons.course, in a process of its own; what it printed."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'kernels'}"}
    line = [sys.executable, "-m", "lessons.course", *arguments, "--course", str(course)]
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=3600)
    assert done.returncode == code, done.stdout + done.stderr
    assert not done.stderr or "%" in done.stderr, done.stderr  # a progress bar at most
    return done.stdout


def exported(course: Path) -> dict[str, dict[str, str]]:
    """student → their line of grades.csv, of a course with one assignment."""
    course_command(course, "export")
    with open(course / "grades.csv", encoding="utf-8-sig", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


class Class:
    """A course folder and one of its assignments."""

    def __init__(self, course: Path, name: str):
        self.course, self.name = course, name
        self.source = json.loads((course / "source" / name / f"{name}.ipynb").read_text(encoding="utf-8"))
        self.release = json.loads((course / "release" / name / f"{name}.ipynb").read_text(encoding="utf-8"))
        self.solutions = {
            grade_id(c): "".join(c["source"])
            for c in self.source["cells"]
            if c["metadata"].get("nbgrader", {}).get("solution")
        }

    def stub(self) -> dict:
        return copy.deepcopy(self.release)

    def solved(self, **tasks: str) -> dict:
        """All tasks solved; those that are named, with this code."""
        notebook = self.stub()
        for cell in notebook["cells"]:
            if grade_id(cell) in self.solutions:
                code = tasks.get(grade_id(cell), self.solutions[grade_id(cell)])
                cell["source"] = code.replace("### BEGIN SOLUTION", "").replace("### END SOLUTION", "")
        return notebook

    def mistake(self, task: str, old: str, new: str) -> dict:
        assert old in self.solutions[task]
        return self.solved(**{task: self.solutions[task].replace(old, new)})

    def without(self, name: str) -> dict:
        notebook = self.solved()
        notebook["cells"] = [cell for cell in notebook["cells"] if grade_id(cell) != name]
        return notebook

    def doubled(self, name: str) -> dict:
        notebook = self.solved()
        place = [grade_id(cell) for cell in notebook["cells"]].index(name)
        notebook["cells"].insert(place, copy.deepcopy(notebook["cells"][place]))
        return notebook

    def with_tests(self, code: str) -> dict:
        """Every test replaced by the student."""
        notebook = self.stub()
        for cell in notebook["cells"]:
            if cell["metadata"].get("nbgrader", {}).get("grade"):
                cell["source"] = code
        return notebook

    def hand_in(self, student: str, notebook: dict | str, file: str | None = None) -> Path:
        path = self.course / "submitted" / student / self.name / (file or f"{self.name}.ipynb")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(notebook if isinstance(notebook, str) else json.dumps(notebook), encoding="utf-8")
        return path


def grade_id(cell: dict) -> str:
    return cell["metadata"].get("nbgrader", {}).get("grade_id", "")
