"""A teacher's commands on a folder: what is refused, and in which words. Without nbgrader, on a notebook made by hand."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from submissions import Class, grade_id

from lessons.course import building, folder, notebooks, preflight, sandbox, sources
from lessons.course.__main__ import main
from minilm.errors import InputError

NAME = sources.names()[0]


@pytest.fixture
def course(tmp_path):
    """A course folder whose release is what nbgrader would make of it: solutions and hidden tests taken out."""
    made = folder.open_folder(tmp_path / "class", "en", 5, create=True)
    assignment = sources.load(NAME)
    cells = []
    for number, cell in enumerate(sources.in_language(assignment.cells, "en")):
        code = cell.kind != "text"
        metadata = notebooks.metadata(cell, number) if code else {}
        cells.append({"cell_type": "code" if code else "markdown", "metadata": metadata, "source": cell.source})
    for stage in ("source", "release"):
        path = made.path / stage / NAME / f"{NAME}.ipynb"
        path.parent.mkdir(parents=True)
        if stage == "release":
            for cell in cells:
                cell["source"] = (
                    sources.stub(cell["source"], "en")
                    if cell["metadata"].get("nbgrader", {}).get("solution")
                    else cell["source"]
                )
        path.write_text(
            json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), encoding="utf-8"
        )
    return made


def finding(course, student):
    return next(each for each in preflight.preflight(course, NAME) if each.student == student)


def test_what_can_be_graded_passes(course):
    room = Class(course.path, NAME)
    room.hand_in("stub", room.stub())
    room.hand_in("solved", room.solved())
    more = room.solved()
    more["cells"].insert(3, {"cell_type": "code", "metadata": {}, "source": ["x = 1\n", "x"], "outputs": []})
    room.hand_in("own_cells", more)
    room.hand_in("changed_tests", room.with_tests("pass"))
    assert [each.refused for each in preflight.preflight(course, NAME)] == [""] * 4


def test_each_defect_is_named(course):
    room = Class(course.path, NAME)
    room.hand_in("deleted", room.without("softmax-test"))
    room.hand_in("doubled", room.doubled("tanh"))
    room.hand_in("broken", '{"cells": [')
    room.hand_in("list", "[1, 2]")
    room.hand_in("binary", "\0\1")
    room.hand_in("name", room.solved(), f"{NAME} (1).ipynb")
    room.hand_in("other", {"cells": [], "metadata": {}, "nbformat": 4})
    room.hand_in("old", {**room.solved(), "nbformat": 3})
    moved = room.solved()
    moved["cells"].sort(key=lambda cell: grade_id(cell) == "tanh")
    room.hand_in("moved", moved)
    text = room.solved()
    next(c for c in text["cells"] if grade_id(c) == "tanh")["cell_type"] = "markdown"
    room.hand_in("text", text)
    (course.path / "submitted" / "empty" / NAME).mkdir(parents=True)
    (course.path / "submitted" / "loose.ipynb").write_text("{}")
    wrong_place = course.path / "submitted" / "place" / "A1" / f"{NAME}.ipynb"
    wrong_place.parent.mkdir(parents=True)
    wrong_place.write_text(json.dumps(room.solved()))
    (course.path / "students.txt").write_text("absent\ndeleted\n")
    words = {
        "deleted": "deleted: cell softmax-test",
        "doubled": "doubled: cell tanh",
        "broken": "does not parse",
        "list": "does not parse",
        "binary": "does not parse",
        "name": f"expected {NAME}.ipynb, there is {NAME} \\(1\\).ipynb",
        "other": "not this assignment",
        "old": "format 3",
        "moved": "moved",
        "text": "no code cell any more: cell tanh",
        "empty": "folder is empty",
        "loose.ipynb": "lies in submitted/ itself",
        "place": f"A1/{NAME}.ipynb, expected {NAME}/{NAME}.ipynb",
        "absent": "nothing was handed in",
    }
    for student, sentence in words.items():
        assert re.search(sentence, finding(course, student).refused), student
    assert len(preflight.preflight(course, NAME)) == len(words)


def test_unusual_code_is_shown_to_the_teacher(course):
    room = Class(course.path, NAME)
    room.hand_in("sly", room.solved(tanh="import checks\nchecks.close = print\nsetattr(checks, 'that', print)"))
    room.hand_in("plain", room.solved())
    assert len(finding(course, "sly").odd) == 2
    assert not finding(course, "plain").odd


def test_the_preflight_command_reports_and_fails(course, capsys):
    room = Class(course.path, NAME)
    room.hand_in("li", room.solved())
    assert main(["preflight", "--course", str(course.path)]) == 0
    room.hand_in("wang", room.without("tanh-hidden"))
    assert main(["preflight", "a1", "--course", str(course.path)]) == 1
    assert "refused  wang: deleted: cell tanh-hidden" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["preflight", "--course", "nowhere"], "no course folder"),
        (["preflight", "a9"], "there is no assignment a9"),
        (["preflight", "a2"], "a2_attention was not built"),
        (["preflight", "--course", __file__], "is a file; choose a folder"),
    ],
)
def test_a_wrong_command_says_what_to_do(course, arguments, sentence, capsys):
    extra = [] if "--course" in arguments else ["--course", str(course.path)]
    assert main([*arguments, *extra]) == 2
    assert sentence in capsys.readouterr().err


def test_a_folder_with_other_files_is_not_taken(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="other files"):
        folder.open_folder(tmp_path, create=True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_new_folder_draws_its_own_seed_and_keeps_it(tmp_path):
    first = folder.open_folder(tmp_path / "a", create=True)
    assert folder.open_folder(tmp_path / "a").seed == first.seed
    assert folder.open_folder(tmp_path / "b", create=True).seed != first.seed


def test_a_teachers_tests_take_the_place_of_the_public_ones(tmp_path):
    assignment = sources.load(NAME)
    (tmp_path / f"{NAME}.py").write_text('# %% hidden="tanh" points=2\nassert tanh(SEED)\n', encoding="utf-8")
    own, replaced = notebooks.with_private_tests(assignment, tmp_path)
    assert replaced == ["tanh"]
    assert next(c.source for c in own.cells if c.kind == "hidden" and c.task == "tanh") == "assert tanh(SEED)"
    assert own.points == assignment.points
    (tmp_path / f"{NAME}.py").write_text('# %% hidden="cosh" points=2\npass\n', encoding="utf-8")
    with pytest.raises(InputError, match="TASK one of"):
        notebooks.with_private_tests(assignment, tmp_path)


def test_commands_without_nbgrader_say_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "nbgrader", None)
    assert main(["build", "--course", str(tmp_path / "class")]) == 2
    assert 'pip install -e ".[course]"' in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["bwrap", "unshare"])
def test_the_sandbox_keeps_what_it_promises(mode, tmp_path):
    hidden, work = tmp_path / "class", tmp_path / "work"
    hidden.mkdir()
    work.mkdir()
    (hidden / "gradebook.db").write_text("secret")
    box = sandbox.Sandbox(mode, hidden, 2048)
    plain = {
        "bwrap": ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "true"],
        "unshare": ["unshare", "--user", "--map-root-user", "--net", "--mount", "true"],
    }[mode]
    if shutil.which(mode) is None or subprocess.run(plain, capture_output=True).returncode:
        pytest.skip(f"{mode} does not work on this system")
    assert sandbox.works(box, work)

    def inside(code):
        return subprocess.run(
            box.command(work, [sys.executable, "-c", code]), env=sandbox.environment(work), capture_output=True
        )

    assert inside(f"open({str(hidden / 'gradebook.db')!r})").returncode
    assert inside(f"open({str(tmp_path / 'x')!r}, 'w')").returncode
    assert inside("import socket; socket.create_connection(('127.0.0.1', 9), 2)").returncode
    assert inside("x = bytearray(3 << 30)").returncode
    assert inside("open('x', 'w').write('1')").returncode == 0
    assert (work / "x").exists()
    assert not (tmp_path / "x").exists()
    assert (hidden / "gradebook.db").read_text() == "secret"


def test_a_sandbox_that_does_not_hold_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: "/bin/true")
    monkeypatch.setattr(sandbox.Sandbox, "command", lambda self, work, argv: argv)  # isolates nothing
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "gradebook.db").write_text("secret")
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(InputError, match="does not work"):
        sandbox.sandbox("unshare", tmp_path / "class", 2048, work)
    assert sandbox.sandbox("auto", tmp_path / "class", 2048, work).mode == "none"


@pytest.mark.parametrize("option", ["--cell-seconds=-3", "--total-seconds=0", "--memory=10", "--memory=4e3"])
def test_a_limit_that_means_nothing_is_refused(course, option, capsys):
    with pytest.raises(SystemExit):
        main(["grade", "a1", "--course", str(course.path), option])
    assert "is not a whole number of at least" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[1]", '{"seed": "x"}', '{"seed": -5}', "{"])
def test_settings_that_cannot_be_read_are_named(course, text, capsys):
    (course.path / "course.json").write_text(text)
    assert main(["preflight", "--course", str(course.path)]) == 2
    assert "course.json cannot be read" in capsys.readouterr().err


TANH = '# %% hidden="tanh" points=2\n'


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        (NAME, "print(1)\n", "must start with"),
        (NAME, '# %% hidden="tan" points=2\ntanh(1)\n', "must start with"),
        (NAME, '# %% hidden="tanh"\ntanh(1)\n', "must start with"),
        (NAME, '# %% test="tanh" points=2\ntanh(1)\n', "must start with"),
        (NAME, f"{TANH}tanh(1)\n{TANH}tanh(2)\n", "two cells"),
        (NAME, f"{TANH}tanh(1\n", "tests of tanh are no Python"),
        ("a1", f"{TANH}tanh(1)\n", "there is no assignment a1"),
        (
            NAME,
            f'{TANH}checks.close(tanh(np.zeros(1))[0], [1.0], "tanh(0)")\n',
            "reference solution: Wrong: tanh\\(0\\) is 0, expected 1",
        ),
        (NAME, f"{TANH}tanh\n", "pass where nothing was written"),
        (NAME, f'{TANH}checks.close(tanh(np.zeros(1))[0], [0.0], "tanh(0)")\n', ""),
    ],
)
def test_a_teachers_own_tests_are_tried(course, file, text, sentence):
    (course.path / "private" / f"{file}.py").write_text(text, encoding="utf-8")

    def attempt():
        assignment, own = notebooks.with_private_tests(sources.load(NAME), course.path / "private")
        for task in own:
            building.try_out(assignment, task, course)
        return own

    if sentence:
        with pytest.raises(InputError, match=sentence):
            attempt()
    else:
        assert attempt() == ["tanh"]
