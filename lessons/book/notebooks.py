"""A page → the notebook that is run; what was run → the reader's notebook and Sphinx's.

The reader's is plain Jupyter: cross-references have become words, folded text is <details>, quoted code names its place.
Sphinx's keeps MyST. Neither shows the cells that check the numbers of the text.
"""

from __future__ import annotations

import re
from typing import Any

from lessons.book.pages import LABEL, Equation, Page, Prose, Quote, Run, without_checks

SOLUTION = {"en": "Solution", "zh": "解答"}
BETWEEN_CHINESE = re.compile("(?<=[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef“”])\n(?=[\u4e00-\u9fff\uff00-\uffef“])")
EMPHASIS = re.compile("(?<![*])[*](?![*\\s])([^*\n]*[\u4e00-\u9fff][^*\n]*)(?<!\\s)[*](?![*])")
SETUP = """\
import matplotlib.pyplot as plt

plt.rcParams.update({"figure.figsize": (5.6, 3.0), "axes.spines.top": False, "axes.spines.right": False})
%config InlineBackend.figure_formats = ["svg"]"""
FONTS = """

from matplotlib import font_manager

known = set(font_manager.get_font_names())  # 图中的汉字需要一个中文字体
plt.rcParams["font.sans-serif"] = [f for f in FONTS if f in known] + ["DejaVu Sans"]
plt.rcParams["axes.unicode_minus"] = False"""
CHECKING = "from lessons.book.stating import states"


def to_run(page: Page) -> Any:
    """The notebook of a page before it is run; a cell's metadata say what it is."""
    from nbformat import v4

    from lessons.book.fonts import CHINESE

    cells = []
    if page.runs:
        setup = SETUP
        if page.language == "zh":
            setup += FONTS.replace("FONTS", repr(CHINESE).replace("'", '"'))
        cells.append(code_cell(v4, setup, "setup", ("hide-input",)))
        cells.append(code_cell(v4, CHECKING, "check", ()))
    for part in page.parts:
        if isinstance(part, Run):
            tags = (*part.cell.tags, *part.options.get("tags", "").split())
            cells.append(code_cell(v4, part.cell.code, part.cell.name, tags, part.options))
        elif isinstance(part, Prose) and part.checks:
            cells.append(code_cell(v4, "\n".join(f"assert {each}" for each in part.checks), "check", ()))
    notebook = v4.new_notebook(cells=cells)
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def code_cell(v4: Any, code: str, name: str, tags: tuple[str, ...], options: dict[str, str] | None = None) -> Any:
    cell = v4.new_code_cell(code)
    cell.id = name if name != "check" else cell.id
    cell.metadata = {"minilm": name, "tags": list(tags)}
    image = {"alt": (options or {}).get("alt") or (options or {}).get("caption", "")}
    if image["alt"]:
        cell.metadata["mystnb"] = {"image": image}
    if options and "caption" in options:
        cell.metadata["mystnb"]["figure"] = {"caption": options["caption"], "name": options.get("label", "")}
    return cell


def woven(page: Page, ran: Any, reader: bool) -> Any:
    """The notebook that is shown: the text of the page around the cells that were run."""
    from nbformat import v4

    done = iter([cell for cell in ran.cells if cell.metadata["minilm"] not in ("check", "setup")])
    cells: list[Any] = [cell for cell in ran.cells if cell.metadata["minilm"] == "setup"] if reader else []
    text: list[str] = []
    for part in page.parts:
        if not isinstance(part, Run):
            text.append(shown(part, page, reader))
            continue
        if text:
            cells.append(v4.new_markdown_cell("\n\n".join(text)))
            text = []
        cells.append(next(done))
    if text:
        cells.append(v4.new_markdown_cell("\n\n".join(text)))
    notebook = v4.new_notebook(cells=cells, metadata=dict(ran.metadata))
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{page.name}-{number}"
    if reader and notebook.cells and notebook.cells[0].cell_type == "code" and len(notebook.cells) > 1:
        notebook.cells[0], notebook.cells[1] = notebook.cells[1], notebook.cells[0]  # the title first
    return notebook


def shown(part: Prose | Quote | Equation, page: Page, reader: bool) -> str:
    """A part of a page as Markdown, for the reader's notebook or for Sphinx."""
    if isinstance(part, Quote):
        if reader:
            return f"```python\n# {part.place}\n{part.code}\n```"
        return f"```{{code-block}} python\n:caption: {part.place}\n{part.code}\n```"
    if isinstance(part, Equation):
        if reader:
            return f"$$\n{part.latex}\n$$\n\n{part.source}"
        label = f"eq-{page.name.partition('_')[2] or page.name}-{part.name}"
        return f"$$\n{part.latex}\n$$ ({label})\n\n:::{{rst-class}} formula-source\n{part.source}\n:::"
    text = folded(without_checks(part.text), page.language)
    if page.language == "zh":  # a line that ends between two Chinese characters ends without a space
        text = BETWEEN_CHINESE.sub("", text)
        if not reader:
            text = EMPHASIS.sub(r'<em class="zh">\1</em>', text)
    return plain(text) if reader else re.sub(r"\]\((\d\d_\w+)\.md", r"](\1.ipynb", text)  # what Sphinx reads


def folded(text: str, language: str) -> str:
    """:::{solution} … ::: → <details>, which a browser and Jupyter fold."""

    def details(m: re.Match[str]) -> str:
        title = m[1].strip() or SOLUTION[language]
        return f'<details class="solution"><summary>{title}</summary>\n\n{m[2].strip()}\n\n</details>'

    return re.sub(r"^:::\{solution\}([^\n]*)\n(.*?)^:::$", details, text, flags=re.MULTILINE | re.DOTALL)


def plain(text: str) -> str:
    """MyST → the Markdown that Jupyter knows."""
    text = LABEL.sub("", text)
    text = re.sub(
        r"^:::\{admonition\} ([^\n]*)\n(?::class: [^\n]*\n)?(.*?)^:::$", boxed, text, flags=re.MULTILINE | re.DOTALL
    )
    text = re.sub(r"\{(?:ref|numref)\}`([^`<]+?) <[^`]+>`", r"\1", text)
    text = re.sub(r"\$\$ \([\w-]+\)$", "$$", text, flags=re.MULTILINE)
    text = re.sub(r"\]\((\w+)\.md(#[\w-]+)?\)", r"](\1.ipynb)", text)
    return re.sub(r"^```\{toctree\}.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL).strip("\n")


def boxed(m: re.Match[str]) -> str:
    lines = [f"**{m[1].strip()}**", "", *m[2].strip().splitlines()]
    return "\n".join(f"> {line}".rstrip() for line in lines)
