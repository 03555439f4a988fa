"""A teacher's way through a class with nbgrader: build, collect, preflight, grade, feedback, export. Minutes."""

import json
import subprocess
import tempfile
from pathlib import Path

import pytest
from submissions import Class, course_command, exported

from lessons.course import sandbox, sources

pytest.importorskip("nbgrader", reason='needs nbgrader: pip install -e ".[course]"')
pytestmark = pytest.mark.slow

LEFT_BEHIND = "86399.25"  # seconds that a forked process sleeps: a number by which it is known
HOSTILE = {  # a way to write softmax that costs its points, and no others
    "hangs": "def softmax(x):\n    while True:\n        pass\n",
    "hangs_on": "def softmax(x):\n    while True:\n        try:\n            while True:\n                pass\n"
    "        except BaseException:\n            pass\n",
    "prints_on": "def softmax(x):\n    while True:\n        print('x' * 1000)\n",
    "dies": "import os\ndef softmax(x):\n    os._exit(0)\n",
    "exits": "def softmax(x):\n    exit()\n",
    "crashes": "import ctypes\ndef softmax(x):\n    ctypes.string_at(0)\n",
    "eats": "def softmax(x):\n    a = []\n    while True:\n        a.append(np.ones(10**7))\n",
    "replaces": "import checks\nfor k in ('close', 'that', 'pair', 'operation', 'unchanged', 'ready'):\n"
    "    setattr(checks, k, lambda *a, **k: (a[0], lambda dz: (dz,)))\ndef softmax(x):\n    return x\n",
    "reads": "import json\ncells = json.load(open('SOLUTION'))['cells']\n"
    "exec(next(''.join(c['source']) for c in cells if c['metadata'].get('nbgrader', {}).get('grade_id') == 'softmax'))",
}
ODD = {  # what stands above a right softmax and costs nothing
    "warns": "import sys\nprint('careful', file=sys.stderr)\n",
    "megabytes": "for _ in range(3000):\n    print('x' * 1000)\n",
    "forks": "import os\nme = os.getpid()\nfor _ in range(6):\n    os.fork()\n"
    f"if os.getpid() != me:\n    os.execvp('sleep', ['sleep', '{LEFT_BEHIND}'])\n",
}
BROKEN = {  # what preflight says
    "deleted": "deleted: cell softmax-hidden",
    "doubled": "doubled: cell softmax",
    "unparsable": "a1_autograd.ipynb does not parse as a notebook",
    "misnamed": "wrong file name: expected a1_autograd.ipynb, there is a1_autograd (1).ipynb",
    "other": "it is not this assignment",
}


