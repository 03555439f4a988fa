"""A page, lessons/en/NAME.md or lessons/zh/NAME.md: MyST Markdown with four directives and two roles of our own.

```{cell} NAME                  a cell of the chapter, run here; options :caption: and :label: make its picture a figure,
```                             :alt: says in words what it shows
```{quoted} attention           the code that carries the tag eq:attention; :within: names the definition, if several do;
```                             or a definition, minilm.tape:topological_order
```{formula} attention          the formula of an entry of minilm.formulas
```
:::{solution}                   folded text; a title may follow
:::
{n}`0.731 = y[0]`               0.731, which is compared with what y[0] is at this place, to the digits that are written
{check}`loss < 2`               nothing; fails where the expression is false
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from lessons.book import LESSONS
from lessons.book.cells import Cell, cells_of
from lessons.book.quoting import latex, quoted, source_of
from minilm.errors import InputError

OPENING = re.compile(r"```\{(cell|quoted|formula)\} (\S+)$")
OPTION = re.compile(r":([\w-]+): ?(.*)$")
NUMBER = re.compile(r"\{n\}`([^`=]+?) = ([^`]+)`")
CHECK = re.compile(r"\{check\}`([^`]+)`")
LABEL = re.compile(r"^\(([\w-]+)\)=$", re.MULTILINE)
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
OPTIONS = {"cell": {"caption", "label", "alt", "tags"}, "quoted": {"within"}, "formula": set()}


@dataclass(frozen=True)
class Prose:
    """Running text, and what its numbers must be: expressions that are true after the cells above."""

    text: str
    checks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """A cell at its place in a page."""

    cell: Cell
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Quote:
    """Code of minilm: what was asked for, where it stands, the lines."""

    what: str
    place: str
    code: str


@dataclass(frozen=True)
class Equation:
    """The formula of an entry of minilm.formulas."""

    name: str
    latex: str
    source: str = field(compare=False)  # where the documents have it, and the command that explains it, in words


Part = Prose | Run | Quote | Equation


@dataclass(frozen=True)
class Page:
    """A page in one language."""

    name: str
    language: str
    source: str
    parts: tuple[Part, ...]

    @property
    def title(self) -> str:
        heading = HEADING.search(self.source)
        return heading[2] if heading else self.name

    @property
    def runs(self) -> list[Run]:
        return [part for part in self.parts if isinstance(part, Run)]

    @property
    def labels(self) -> list[str]:
        """Labels of places and figures, in order."""
        found = [label for part in self.parts if isinstance(part, Prose) for label in LABEL.findall(part.text)]
        return found + [run.options["label"] for run in self.runs if "label" in run.options]

    @property
    def headings(self) -> list[int]:
        """The level of each heading, in order."""
        return [
            len(marks)
            for part in self.parts
            if isinstance(part, Prose)
            for marks, _ in HEADING.findall(without_fences(part.text))
        ]


def names(language: str = "en") -> list[str]:
    """The pages of a language in the order of the book: index first, then by name, since names begin with numbers."""
    found = sorted(path.stem for path in (LESSONS / language).glob("*.md"))
    return sorted(found, key=lambda name: (name != "index", name))


def path_of(name: str, language: str) -> Path:
    return LESSONS / language / f"{name}.md"


def read(name: str, language: str, figure_language: str | None = None) -> Page:
    """Read a page. figure_language: the language of the cells, where it cannot be the page's (no font).

    Raises InputError, with the page and its line, for a cell, tag or option that is not known, and for an open fence.
    """
    path = path_of(name, language)
    source = path.read_text(encoding="utf-8")
    cells = cells_of(name, figure_language or language)
    parts: list[Part] = []
    text: list[str] = []

    def close_text() -> None:
        prose = "\n".join(text).strip("\n")
        text.clear()
        if prose:
            parts.append(Prose(prose, tuple(checks_in(prose))))

    lines = iter(enumerate(source.splitlines(), 1))
    for number, line in lines:
        opening = OPENING.fullmatch(line)
        if opening is None:
            if line.startswith(("```{cell", "```{quoted", "```{formula")):
                raise InputError(f"{path}, line {number}: {line!r} lacks a name behind the directive")
            text.append(line)
            continue
        close_text()
        options = {}
        for inner, option in lines:
            if option == "```":
                break
            match = OPTION.fullmatch(option)
            if match is None or match[1] not in OPTIONS[opening[1]]:
                raise InputError(f"{path}, line {inner}: {option!r} is no option of {opening[1]}")
            options[match[1]] = match[2]
        else:
            raise InputError(f"{path}, line {number}: the fence is not closed")
        try:
            parts.append(part(opening[1], opening[2], options, cells, language))
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from error
    close_text()
    return Page(name, language, source, tuple(parts))


def part(kind: str, name: str, options: dict[str, str], cells: dict[str, Cell], language: str) -> Part:
    if kind == "quoted":
        return Quote(name, *quoted(name, options.get("within", "")))
    if kind == "formula":
        return Equation(name, latex(name), source_of(name, language))
    if name not in cells:
        raise InputError(f"there is no cell {name!r}; there are: {', '.join(cells)}")
    return Run(cells[name], options)


def checks_in(text: str) -> list[str]:
    """Python expressions that must be true where this text stands."""
    numbers = [f"states({said.strip()!r}, {expression})" for said, expression in NUMBER.findall(text)]
    return numbers + CHECK.findall(text)


def without_checks(text: str) -> str:
    """What the reader sees: numbers as they are, checks not at all."""
    return re.sub(r"^\n*$\n", "\n", CHECK.sub("", NUMBER.sub(lambda m: m[1].strip(), text)), flags=re.MULTILINE)


def without_fences(text: str) -> str:
    """Without code blocks, in which a # is no heading."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
