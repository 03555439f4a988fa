"""What a page quotes of minilm: the code and the formula of a tag, or a definition by its name. Never by a line number."""

from __future__ import annotations

import ast
from pathlib import Path

import minilm
import minilm_kernels
from minilm import formulas
from minilm.errors import InputError
from minilm.formulas.tags import tidy

PACKAGES = {
    "minilm": Path(minilm.__file__).parent,
    "minilm_kernels": Path(minilm_kernels.__file__).parent,
}


def quoted(what: str, within: str = "") -> tuple[str, str]:
    """(place, code) of a tag such as "attention", or of a definition such as "minilm.tape:topological_order".

    Of a tag all statements that carry it, in one definition; where no statement carries it, the marked definition.
    within: the definition to take, where several carry the tag. A definition comes without its docstring.
    Raises InputError where there is none.
    """
    if ":" in what:
        module, _, name = what.partition(":")
        return definition(module, name)
    pieces = [piece for piece in formulas.code_of(what) if piece.code]
    if within:
        pieces = [piece for piece in pieces if within in (piece.definition, f"{piece.file} {piece.definition}")]
    if not pieces:
        raise InputError(f"no code carries the tag eq:{what}" + (f" in {within}" if within else ""))
    first = pieces[0]
    same = [piece for piece in pieces if (piece.file, piece.definition) == (first.file, first.definition)]
    shown = sorted({piece.line: piece.code for piece in same if piece.statement == first.statement}.items())
    return f"{first.file}, {first.definition}", "\n".join(code for _, code in shown)


def definition(module: str, name: str) -> tuple[str, str]:
    """A function or class of a module, without its docstring and tags."""
    package, *parts = module.split(".")
    base = PACKAGES[package].joinpath(*parts)
    file = base.with_suffix(".py") if base.with_suffix(".py").exists() else base / "__init__.py"
    place = "/".join([package, *parts]) + (".py" if file.name != "__init__.py" else "/__init__.py")
    if not file.exists():
        raise InputError(f"there is no module {module} to quote from")
    text = file.read_text(encoding="utf-8")
    node: ast.AST = ast.parse(text)
    for part in name.split("."):
        children = [child for child in ast.iter_child_nodes(node) if getattr(child, "name", None) == part]
        if not children:
            raise InputError(f"there is no {name} in {module}: what a page quotes has another name now")
        node = children[0]
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
    note = node.body[0]
    if isinstance(note, ast.Expr) and isinstance(note.value, ast.Constant) and isinstance(note.value.value, str):
        del lines[note.lineno - node.lineno : (note.end_lineno or note.lineno) - node.lineno + 1]
    return f"{place}, {name}", tidy(lines)


def latex(name: str) -> str:
    """The formula of an entry, for a typesetter. Raises InputError for a name that is not known."""
    lines = formulas.find(name).latex.splitlines()
    return lines[0] if len(lines) == 1 else "\n".join([r"\begin{gathered}", " \\\\\n".join(lines), r"\end{gathered}"])


def source_of(name: str, language: str) -> str:
    """Where the documents have a formula, "F4 [004 §3.1]", whether it is wrong there, and the command that explains it."""
    formula = formulas.find(name)
    places = [f"{number} [{where}]".strip() for number, where in formula.documents]
    if formula.right:
        places.insert(0, {"en": "wrong in the document", "zh": "文档中有误"}[language])
    command = f"`minilm explain {formula.name}{' --zh' if language == 'zh' else ''}`"
    return " · ".join([*places, command])
