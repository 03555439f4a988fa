"""Run as a program: `python -m properties.kernel_mutant_run 0 1 2` tries the mutants with these numbers.

"none" instead of a number tries the kernels without a bug, "unit" the products on the matrix unit. Prints one line of JSON for
each: its number, the law that noticed, and what it said. Started with NUMBA_DISABLE_JIT=1, so that the Numba kernels run as
ordinary Python and a bug costs a fraction of a second instead of a compilation.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from properties import matrix_unit_laws
from properties.kernel_attention_laws import ATTENTION_LAWS
from properties.kernel_backends import Backend
from properties.kernel_laws import LAWS
from properties.kernel_more_laws import MORE_LAWS
from properties.kernel_mutants import BLOCK_SIZES, FOLDER, MUTANTS, ON_UNIT, Mutant

NAME = "mutated_minilm_kernels"
SHORT = {"formula": "equals_the_formula", "derivative": "gradient_is_the_derivative"}
EXAMPLES = 150


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles a file of the package with the package's name, and perhaps a piece of its text, replaced."""

    def __init__(self, name: str, path: str, text: str):
        super().__init__(name, path)
        self.text = re.sub(r"\bminilm_kernels\b(?=[. ])", NAME, text)

    def get_code(self, fullname: str) -> Any:
        return compile(self.text, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, mutant: Mutant | None):
        self.changed = {FOLDER / mutant.file: mutant.source()} if mutant else {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        top, *rest = name.split(".")
        if top != NAME:
            return None
        file = FOLDER.joinpath(*rest)
        package = file.is_dir()
        file = file / "__init__.py" if package else file.with_suffix(".py")
        if not file.exists():
            return None
        loader = _Loader(name, str(file), self.changed.get(file) or file.read_text(encoding="utf-8"))
        folders = [str(Path(file).parent)] if package else None
        return importlib.util.spec_from_file_location(name, file, loader=loader, submodule_search_locations=folders)


@contextmanager
def mutated(mutant: Mutant | None) -> Iterator[ModuleType]:
    """The kernels' package a second time, under another name, with the bug in it."""
    finder = _Finder(mutant)
    sys.meta_path.insert(0, finder)
    try:
        yield importlib.import_module(NAME)
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
            del sys.modules[name]


def law_of(check: str) -> Callable[[Any, Any], None]:
    """The law that a mutant names, as a function of (kernels, draw)."""
    short, _, kernel = check.partition(":")
    if kernel:
        return lambda kernels, draw: LAWS[SHORT[short]](kernels, kernel, draw)
    if check in ON_UNIT:
        return getattr(matrix_unit_laws, check)
    return ATTENTION_LAWS[check] if check in ATTENTION_LAWS else MORE_LAWS[check][1]


def complaint(check: str, kernels: Backend, examples: int) -> str | None:
    """What a law says about these kernels; None if it finds nothing in so many examples."""
    law = law_of(check)

    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(data=st.data())
    def run(data):
        law(kernels, data.draw)

    try:
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            run()
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def backend_of(file: str) -> str:
    return "numba" if file.startswith("cpu/") else "reference"


def try_mutant(mutant: Mutant, examples: int = EXAMPLES) -> tuple[str | None, str]:
    """The first law that notices, and what it says."""
    with mutated(mutant) as package:
        kernels = Backend(backend_of(mutant.file), package, size="medium")
        for check in mutant.checks.split():
            said = complaint(check, kernels, examples)
            if said:
                return check, said
    return None, "survived"


def main(numbers: list[str]) -> None:
    for number in numbers:
        if number in ("none", "unit"):
            checks = sorted({(check, backend_of(m.file)) for m in MUTANTS for check in m.checks.split()})
            checks = [(check, backend) for check, backend in checks if (check in ON_UNIT) == (number == "unit")]
            with mutated(None) as package:
                for check, backend in checks:
                    said = complaint(check, Backend(backend, package, size="medium"), 4)
                    print(json.dumps([number, f"{backend}: {check}", said]), flush=True)
        elif number.startswith("size"):
            print(json.dumps([number, *try_mutant(BLOCK_SIZES[int(number.removeprefix("size"))], 25)]), flush=True)
        else:
            print(json.dumps([int(number), *try_mutant(MUTANTS[int(number)])]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
