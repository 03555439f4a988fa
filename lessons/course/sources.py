"""An assignment's source, lessons/assignments/NAME.py, read into cells; and the cells of a release.

The format is jupytext's "percent" script. What a cell is, its header says:

    # %% [markdown] lang="en"        text of one language
    # %% role="given"                code that the student reads and runs, locked
    # %% task="softmax"              a task: docstring, stub, and the solution between ### BEGIN SOLUTION and ### END SOLUTION
    # %% test="softmax" points=6     its visible tests
    # %% hidden="softmax" points=4   its hidden tests; they may use SEED
    # %%                             code without points that the student may change

In code, checks.tr("text", "文字") becomes the text of the chosen language.
"""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path

from minilm.errors import InputError

FOLDER = Path(__file__).resolve().parent.parent / "assignments"
LANGUAGES = ("en", "zh")
SEED = 2017
HEADER = re.compile(r"# %%(?P<markdown> \[markdown\])?(?P<options>.*)")
OPTION = re.compile(r'(\w+)=("[^"]*"|\d+)')
KINDS = ("task", "test", "hidden")
STUB = {"en": "# YOUR CODE HERE", "zh": "# 在这里写你的代码"}
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


@dataclass(frozen=True)
class Cell:
    """A cell: its kind ("text", "given", "task", "test", "hidden" or "free"), the task it belongs to, and its source."""

    kind: str
    source: str
    task: str = ""
    points: int = 0
    language: str = ""

    @property
    def grade_id(self) -> str:
        """nbgrader's name of the cell: softmax, softmax-test, softmax-hidden."""
        return self.task if self.kind == "task" else f"{self.task}-{self.kind}"


@dataclass(frozen=True)
class Wrong:
    """A typical wrong solution: the reference's `old` text replaced by `new`, which must lose points in `task`."""

    task: str
    title: dict[str, str]
    old: str
    new: str


@dataclass(frozen=True)
class Assignment:
    """An assignment: its cells in order."""

    name: str
    cells: tuple[Cell, ...] = field(repr=False)

    @property
    def tasks(self) -> list[str]:
        return [cell.task for cell in self.cells if cell.kind == "task"]

    @property
    def graded(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.points]

    @property
    def points(self) -> int:
        return sum(cell.points for cell in self.cells)

    def title(self, language: str) -> str:
        """Its first heading."""
        text = next(cell.source for cell in self.cells if cell.language == language)
        return text.splitlines()[0].lstrip("# ")


def names() -> list[str]:
    """All assignments: the files of lessons/assignments that contain a task."""
    return sorted(p.stem for p in FOLDER.glob("*.py") if '# %% task="' in p.read_text(encoding="utf-8"))


def find(asked: str) -> str:
    """The assignment that somebody means by "a1", "A1" or "a1_autograd". Raises InputError if there is none."""
    found = [name for name in names() if asked.lower() in (name, name.partition("_")[0])]
    if not found:
        raise InputError(f"there is no assignment {asked}; there are {', '.join(names())}")
    return found[0]


def load(name: str) -> Assignment:
    """Read lessons/assignments/NAME.py. Raises InputError for a source that does not fit together."""
    path = FOLDER / f"{name}.py"
    assignment = Assignment(name, tuple(parse(path.read_text(encoding="utf-8"), path.name)))
    check(assignment)
    return assignment


def parse(text: str, name: str) -> list[Cell]:
    """The cells of a percent script; what stands before the first is left out."""
    cells = []
    header, lines = "", list[str]()
    for number, line in enumerate([*text.splitlines(), "# %%"], 1):
        if not line.startswith("# %%"):
            lines.append(line)
            continue
        if header:
            cells.append(cell(header, "\n".join(lines).strip("\n"), f"{name}:{number}"))
        header, lines = line, []
    return cells


def cell(header: str, source: str, where: str) -> Cell:
    """A cell from its header line and its lines."""
    match = HEADER.fullmatch(header)
    options = {key: value.strip('"') for key, value in OPTION.findall(header)}
    if match is None or OPTION.sub("", match["options"]).strip() or set(options) - {"lang", "role", "points", *KINDS}:
        raise InputError(
            f"{where}: the cell above starts with {header!r}; see lessons/course/sources.py for what it may say"
        )
    if match["markdown"]:
        source = "\n".join(re.sub("^# ?", "", line) for line in source.splitlines())
        return Cell("text", source, language=options.get("lang", ""))
    kind = next((kind for kind in KINDS if kind in options), options.get("role", "free"))
    return Cell(kind, source, options.get(kind, ""), int(options.get("points", 0)))


