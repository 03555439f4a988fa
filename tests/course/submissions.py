"""Submissions as students hand them in, made from a course folder's source and release: right, wrong, broken and hostile."""

import copy
import json
from pathlib import Path


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
