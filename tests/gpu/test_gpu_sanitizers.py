"""The kernels compiled by g++ with AddressSanitizer (accesses out of bounds) and ThreadSanitizer (missing barriers)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gpu import emulated
from gpu.gpu_mutants import MUTANTS

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = {mutant.name: i for i, mutant in enumerate(MUTANTS)}
FOUND = {"address": "ERROR: AddressSanitizer", "thread": "WARNING: ThreadSanitizer: data race"}
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(emulated.missing()), reason=str(emulated.missing()))]


def library(name: str) -> str:
    path = subprocess.run(
        ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(path).is_absolute():
        pytest.skip(f"{name} is not installed")
    return str(Path(path).resolve())


def run(sanitizer: str, *more: str) -> subprocess.CompletedProcess[str]:
    folders = [str(ROOT / "tests"), str(ROOT), str(ROOT / "kernels")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders), "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("MINILM_KERNELS", None)
    command = [sys.executable, "-m", "gpu.sanitizer_run", sanitizer, *more]
    if sanitizer == "address":
        environment["LD_PRELOAD"] = f"{library('libasan.so')} {library('libstdc++.so')}"
        # NumPy's arrays from malloc itself, so that each has its own end
        environment |= {"PYTHONMALLOC": "malloc", "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0"}
    else:
        environment["LD_PRELOAD"] = library("libtsan.so")
        environment["TSAN_OPTIONS"] = "halt_on_error=1:exitcode=66"
        if shutil.which("setarch"):  # it cannot work with a random layout of memory
            command = ["setarch", "-R", *command]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800, check=False)


@pytest.mark.parametrize("sanitizer", ["address", "thread"])
def test_nothing_is_found(sanitizer):
    done = run(sanitizer)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert "nothing found" in done.stdout


@pytest.mark.parametrize(
    ("sanitizer", "name"),
    [
        ("address", "keys behind the last are read"),
        ("address", "rows behind the last are written"),
        ("address", "a part's last rows are behind the matrix"),
        ("thread", "no barrier after a tile is loaded"),
        ("thread", "no barrier before the weights are read"),
        ("thread", "no barrier before dS is read"),
        ("thread", "a sum's memory is used again too early"),
    ],
)
def test_a_seeded_bug_is_found(sanitizer, name):
    done = run(sanitizer, str(NUMBERS[name]))
    assert done.returncode != 0
    assert FOUND[sanitizer] in done.stderr, (done.stdout + done.stderr)[-3000:]
