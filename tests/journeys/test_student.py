"""A student's way: clone, install, run a chapter as a notebook, do an assignment first wrong, then right. Minutes."""

import json
import os
import shutil
import site
import subprocess
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from submissions import ROOT, Class, course_command, grade_id

from lessons.course import proving, sources

pytest.importorskip("nbgrader", reason='needs nbgrader: pip install -e ".[course]"')
pytestmark = pytest.mark.slow

TYPICAL = {"a1_autograd": "= for +=", "a2_attention": "no scale"}  # a mistake of the .wrong.toml; else its first


class Student:
    """A clone of the checkout's last commit, and an environment in which it is installed."""

    def __init__(self, folder: Path):
        self.folder, self.clone = folder, folder / "code" / "minilm"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(self.clone)], check=True)
        # The libraries are those of the environment that tests: to fetch them again would need a network and a minute.
        # minilm itself is installed by pip as the guide says, from the clone; its build tool is there, too.
        venv.create(folder / "env")
        self.python = folder / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        place = self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        (Path(place) / "libraries.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")
        self.run("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "-e", str(self.clone))

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """Python in the student's environment; what it printed."""
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        line = [str(self.python), *arguments]
        done = subprocess.run(
            line, cwd=cwd or self.folder, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run_all(self, notebook: Path) -> list[dict]:
        """Every cell of a notebook, as "Run All" does it, but past errors; its code cells with their outputs."""
        options = ["--to", "notebook", "--execute", "--allow-errors", "--inplace", "--ExecutePreprocessor.timeout=300"]
        self.run("-m", "nbconvert", *options, notebook.name, cwd=notebook.parent)
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
        assert all(cell["execution_count"] for cell in code)
        return code


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("this is no git checkout: there is nothing to clone")
    if find_spec("setuptools") is None:
        pytest.skip("needs setuptools to install without a network: pip install setuptools")
    made = Student(tmp_path_factory.mktemp("student"))
    imported = made.run("-c", "import minilm, minilm_kernels; print(minilm.__file__, minilm_kernels.__file__)")
    assert imported.count(str(made.clone)) == 2  # the student's, not the one that is tested elsewhere
    return made


def errors(code: list[dict]) -> dict[str, dict]:
    """grade_id (or number) of each cell that failed → its error."""
    return {
        grade_id(cell) or str(number): output
        for number, cell in enumerate(code) for output in cell["outputs"] if output["output_type"] == "error"
    }  # fmt: skip


def test_a_chapter_as_a_notebook(student):
    pytest.importorskip("sphinx", reason='needs pip install -e ".[lessons]"')
    from lessons.book import site as book
    from minilm.errors import InputError

    try:
        book.mathjax()
    except InputError as error:
        pytest.skip(f"the book's first build fetches MathJax: {error}")
    kept = ROOT / "build" / "book" / ".work" / "run"
    if kept.is_dir():  # of the checkout's own build: what has not changed since is not run for it again
        shutil.copytree(kept, student.clone / "build" / "book" / ".work" / "run")
    student.run("-m", "lessons.build", "--lang", "en", "--chapter", "4", cwd=student.clone)
    desk = student.folder / "desk"
    desk.mkdir()
    notebook = shutil.copy(student.clone / "build/book/en/notebooks/04_attention.ipynb", desk)
    code = student.run_all(Path(notebook))
    assert not errors(code)
    assert len(code) > 10
    assert sum("image/svg+xml" in output.get("data", {}) for cell in code for output in cell["outputs"]) >= 3


@pytest.mark.parametrize("name", sources.names())
def test_an_assignment_wrong_then_right(student, tmp_path, name):
    course, desk = tmp_path / "class", tmp_path / "desk"
    course_command(course, "build", name)
    with zipfile.ZipFile(course / "release" / f"{name}.zip") as packed:
        packed.extractall(desk)
    notebook, room = desk / name / f"{name}.ipynb", Class(course, name)
    assignment = sources.load(name)
    tests = {cell.grade_id for cell in assignment.graded if cell.kind == "test"}

    untouched = errors(student.run_all(notebook))
    assert tests <= untouched.keys()  # each test says that its own task is missing
    assert {untouched[each]["ename"] for each in tests} == {"NotImplementedError"}

    wrongs = sources.wrong_solutions(assignment)
    wrong = next((each for each in wrongs if each.title["en"] == TYPICAL.get(name)), wrongs[0])
    notebook.write_text(json.dumps(room.mistake(wrong.task, wrong.old, wrong.new)), encoding="utf-8")
    failed = errors(student.run_all(notebook))
    seen = failed.pop(f"{wrong.task}-test")
    told = proving.scores(sources.with_wrong(assignment, wrong), only=wrong.task)[f"{wrong.task}-test"][1]
    assert told == f"Wrong: {seen['evalue']}"
    assert "expected" in seen["evalue"]
    assert "checks.py" not in "".join(seen["traceback"])  # a sentence, not the lines of the checks
    assert not failed.keys() & {cell.grade_id for cell in assignment.graded}  # nothing else is blamed

    notebook.write_text(json.dumps(room.solved()), encoding="utf-8")
    assert not errors(student.run_all(notebook))
