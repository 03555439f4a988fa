"""The kernels' tests are tested: each seeded bug must be noticed by the law that stands beside it.

`pytest tests/properties/test_kernel_mutants.py -m slow -s` prints which law noticed which bug.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from properties.kernel_backends import has_numba
from properties.kernel_mutants import BLOCK_SIZES, MUTANTS, ON_UNIT

ROOT = Path(__file__).resolve().parents[2]

# The same vectors on every machine, and narrow ones: a tile then has several blocks of them, and their edges are tried.
TARGET = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}
WITH_UNIT = {"NUMBA_CPU_NAME": "sapphirerapids"}


def run(*numbers: int | str, target: dict[str, str] = TARGET) -> list[list]:
    """One process without a compiler, which tries these mutants."""
    folders = [str(ROOT / "tests"), str(ROOT), str(ROOT / "kernels")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders), "NUMBA_DISABLE_JIT": "1", **target}
    environment.pop("MINILM_KERNELS", None)
    done = subprocess.run(
        [sys.executable, "-m", "properties.kernel_mutant_run", *map(str, numbers)], env=environment, capture_output=True,
        text=True, timeout=1800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_list_is_long_enough_and_names_are_unique():
    assert sum(mutant.file.startswith("cpu/") for mutant in MUTANTS) >= 25
    assert len({mutant.name for mutant in [*MUTANTS, *BLOCK_SIZES]}) == len(MUTANTS) + len(BLOCK_SIZES)


@pytest.mark.parametrize("mutant", [*MUTANTS, *BLOCK_SIZES], ids=lambda mutant: mutant.name)
def test_no_mutant_is_stale(mutant):
    assert mutant.source()


def test_a_stale_mutant_is_an_error():
    with pytest.raises(AssertionError, match="stale mutant"):
        MUTANTS[0]._replace(old="no such line").source()


@pytest.mark.slow
@pytest.mark.skipif(not has_numba(), reason="Numba is not installed")
def test_the_kernels_without_a_bug_pass():
    """Loaded in the same way: else a mutant might be 'caught' for being loaded."""
    assert [(check, said) for _, check, said in run("none") if said] == []
    assert [(check, said) for _, check, said in run("unit", target=WITH_UNIT) if said] == []


@pytest.mark.slow
@pytest.mark.skipif(not has_numba(), reason="Numba is not installed")
def test_the_size_of_a_block_changes_nothing_that_the_laws_say():
    names = {f"size{i}": mutant for i, mutant in enumerate(BLOCK_SIZES)}
    said = run(*(name for name in names if names[name].checks not in ON_UNIT))
    said += run(*(name for name in names if names[name].checks in ON_UNIT), target=WITH_UNIT)
    assert {names[name].name: words for name, law, words in said if law is not None} == {}
    assert len(said) == len(BLOCK_SIZES)


@pytest.mark.slow
@pytest.mark.skipif(not has_numba(), reason="Numba is not installed")
def test_each_mutant_is_caught():
    numbers = range(len(MUTANTS))
    caught = run(*(n for n in numbers if MUTANTS[n].checks not in ON_UNIT))
    caught += run(*(n for n in numbers if MUTANTS[n].checks in ON_UNIT), target=WITH_UNIT)
    for number, law, said in caught:
        print(f"| {MUTANTS[number].name} | {MUTANTS[number].file} | {law or 'SURVIVED'} | {said[:90]} |")
    assert len(caught) == len(MUTANTS)
    assert [MUTANTS[number].name for number, law, _ in caught if law is None] == []
