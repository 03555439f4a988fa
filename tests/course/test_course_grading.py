"""A class from build to grades.csv with nbgrader: right, wrong, hostile and broken submissions. Minutes."""

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from submissions import Class

from lessons.course import sandbox, sources

pytest.importorskip("nbgrader", reason='needs nbgrader: pip install -e ".[course]"')
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PRINTS = "def softmax(x, axis=-1):\n    while True:\n        print('x' * 1000)\n"
HOSTILE = {  # a way to write softmax → what happens
    "hangs": "def softmax(x, axis=-1):\n    while True:\n        pass\n",
    "hangs_on": "def softmax(x, axis=-1):\n    while True:\n        try:\n            while True:\n                pass\n"
    "        except BaseException:\n            pass\n",
    "prints": PRINTS,
    "exits": "import os\ndef softmax(x, axis=-1):\n    os._exit(0)\n",
    "crashes": "import ctypes\ndef softmax(x, axis=-1):\n    ctypes.string_at(0)\n",
    "eats": "def softmax(x, axis=-1):\n    a = []\n    while True:\n        a.append(np.ones(10**7))\n",
    "replaces": "import checks\nfor k in ('close', 'that', 'pair', 'operation', 'unchanged', 'ready'):\n"
    "    setattr(checks, k, lambda *a, **k: (a[0], lambda dz: (dz,)))\ndef softmax(x, axis=-1):\n    return x\n",
}
BROKEN = ("deleted", "doubled", "unparsable", "misnamed", "other")


