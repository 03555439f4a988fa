"""The code of a chapter: lessons/cells/NAME.py holds it once, for both languages, as named cells.

    # %% gradient-of-a-product            a cell begins; tags may follow the name: # %% plot hide-input
    x = tensor([1.0, 2.0])  # two numbers

lessons/cells/NAME.zh.toml says how words in it read in Chinese: whole comments and strings, as `"two numbers" = "两个数"`.
Nothing but comments and strings may differ between the languages.
"""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import dataclass

from lessons.book import LESSONS
from minilm.errors import InputError

HEAD = re.compile(r"# %% ([\w-]+)((?: [\w-]+)*)$")
STRING = re.compile(r'(?<![\w"\\])(f?)"([^"\\\n]*(?:\\.[^"\\\n]*)*)"')
DOCSTRING = re.compile(r'"""(.+?)"""')


@dataclass(frozen=True)
class Cell:
    """A named piece of code; tags are those of Jupyter: hide-input, hide-cell, raises-exception."""

    name: str
    code: str
    tags: tuple[str, ...] = ()


def cells_of(chapter: str, language: str = "en") -> dict[str, Cell]:
    """The cells of a chapter by name, in the order of the file; none for a page without a file of cells.

    Raises InputError for a line that begins no cell, a name that occurs twice.
    """
    path = LESSONS / "cells" / f"{chapter}.py"
    if not path.exists():
        return {}
    cells = split(path.read_text(encoding="utf-8"), path.name)
    if language == "en":
        return cells
    words = words_of(chapter)
    return {name: Cell(name, translated(cell.code, words), cell.tags) for name, cell in cells.items()}


def split(text: str, file: str) -> dict[str, Cell]:
    """A file of cells → its cells; what stands before the first is the file's own docstring."""
    found: dict[str, Cell] = {}
    name, tags, lines = "", (), []
    for number, line in enumerate([*text.splitlines(), "# %% end"], 1):
        if not line.startswith("# %%"):
            lines.append(line)
            continue
        head = HEAD.fullmatch(line)
        if head is None:
            raise InputError(f"{file}, line {number}: a cell begins with `# %% name`, not with {line!r}")
        if name:
            found[name] = Cell(name, "\n".join(lines).strip("\n"), tags)
        name, tags, lines = head[1], tuple(head[2].split()), []
        if name in found:
            raise InputError(f"{file}, line {number}: there are two cells named {name!r}; give one another name")
    return found


def words_of(chapter: str) -> dict[str, str]:
    """English words of a chapter's cells → Chinese ones."""
    path = LESSONS / "cells" / f"{chapter}.zh.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def translated(code: str, words: dict[str, str]) -> str:
    """Code with its comments and strings in other words; a string or a comment is replaced whole or not at all."""
    lines = []
    for line in code.splitlines():
        start = comment_start(line)
        if start >= 0:
            text = line[start + 2 :]
            line = strings_translated(line[:start], words) + "# " + words.get(text, text)
        else:
            line = strings_translated(line, words)
        lines.append(line)
    return "\n".join(lines)


def strings_translated(line: str, words: dict[str, str]) -> str:
    line = DOCSTRING.sub(lambda m: f'"""{words.get(m[1], m[1])}"""', line)
    return STRING.sub(lambda m: f'{m[1]}"{words.get(m[2], m[2])}"', line)


def comment_start(line: str) -> int:
    """Where the comment of a line begins (its "# "), or −1; a # inside a string is none."""
    inside = False
    for i, character in enumerate(line):
        if character == '"' and (i == 0 or line[i - 1] != "\\"):
            inside = not inside
        elif character == "#" and not inside and line[i : i + 2] == "# ":
            return i
    return -1


def phrases(code: str) -> tuple[set[str], set[str]]:
    """The comments of a piece of code, and its strings: what a table of words may name."""
    comments, strings = set(), set()
    for line in code.splitlines():
        start = comment_start(line)
        if start >= 0:
            comments.add(line[start + 2 :])
            line = line[:start]
        strings.update(DOCSTRING.findall(line))
        strings.update(text for _, text in STRING.findall(line) if text)
    return comments, strings


def skeleton(code: str) -> str:
    """The code without its comments and with every string emptied: what must be the same in all languages."""
    tree = ast.parse("\n".join("" if line.startswith("%") else line for line in code.splitlines()))

    class Emptied(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.AST:
            return ast.Constant("") if isinstance(node.value, str) else node

        def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
            values = [self.visit(part) for part in node.values if isinstance(part, ast.FormattedValue)]
            return ast.JoinedStr(sorted(values, key=ast.dump))

    return ast.dump(Emptied().visit(tree))
