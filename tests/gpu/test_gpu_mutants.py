"""The GPU kernels' tests are tested: each seeded bug in the CUDA C++ must be noticed by the check that stands beside it.

`pytest tests/gpu/test_gpu_mutants.py -m slow -s` prints which check noticed which bug.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from gpu import emulated
from gpu.gpu_backends import no_simulator
from gpu.gpu_mutants import MUTANTS

ROOT = Path(__file__).resolve().parents[2]
MISSING = emulated.missing() or no_simulator()


def run(*numbers: int | str) -> list[list]:
    """A process that tries these mutants. One that dies has written somewhere it must not: that is noticed too."""
    folders = [str(ROOT / "tests"), str(ROOT), str(ROOT / "kernels")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}
    environment.pop("MINILM_KERNELS", None)
    done = subprocess.run(
        [sys.executable, "-m", "gpu.gpu_mutant_run", *map(str, numbers)], env=environment, capture_output=True,
        text=True, timeout=1800, check=False,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode < 0:
        lines.append([numbers[len(lines)], "g++", f"the process died of signal {-done.returncode}"])
    else:
        assert done.returncode == 0, done.stderr[-3000:]
    return lines


def test_the_list_is_long_enough_and_names_are_unique():
    assert len(MUTANTS) >= 15
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_no_mutant_is_stale(mutant):
    assert mutant.source()


def test_a_stale_mutant_is_an_error():
    with pytest.raises(AssertionError, match="stale mutant"):
        MUTANTS[0]._replace(old="no such line").source()


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=str(MISSING))
def test_the_kernels_without_a_bug_pass():
    """Loaded in the same way: else a mutant might be 'caught' for being loaded."""
    assert [(check, said) for _, check, said in run("none") if said] == []


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=str(MISSING))
@pytest.mark.parametrize("number", range(len(MUTANTS)), ids=[mutant.name for mutant in MUTANTS])
def test_each_mutant_is_caught(number):
    mutant = MUTANTS[number]
    ((_, check, said),) = run(number)
    print(f"| {mutant.name} | {mutant.file} | {check} | {(said or 'SURVIVED')[:90]} |")
    assert said, mutant.name
