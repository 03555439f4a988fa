"""Builds an engine with a bug in it: the source loaded a second time, under another name, with one piece replaced.

Nothing is written to disk and the real engine is not touched: `minilm` becomes `mutated_minilm` in the text of every module,
and a finder on sys.meta_path hands the changed text to the import system.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import re
import sys
from pathlib import Path
from types import CodeType, SimpleNamespace

from properties.mutants import Mutant

import minilm
import minilm_kernels

ROOTS = {"mutated_minilm": Path(minilm.__file__).parent, "mutated_minilm_kernels": Path(minilm_kernels.__file__).parent}
PARTS = ("minilm.functional", "minilm.tensor")  # what is loaded: not nn, optim, models


def source_of(file: str) -> Path:
    if file.startswith("kernels/"):
        return ROOTS["mutated_minilm_kernels"] / file.removeprefix("kernels/")
    return ROOTS["mutated_minilm"] / file


def mutated_source(mutant: Mutant) -> str:
    """The file with the bug in it. Raises AssertionError if the line is no longer there exactly once: a stale mutant."""
    text = source_of(mutant.file).read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise AssertionError(
            f"stale mutant {mutant.name!r}: {mutant.old!r} occurs {text.count(mutant.old)} times in {mutant.file}"
        )
    return text.replace(mutant.old, mutant.new)


@functools.cache
def compiled(path: Path) -> CodeType:
    return compile_renamed(path.read_text(encoding="utf-8"), path)


def compile_renamed(text: str, path: Path) -> CodeType:
    return compile(
        re.sub(r"\b(minilm|minilm_kernels)\b(?=[. ])", r"mutated_\1", text), str(path), "exec", dont_inherit=True
    )


class Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds mutated_minilm and mutated_minilm_kernels; the top package is empty, so that only what is needed loads."""

    def __init__(self, mutant: Mutant | None):
        self.changed = {source_of(mutant.file): mutated_source(mutant)} if mutant else {}

    def find_spec(self, name, path=None, target=None):
        top, *rest = name.split(".")
        if top not in ROOTS:
            return None
        base = ROOTS[top].joinpath(*rest)
        file, package = (base / "__init__.py", True) if base.is_dir() else (base.with_suffix(".py"), False)
        spec = importlib.machinery.ModuleSpec(name, self, origin=str(file), is_package=package)
        spec.loader_state = file
        return spec

    def exec_module(self, module):
        file = module.__spec__.loader_state
        if module.__name__ == "mutated_minilm":
            return
        changed = self.changed.get(file)
        exec(compiled(file) if changed is None else compile_renamed(changed, file), module.__dict__)


def load_engine(mutant: Mutant | None = None) -> SimpleNamespace:
    """An engine (F, Tensor, no_grad) of its own, with the mutant's bug in it, or without any.

    `reference()` lets its reference kernels, which are mutated too, serve it within a `with` block.
    """
    loader = Loader(mutant)
    sys.meta_path.insert(0, loader)
    try:
        for part in PARTS:
            importlib.import_module(f"mutated_{part}")
        return SimpleNamespace(
            F=sys.modules["mutated_minilm.functional"],
            Tensor=sys.modules["mutated_minilm.tensor"].Tensor,
            no_grad=sys.modules["mutated_minilm.tape"].no_grad,
            reference=functools.partial(sys.modules["mutated_minilm_kernels"].use_kernels, "reference"),
        )
    finally:
        sys.meta_path.remove(loader)
        for name in [name for name in sys.modules if name.split(".")[0] in ROOTS]:
            del sys.modules[name]