def command(course, *arguments, code=0):
    """A teacher's command, in a process of its own; what it printed."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'kernels'}"}
    line = [sys.executable, "-m", "lessons.course", *arguments, "--course", str(course)]
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=3600)
    assert done.returncode == code, done.stdout + done.stderr
    assert not done.stderr or "%" in done.stderr, done.stderr  # a progress bar at most
    return done.stdout


def exported(course):
    command(course, "export")
    with open(course / "grades.csv", encoding="utf-8-sig", newline="") as file:
        return {(row["assignment"], row["student"]): row for row in csv.DictReader(file)}


def test_a_class_of_thirty(tmp_path):
    course, name = tmp_path / "class", "a1_autograd"
    printed = command(course, "build", "a1", "--seed", "11")
    assert "10 tasks, 100 points" in printed
    room = Class(course, name)
    released = json.dumps(room.release)
    assert "SOLUTION" not in released
    assert "HIDDEN" not in released
    room.hand_in("right", room.solved())
    room.hand_in("stub", room.stub())
    room.hand_in("no_tests", room.with_tests("pass"))
    assignment = sources.load(name)
    wrongs = sources.wrong_solutions(assignment)[:14]
    for number, wrong in enumerate(wrongs):
        room.hand_in(f"wrong{number:02}", room.mistake(wrong.task, wrong.old, wrong.new))
    for student, code in HOSTILE.items():
        room.hand_in(student, room.solved(softmax=code))
    warns = room.mistake("tanh", "z = np.tanh(x)", "import sys\n    print('!', file=sys.stderr)\n    z = np.tanh(x)")
    room.hand_in("warns", warns)
    room.hand_in("deleted", room.without("softmax-hidden"))
    room.hand_in("doubled", room.doubled("softmax"))
    room.hand_in("unparsable", '{"cells": [')
    room.hand_in("misnamed", room.solved(), "a1.ipynb")
    room.hand_in("other", {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    assert len(list((course / "submitted").iterdir())) == 30

    before = command(course, "preflight", code=1)
    assert all(f"refused  {student}:" in before for student in BROKEN)
    report = command(course, "grade", "--cell-seconds", "6", code=1)
    assert "25 graded, 5 not" in report

    rows = {student: row for (_, student), row in exported(course).items()}
    for student in BROKEN:
        assert rows[student]["score"] == ""
        assert rows[student]["status"].startswith("refused: ")
    scores = {student: float(row["score"]) for student, row in rows.items() if row["score"]}
    assert len(scores) == 25
    assert scores["right"] == scores["warns"] == 100
    assert scores["stub"] == scores["no_tests"] == 0
    points = {task: sum(c.points for c in assignment.graded if c.task == task) for task in assignment.tasks}
    for student in HOSTILE:
        assert scores[student] == 100 - points["softmax"], student
    for number, wrong in enumerate(wrongs):
        row = rows[f"wrong{number:02}"]
        tests = dict(pair.split("=") for pair in row["points_by_test"].split())
        lost = {c.task for c in assignment.graded if float(tests[c.grade_id]) != c.points}
        assert lost == {wrong.task}, wrong.title["en"]

    command(course, "feedback")
    page = (course / "feedback" / "exits" / name / f"{name}.html").read_text(encoding="utf-8")
    assert "ended the Python process" in page
    assert "default_rng(11)" not in page
    assert "BEGIN HIDDEN" not in page
    room.hand_in("deleted", room.solved())  # handed in again: graded; the others are not run again
    assert "26 graded, 4 not" in command(course, "grade", code=1)


def test_the_second_assignment_in_chinese_with_a_teachers_tests(tmp_path):
    course, name = tmp_path / "class", "a2_attention"
    (course / "private").mkdir(parents=True)
    own = '# %% hidden="softmax" points=4\nchecks.close(softmax(np.zeros(3)), np.ones(3) / 3, "我的测试")\n'
    (course / "private" / f"{name}.py").write_text(own, encoding="utf-8")
    assert "your own hidden tests for softmax" in command(course, "build", "a2", "--language", "zh")
    room = Class(course, name)
    assert "我的测试" not in json.dumps(room.release, ensure_ascii=False)
    room.hand_in("right", room.solved())
    room.hand_in("stub", room.stub())
    room.hand_in("scale", room.mistake("attention", " / np.sqrt(Q.shape[-1])", ""))
    room.hand_in("kernel", room.mistake("attention_kernel", "i + Tk - Tq + 1", "i + Tk - Tq"))
    room.hand_in("uniform", room.solved(softmax="def softmax(x, axis=-1):\n    return np.full(3, 1 / 3)\n"))
    command(course, "grade")
    scores = {student: float(row["score"]) for (_, student), row in exported(course).items()}
    assert scores == {"right": 100, "stub": 0, "scale": 86, "kernel": 88, "uniform": 94}
    for mode in ("bwrap", "unshare", "none"):
        with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as work:
            if mode != "none" and not sandbox.works(sandbox.Sandbox(mode, course, 4096), Path(work)):
                continue
        report = command(course, "grade", "--again", "--isolation", mode)
        assert report.startswith(sandbox.SAYS[mode])
        assert {student: float(row["score"]) for (_, student), row in exported(course).items()} == scores
    command(course, "feedback")
    page = (course / "feedback" / "scale" / name / f"{name}.html").read_text(encoding="utf-8")
    assert "应当是" in page


@pytest.mark.parametrize("name", sources.names())
def test_the_release_as_a_student_runs_it(name, tmp_path):
    """In a folder of its own: the stub stops at the first task; with the solutions every cell runs."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    course = tmp_path / "class"
    command(course, "build", name)
    room = Class(course, name)
    folder = tmp_path / "student"
    folder.mkdir()
    checks = (course / "release" / name / "checks.py").read_text(encoding="utf-8")
    (folder / "checks.py").write_text(checks, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'kernels'}"}

    def run(notebook):
        client = NotebookClient(
            nbformat.reads(json.dumps(notebook), as_version=4),
            timeout=120,
            resources={"metadata": {"path": str(folder)}},
        )
        return client.execute(env=environment)

    with pytest.raises(CellExecutionError, match="NotImplementedError"):
        run(room.stub())
    done = run(room.solved())
    assert not [c for c in done.cells for o in c.get("outputs", []) if o.output_type == "error"]
    task = sources.load(name).tasks[0]
    code = f"def {task}(*given, **more):\n    return np.zeros((2, 2))\n"
    with pytest.raises(CellExecutionError) as wrong:
        run(room.solved(**{task: code}))
    assert "expected" in str(wrong.value)
    assert "checks.py" not in str(wrong.value)  # a sentence, not the lines of the checks
