"""The code of a formula: found by its tag in the installed packages, never by a line number.

A tag behind a statement, or in a comment above it, marks that statement. A tag in a docstring, or behind a `def`, marks
the whole definition.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

PACKAGES = ("minilm", "minilm_kernels")
REGISTRY, DOCUMENTS = (
    "minilm/formulas/",
    "minilm/formulas/families/counter_examples.py",
)  # what is said of tags is no tag
TAG = re.compile(r"\[eq:([^\]]*)\]")
TRAILING_TAGS = re.compile(r"\s*#\s*(?:\[eq:[^\]]*\]\s*)+$|(?:\s*\[eq:[^\]]*\])+\s*$")
FOR_TOOLS = re.compile(r"  # (?:type: ignore\[[\w-]+\]|fmt: skip)")  # what is said to mypy or ruff, not to readers
LEADING_TAGS = re.compile(r"#\s*(?:\[eq:[^\]]*\][\s:]*)+")
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
WORKING_METHODS = ("forward", "update", "__call__", "backward")  # what is shown of a class


class Excerpt(NamedTuple):
    """A piece of code with a tag: file "minilm/nn/layers.py", the definition it is in, its first line, its text."""

    file: str
    definition: str
    line: int
    code: str
    statement: bool  # a single statement, not a whole definition


@cache
def tagged_code() -> dict[str, tuple[Excerpt, ...]]:
    """All tags of both packages, each with its pieces of code in the order of files and lines."""
    found: dict[str, list[Excerpt]] = {}
    for package in PACKAGES:
        for path, text in python_files(resources.files(package), package):
            if "[eq:" not in text or (path.startswith(REGISTRY) and path != DOCUMENTS):
                continue
            for name, excerpt in excerpts(path, text):
                if excerpt not in found.setdefault(name, []):
                    found[name].append(excerpt)
    return {name: tuple(pieces) for name, pieces in found.items()}


def code_of(name: str) -> tuple[Excerpt, ...]:
    """The pieces of code that carry [eq:name]; single statements first, since they say most in the fewest lines."""
    pieces = tagged_code().get(name, ())
    return tuple(sorted(pieces, key=lambda piece: not piece.statement))


def python_files(folder: Any, path: str) -> Iterator[tuple[str, str]]:
    """(path, text) of all Python files below a folder of a package, which may be in an archive."""
    for entry in sorted(folder.iterdir(), key=lambda entry: str(entry.name)):
        where = f"{path}/{entry.name}"
        if entry.is_dir():
            yield from python_files(entry, where)
        elif entry.name.endswith(".py"):
            yield where, entry.read_text(encoding="utf-8")


def excerpts(path: str, text: str) -> Iterator[tuple[str, Excerpt]]:
    """(tag, what it marks) for each tag in a file's comments and docstrings."""
    lines = text.splitlines()
    tree = ast.parse(text)
    for number, line in enumerate(lines, 1):
        names = TAG.findall(line)
        if names:
            excerpt = marked_by(tree, lines, number, path)
            yield from ((name, excerpt) for name in names)


def marked_by(tree: ast.Module, lines: list[str], number: int, path: str) -> Excerpt:
    """What a tag in this line marks."""
    comment = number
    while lines[number - 1].lstrip().startswith("#"):
        number += 1  # a comment of its own is about what follows it
    around = [node for node in ast.walk(tree) if isinstance(node, ast.stmt) and covers(node, number)]
    around.sort(key=lambda node: (node.lineno, -(node.end_lineno or 0)))  # the outermost first
    scopes = [node for node in around if isinstance(node, DEFINITIONS)]
    name = ".".join(node.name for node in scopes)
    if not scopes:
        return Excerpt(path, "", number, "", False)  # in the docstring of a file
    scope, inner = scopes[-1], around[-1]
    body = scope.body[1:] if docstring(scope) else scope.body
    if inner is scope or inner is docstring(scope) or (body and number < body[0].lineno):
        return whole(scope, lines, path, name)
    code = [*lines[comment - 1 : number - 1], *lines[inner.lineno - 1 : inner.end_lineno]]
    return Excerpt(path, name, inner.lineno, tidy(code), True)


def whole(scope: Any, lines: list[str], path: str, name: str) -> Excerpt:
    """A definition without its docstring; of a class the method that works."""
    if isinstance(scope, ast.ClassDef):
        methods = {node.name: node for node in scope.body if isinstance(node, DEFINITIONS)}
        method = next((methods[each] for each in WORKING_METHODS if each in methods), None)
        if method is None:
            return Excerpt(path, name, scope.lineno, "", False)
        scope, name = method, f"{name}.{method.name}"
    note = docstring(scope)
    kept = range(scope.lineno, (scope.end_lineno or scope.lineno) + 1)
    code = [lines[i - 1] for i in kept if note is None or not covers(note, i)]
    return Excerpt(path, name, scope.lineno, tidy(code), False)


def docstring(node: Any) -> ast.stmt | None:
    first = node.body[0]
    is_text = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return first if is_text else None


def covers(node: ast.stmt, number: int) -> bool:
    return node.lineno <= number <= (node.end_lineno or node.lineno)


def tidy(code: list[str]) -> str:
    """Without the tags and what is said to tools, and moved to the left."""
    code = [FOR_TOOLS.sub("", line) for line in code]
    code = [LEADING_TAGS.sub("# ", TRAILING_TAGS.sub("", line)).rstrip() for line in code]
    code = [line for line in code if line.strip() != "#"]
    indent = min((len(line) - len(line.lstrip()) for line in code if line), default=0)
    return "\n".join(line[indent:] for line in code)
