"""The page of a formula, as `minilm explain` prints it, and the list of all."""

from __future__ import annotations

from minilm.formulas.entry import Formula, Step, Text
from minilm.formulas.registry import FAMILIES, all_formulas, documents_versions, find
from minilm.formulas.tags import Excerpt, code_of
from minilm.formulas.writing import code_lines, matrix, padded, width, wrapped

LONGEST_CODE = 60  # a definition with more lines is named and not shown
HEADINGS = {
    "formula": Text("The formula", "公式"),
    "latex": Text("In LaTeX", "LaTeX 写法"),
    "letters": Text("The letters", "符号"),
    "code": Text("The code", "代码"),
    "also": Text("also tagged: ", "另见："),
    "example": Text("A worked example", "算例"),
    "counterexample": Text("A counter-example", "反例"),
    "documents": Text("In the documents", "在文档中"),
    "papers": Text("In the literature", "在文献中"),
    "tests": Text("The tests", "测试"),
}
WRONG = Text(
    "As the document has it, this is wrong. What is right: minilm explain {}",
    "文档中的这个公式有误。正确的写法见：minilm explain {} --zh",
)
HAS_WRONG = Text("wrong in {}: minilm explain {}", "{} 的写法有误：minilm explain {} --zh")
NOWHERE = Text("not in the documents", "文档中没有")
USAGE = Text(
    "minilm explain NAME shows one of them (also by number: F1); --zh in Chinese, --latex for a typesetter.",
    "用 minilm explain NAME --zh 查看其中一个（也可用编号，如 F1）；--latex 给出 LaTeX 写法。",
)


def explain(name: str, language: str = "en", latex: bool = False) -> str:
    """The page of one formula; language: "en" or "zh". Raises InputError for a name that is not known."""
    formula = find(name)
    title = f"{formula.name}: {formula.title.said(language)}"
    lines = [title, "=" * width(title), ""]
    if formula.right:
        lines += [*wrapped(WRONG.said(language).format(formula.right)), ""]
    lines += [*wrapped(formula.idea.said(language)), ""]
    lines += section(
        "formula", language, [line for part in formula.formula.splitlines() for line in wrapped(part, "      ", "  ")]
    )
    if latex:
        lines += section("latex", language, ["  " + line for line in formula.latex.splitlines()])
    lines += section("letters", language, letters(formula, language))
    lines += section("code", language, code(formula, language))
    lines += section("counterexample" if formula.right else "example", language, example(formula.example(), language))
    lines += section("documents", language, documents(formula, language))
    lines += section("papers", language, [line for paper in formula.papers for line in wrapped(paper, "    ", "  ")])
    lines += section("tests", language, [f"  {test}" for test in formula.tests])
    return "\n".join(lines).rstrip()


def overview(language: str = "en") -> str:
    """All entries by family, one a line."""
    entries = [formula for family in all_formulas().values() for formula in family]
    first = max(width(formula.name) for formula in entries) + 2
    lines = []
    for family, formulas in all_formulas().items():
        lines.append(FAMILIES[family].said(language))
        for formula in formulas:
            numbers = ", ".join(
                dict.fromkeys(each for one in (formula, *documents_versions(formula)) for each in one.ids)
            )
            lines += wrapped(
                formula.title.said(language),
                " " * (first + 18),
                "  " + padded(formula.name, first) + padded(numbers, 16),
            )
        lines.append("")
    return "\n".join([*lines, *wrapped(USAGE.said(language))])


def section(heading: str, language: str, lines: list[str]) -> list[str]:
    """A heading and its lines; nothing where there are none."""
    return [HEADINGS[heading].said(language), *lines, ""] if lines else []


def letters(formula: Formula, language: str) -> list[str]:
    first = max((width(letter.name) for letter in formula.letters), default=0) + 2
    second = max((width(letter.shape) for letter in formula.letters), default=0)
    second += 2 if second else 0
    lines = []
    for name, shape, meaning in formula.letters:
        start = "  " + padded(name, first) + padded(shape, second)
        lines += wrapped(meaning.said(language), " " * width(start), start)
    return lines


def code(formula: Formula, language: str) -> list[str]:
    """The marked statements, or if there are none the shortest marked definition; the places of all others."""
    found = code_of(formula.name)
    shown = [piece for piece in found if piece.statement]
    if not shown:
        whole = sorted((piece for piece in found if piece.code), key=lambda piece: piece.code.count("\n"))
        shown = [piece for piece in whole[:1] if piece.code.count("\n") < LONGEST_CODE]
    lines: list[str] = []
    last = ""
    for piece in shown:
        place = f"{piece.file}, {piece.definition}"
        if place != last:
            lines += [*([""] if last else []), f"  {place}"]
        lines += code_lines(piece.code, "    ")
        last = place
    others = dict.fromkeys(place_of(piece) for piece in found if piece not in shown)
    rest = ", ".join(place for place in others if place not in {place_of(piece) for piece in shown})
    return lines + (wrapped(rest, "    ", f"  {HEADINGS['also'].said(language)}") if rest else [])


def place_of(piece: Excerpt) -> str:
    return f"{piece.file} {piece.definition}".rstrip()


def example(steps: list[Step], language: str) -> list[str]:
    """Every step with its value; a matrix stands under its formula."""
    lines: list[str] = []
    for step in steps:
        words = f"    {step.words.said(language)}" if step.words else ""
        rows = step.value.splitlines() if isinstance(step.value, str) else matrix(step.value)
        short = len(rows) == 1 and width(f"  {step.formula} = {rows[0]}") <= 100
        head = f"  {step.formula} = {rows[0]}" if short else f"  {step.formula}"
        if width(head + words) <= 100:
            lines.append(head + words)
        else:
            lines += [head, *wrapped(words.strip(), "      ")]
        if short:
            continue
        if isinstance(step.value, str):
            lines += [line for row in rows for line in wrapped(row, "          ", "      ")]
        else:
            lines += ["      " + row for row in rows]
    return lines


def documents(formula: Formula, language: str) -> list[str]:
    lines = [
        line for number, where in formula.documents for line in wrapped(where, "       ", "  " + padded(number, 5))
    ]
    wrong = documents_versions(formula)
    if not lines and not wrong:
        lines = ["  " + NOWHERE.said(language)]
    for other in wrong:
        places = "; ".join(f"{number} {where}" for number, where in other.documents)
        lines += wrapped(HAS_WRONG.said(language).format(places, other.name), "    ", "  ")
    return lines