def check(assignment: Assignment) -> None:
    """Raise InputError unless every task has a solution and tests with points, and every text both languages."""
    for task in assignment.tasks:
        of_task = [c for c in assignment.cells if c.task == task]
        if [c.kind for c in of_task] != list(KINDS) or not all(c.points for c in of_task[1:]):
            raise InputError(
                f"{assignment.name}: task {task} needs three cells: task, test with points, hidden with points"
            )
        if of_task[0].source.count(BEGIN) != 1 or of_task[0].source.count(END) != 1:
            raise InputError(f"{assignment.name}: task {task} needs one {BEGIN} and one {END}")
    strangers = {c.task for c in assignment.cells if c.task} - set(assignment.tasks)
    if strangers:
        raise InputError(f"{assignment.name}: tests of {', '.join(sorted(strangers))}, which is no task")
    counts = {lang: sum(c.language == lang for c in assignment.cells) for lang in LANGUAGES}
    if len(set(counts.values())) != 1 or sum(counts.values()) != sum(c.kind == "text" for c in assignment.cells):
        raise InputError(f"{assignment.name}: every text needs a cell for each language; found {counts}")


def wrong_solutions(assignment: Assignment) -> list[Wrong]:
    """Those of lessons/assignments/NAME.wrong.toml. Raises InputError where `old` is not in the reference exactly once."""
    path = FOLDER / f"{assignment.name}.wrong.toml"
    if not path.exists():
        raise InputError(f"{path} is missing: the mistakes that the tests of {assignment.name} must catch")
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["wrong"]
    for entry in entries:
        reference = next((c.source for c in assignment.cells if c.kind == "task" and c.task == entry["task"]), "")
        if reference.count(entry["old"]) != 1:
            raise InputError(
                f"{path.name}: {entry['en']!r}: `old` is not in the solution of {entry['task']} exactly once"
            )
    entries.sort(key=lambda entry: assignment.tasks.index(entry["task"]))
    return [Wrong(e["task"], {lang: e[lang] for lang in LANGUAGES}, e["old"], e["new"]) for e in entries]


def with_wrong(assignment: Assignment, wrong: Wrong) -> Assignment:
    """The assignment as somebody hands it in who made this mistake and no other."""
    return replace(
        assignment,
        cells=tuple(
            replace(c, source=c.source.replace(wrong.old, wrong.new))
            if c.kind == "task" and c.task == wrong.task
            else c
            for c in assignment.cells
        ),
    )


# --- one language, released -------------------------------------------------------------------------------------------


def in_language(cells: tuple[Cell, ...], language: str) -> list[Cell]:
    """The cells of one language: its texts, and all code with checks.tr(...) resolved."""
    return [
        c if c.kind == "text" else replace(c, source=translated(c.source, language))
        for c in cells
        if c.language in ("", language)
    ]


def translated(code: str, language: str) -> str:
    """Every tr("text", "文字") replaced by the text of the language."""
    while True:
        calls = [
            node
            for node in ast.walk(ast.parse(code))
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("tr")
        ]
        calls = [node for node in calls if ast.unparse(node.func) in ("tr", "checks.tr")]
        if not calls:
            return code
        call = max(calls, key=lambda node: (node.lineno, node.col_offset))
        chosen = ast.get_source_segment(code, call.args[LANGUAGES.index(language)])
        lines = code.encode().splitlines(keepends=True)
        before = b"".join(lines[: call.lineno - 1]) + lines[call.lineno - 1][: call.col_offset]
        after = lines[call.end_lineno - 1][call.end_col_offset :] + b"".join(lines[call.end_lineno :])  # type: ignore[operator]
        code = before.decode() + (chosen or "") + after.decode()


def stub(source: str, language: str) -> str:
    """The source of a task without its solution."""
    lines, inside = [], False
    for line in source.splitlines():
        if BEGIN in line:
            indent = line[: len(line) - len(line.lstrip())]
            lines += [indent + STUB[language], indent + "raise NotImplementedError()"]
        inside = (inside or BEGIN in line) and END not in line
        if not inside and END not in line:
            lines.append(line)
    return "\n".join(lines)