def test_a_class_of_thirty(tmp_path):
    course, name = tmp_path / "class", "a1_autograd"
    printed = course_command(course, "build", "a1", "--seed", "11")
    assert "10 tasks, 100 points" in printed
    room = Class(course, name)
    released = json.dumps(room.release)
    assert "SOLUTION" not in released
    assert "HIDDEN" not in released
    room.hand_in("right", room.solved())
    room.hand_in("stub", room.stub())
    room.hand_in("no_tests", room.with_tests("pass"))
    assignment = sources.load(name)
    wrongs = sources.wrong_solutions(assignment)[::3][:10]
    for number, wrong in enumerate(wrongs):
        room.hand_in(f"wrong{number}", room.mistake(wrong.task, wrong.old, wrong.new))
    for student, code in HOSTILE.items():
        code = code.replace("SOLUTION", str(course / "source" / name / f"{name}.ipynb"))
        room.hand_in(student, room.solved(softmax=code))
    for student, code in ODD.items():
        room.hand_in(student, room.solved(softmax=code + room.solutions["softmax"]))
    room.hand_in("deleted", room.without("softmax-hidden"))
    room.hand_in("doubled", room.doubled("softmax"))
    room.hand_in("unparsable", '{"cells": [')
    room.hand_in("misnamed", room.solved(), f"{name} (1).ipynb")
    room.hand_in("other", {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    assert len(list((course / "submitted").iterdir())) == 30

    before = course_command(course, "preflight", code=1)
    for student, sentence in BROKEN.items():
        assert f"refused  {student}: {sentence}" in before
    assert "read     reads: unusual code: cells = json.load(open(" in before
    report = course_command(course, "grade", "--cell-seconds", "6", code=1)
    assert "25 graded, 5 not" in report

    rows = exported(course)
    for student, sentence in BROKEN.items():
        assert rows[student]["score"] == ""
        assert rows[student]["status"].startswith(f"refused: {sentence}")
    scores = {student: float(row["score"]) for student, row in rows.items() if row["score"]}
    points = {task: sum(c.points for c in assignment.graded if c.task == task) for task in assignment.tasks}
    expected = {"right": 100, "stub": 0, "no_tests": 0} | dict.fromkeys(ODD, 100)
    expected |= dict.fromkeys(HOSTILE, 100 - points["softmax"])
    if report.startswith(sandbox.SAYS["none"]):  # as the guide says: then a submission reads what the teacher can read
        expected["reads"] = 100
    for number, wrong in enumerate(wrongs):
        tests = dict(pair.split("=") for pair in rows[f"wrong{number}"]["points_by_test"].split())
        lost = {c.grade_id: c.points for c in assignment.graded if float(tests[c.grade_id]) != c.points}
        assert {grade_id.rpartition("-")[0] for grade_id in lost} == {wrong.task}, wrong.title["en"]
        expected[f"wrong{number}"] = 100 - sum(lost.values())
    assert scores == expected
    running = subprocess.run(["ps", "-A", "-o", "args"], capture_output=True, text=True).stdout
    assert LEFT_BEHIND not in running

    course_command(course, "feedback")
    page = (course / "feedback" / "dies" / name / f"{name}.html").read_text(encoding="utf-8")
    assert "ended the Python process" in page
    assert "default_rng(11)" not in page
    assert "BEGIN HIDDEN" not in page
    assert "<script src=" not in page  # nothing is loaded from elsewhere
    assert "<mfrac>" in page
    assert r"\frac" not in page
    room.hand_in("deleted", room.solved())  # handed in again: graded; the others are not run again
    assert "26 graded, 4 not" in course_command(course, "grade", code=1)


def test_the_second_assignment_in_chinese_with_a_teachers_tests(tmp_path):
    course, name = tmp_path / "class", "a2_attention"
    (course / "private").mkdir(parents=True)
    own = '# %% hidden="softmax" points=4\nchecks.close(softmax(np.zeros(3)), np.ones(3) / 3, "我的测试")\n'
    (course / "private" / f"{name}.py").write_text(own, encoding="utf-8")
    assert "your own hidden tests for softmax" in course_command(course, "build", "a2", "--language", "zh")
    room = Class(course, name)
    assert "我的测试" not in json.dumps(room.release, ensure_ascii=False)
    room.hand_in("right", room.solved())
    room.hand_in("stub", room.stub())
    room.hand_in("scale", room.mistake("attention", " / np.sqrt(Q.shape[-1])", ""))
    room.hand_in("kernel", room.mistake("attention_kernel", "i + Tk - Tq + 1", "i + Tk - Tq"))
    room.hand_in("uniform", room.solved(softmax="def softmax(x, axis=-1):\n    return np.full(3, 1 / 3)\n"))
    course_command(course, "grade")
    scores = {student: float(row["score"]) for student, row in exported(course).items()}
    assert scores == {"right": 100, "stub": 0, "scale": 86, "kernel": 88, "uniform": 94}
    for mode in ("bwrap", "unshare", "none"):
        with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as work:
            if mode != "none" and not sandbox.works(sandbox.Sandbox(mode, course, 4096), Path(work)):
                continue
        report = course_command(course, "grade", "--again", "--isolation", mode)
        assert report.startswith(sandbox.SAYS[mode])
        assert {student: float(row["score"]) for student, row in exported(course).items()} == scores
    course_command(course, "feedback")
    page = (course / "feedback" / "scale" / name / f"{name}.html").read_text(encoding="utf-8")
    assert "应当是" in page
