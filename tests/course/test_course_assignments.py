"""The reference gets all points, the stub none, each wrong solution loses them in its task. Without nbgrader."""

import ast
import re
import shutil

import pytest

from lessons.course import proving, sources
from lessons.course.__main__ import main
from minilm.errors import InputError

NAMES = sources.names()
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # wrong solutions overflow


@pytest.fixture(scope="module", params=NAMES)
def assignment(request):
    return sources.load(request.param)


@pytest.mark.parametrize("language", sources.LANGUAGES)
def test_the_reference_gets_everything(assignment, language):
    seed = sources.LANGUAGES.index(language)
    lost = {k: why for k, (_, why) in proving.scores(assignment, seed=seed, language=language).items() if why}
    assert not lost
    assert assignment.points == 100


def test_the_untouched_stub_gets_nothing_in_every_cell(assignment):
    result = proving.scores(proving.as_stub(assignment))
    assert result.keys() == {cell.grade_id for cell in assignment.graded}
    assert {points for points, _ in result.values()} == {0}


def test_every_wrong_solution_loses_points_in_its_task(assignment):
    wrongs = sources.wrong_solutions(assignment)
    assert len(wrongs) >= 12
    assert {wrong.task for wrong in wrongs} == set(assignment.tasks)
    rows = []
    for wrong in wrongs:
        result = proving.scores(sources.with_wrong(assignment, wrong), only=wrong.task)
        mine = {key: value for key, value in result.items() if key.rpartition("-")[0] == wrong.task}
        points, sentences = sum(p for p, _ in mine.values()), [s for _, s in mine.values() if s]
        assert points < sum(c.points for c in assignment.graded if c.task == wrong.task), wrong.title["en"]
        assert all(sentences)
        others = {c.grade_id: (c.points, "") for c in assignment.graded if c.task != wrong.task}
        rows.append(proving.row(assignment, wrong, result | others))
    for language in sources.LANGUAGES:
        guide = (proving.GUIDE / f"teacher.{language}.md").read_text(encoding="utf-8")
        assert proving.between(assignment.name).search(guide)[0].strip() == proving.table(rows, language), (
            "run python -m lessons.course prove"
        )


@pytest.mark.slow
def test_no_wrong_solution_loses_points_elsewhere(assignment):
    assert proving.prove(assignment)[0] == []


@pytest.mark.slow
def test_tests_of_several_seeds_agree(assignment):
    """A hidden test must not fail a right solution for the numbers that a teacher's seed happens to draw."""
    for seed in (*range(2, 12), 2**31 - 1):
        assert not [why for _, why in proving.scores(assignment, seed=seed).values() if why]


def test_a_message_speaks_the_students_language_and_no_code():
    checks = proving.checks_module()
    with pytest.raises(checks.Wrong, match=r"has shape \(2,\), expected \(2, 3\)"):
        checks.close([1, 2], [[1, 2, 3]] * 2, "f(x)")
    with pytest.raises(checks.Wrong, match=r"wrong in 1 of 3 numbers. The worst is at \[2\]: 5, expected 3"):
        checks.close([1, 2, 5], [1, 2, 3], "f(x)")
    with pytest.raises(checks.Wrong, match="forget `return`"):
        checks.close(None, [1], "f(x)")
    with pytest.raises(checks.Wrong, match="not a number any more"):
        checks.close([float("nan")], [1.0], "f(x)")
    checks.close([1, 2 + 1e-9], [1, 2], "f(x)")
    checks.ready()
    checks.close = lambda *given: None
    with pytest.raises(RuntimeError):
        checks.ready()


def test_one_language_holds_nothing_of_the_other(assignment):
    chinese = re.compile("[\u4e00-\u9fff]")
    for cell in sources.in_language(assignment.cells, "en"):
        assert not chinese.search(cell.source), cell
    for cell in sources.in_language(assignment.cells, "zh"):
        assert "tr(" not in re.sub(r"\w+tr\(", "", cell.source)
        if cell.kind == "text":
            assert chinese.search(cell.source), cell


def test_both_languages_have_the_same_headings_and_formulas(assignment):
    by_language = [
        [c.source for c in sources.in_language(assignment.cells, lang) if c.kind == "text"]
        for lang in sources.LANGUAGES
    ]
    for en, zh in zip(*by_language, strict=True):
        assert re.findall("^#+", en, re.MULTILINE) == re.findall("^#+", zh, re.MULTILINE)
        assert re.findall(r"\$\$(.+?)\$\$", en, re.DOTALL) == re.findall(r"\$\$(.+?)\$\$", zh, re.DOTALL)
        assert re.findall(r"\((\d+) ", en.splitlines()[0]) == re.findall(r"（(\d+) ", zh.splitlines()[0])


def test_the_headings_tell_the_points(assignment):
    for cell in assignment.cells:
        heading = re.match(r"## \d+\. .*\((\d+) points\)", cell.source) if cell.language == "en" else None
        if heading:
            task = next(c.task for c in assignment.cells[assignment.cells.index(cell) :] if c.kind == "task")
            assert int(heading[1]) == sum(c.points for c in assignment.cells if c.task == task)


def test_a_stub_compiles_and_holds_no_solution(assignment):
    for cell in assignment.cells:
        if cell.kind == "task":
            left = sources.stub(cell.source, "zh")
            ast.parse(left)
            assert "raise NotImplementedError()" in left
            assert "SOLUTION" not in left
            solution = cell.source.split(sources.BEGIN)[1].split(sources.END)[0]
            assert not [line for line in solution.splitlines() if len(line.strip()) > 12 and line in left.splitlines()]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ('# %% tsk="f"\npass', "starts with"),
        ('# %% task="f"\n### BEGIN SOLUTION\npass\n### END SOLUTION', "needs three cells"),
        ('# %% task="f"\npass\n# %% test="f" points=1\n# %% hidden="f" points=1', "needs one ### BEGIN SOLUTION"),
        ('# %% test="f" points=1\nf()', "no task"),
        ('# %% [markdown] lang="en"\n# text', "each language"),
    ],
)
def test_a_source_that_does_not_fit_together_is_refused(source, sentence):
    with pytest.raises(InputError, match=sentence):
        sources.check(sources.Assignment("x", tuple(sources.parse(source, "x.py"))))


def test_jupytext_reads_a_source_as_we_do(assignment):
    jupytext = pytest.importorskip("jupytext", reason='needs jupytext: pip install -e ".[course]"')
    notebook = jupytext.read(sources.FOLDER / f"{assignment.name}.py")
    theirs = [cell.source.strip() for cell in notebook.cells if cell.metadata]
    ours = [cell.source.strip() for cell in assignment.cells if cell.kind != "free"]
    assert theirs == ours


TINY = '''"""A tiny assignment."""

# %% [markdown] lang="en"
# # Assignment 9: doubling

# %% [markdown] lang="zh"
# # 作业 9：加倍

# %% task="double"
def double(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

# %% test="double" points=60
assert double(1) == 2

# %% hidden="double" points=40
assert double(3) == 6
'''
MISTAKE = '[[wrong]]\ntask = "double"\nen = "added"\nzh = "加错"\nold = "2 * x"\nnew = "1 + x"\n'


def test_an_assignment_is_added_by_its_own_files_and_nothing_else(tmp_path, monkeypatch, capsys):
    guide = shutil.copytree(proving.GUIDE, tmp_path / "guide")
    folder = shutil.copytree(sources.FOLDER, tmp_path / "assignments")
    monkeypatch.setattr(sources, "FOLDER", folder)
    monkeypatch.setattr(proving, "GUIDE", guide)
    (folder / "a9_double.py").write_text(TINY, encoding="utf-8")
    assert sources.find("A9") == "a9_double"
    assert main(["prove", "a9"]) == 2
    assert "a9_double.wrong.toml is missing" in capsys.readouterr().err
    (folder / "a9_double.wrong.toml").write_text(MISTAKE, encoding="utf-8")
    before = (guide / "teacher.zh.md").read_text(encoding="utf-8")
    for _ in range(2):  # the second time changes nothing
        assert main(["prove", "a9"]) == 0
        after = (guide / "teacher.zh.md").read_text(encoding="utf-8")
        assert after.count("### 作业 9：加倍\n\n<!-- table of a9_double -->\n\n| 题目 |") == 1
        assert "| `double` | 加错 | 0 | −40 | 60 |" in after
        assert after.index("table of a2_attention") < after.index("table of a9_double") < after.index("## 教学安排")
        assert {*before.splitlines()} <= {*after.splitlines()}
