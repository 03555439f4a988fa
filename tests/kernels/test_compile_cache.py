"""The cache of compiled kernels: found again, also by a package that was installed elsewhere, and never stale."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

import minilm_kernels
from minilm_kernels.cpu.compile import part, variant

PART = "from minilm_kernels.cpu.compile import part\n\n\n@part\ndef factor(x):\n    return x * 2\n"
KERNEL = """
from minilm_kernels.cpu.compile import kernel
from minilm_kernels.cpu.cache_probe_part import factor


@kernel
def probe(x):
    return factor(x) + 1
"""
PROGRAM = """
from minilm_kernels.cpu.cache_probe import probe
value = probe(10)
print(value, sum(probe.stats.cache_hits.values()), sum(probe.stats.cache_misses.values()))
"""


@pytest.fixture
def package(tmp_path) -> Path:
    """A copy of minilm_kernels with one kernel more, whose helper stands in a file of its own."""
    source = Path(minilm_kernels.__file__).parent
    copy = tmp_path / "site" / "minilm_kernels"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "cpu" / "cache_probe_part.py").write_text(PART)
    (copy / "cpu" / "cache_probe.py").write_text(KERNEL)
    return copy


def run(package: Path, cache: Path, **more: str) -> tuple[int, int, int]:
    """value, cache hits, cache misses of the probe in a fresh process."""
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "MINILM_CACHE_DIR": str(cache), **more}
    environment.pop("NUMBA_DISABLE_JIT", None)
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    value, hits, misses = map(int, done.stdout.split())
    return value, hits, misses


def test_found_again_and_never_stale(package, tmp_path):
    cache = tmp_path / "cache"
    assert run(package, cache) == (21, 0, 1)
    assert run(package, cache) == (21, 1, 0)
    part = package / "cpu" / "cache_probe_part.py"
    times = part.stat()
    part.write_text(PART.replace("x * 2", "x * 3"))
    os.utime(part, (times.st_atime, times.st_mtime))  # the file's time and size tell nothing
    assert run(package, cache) == (31, 0, 1)
    assert run(package, cache) == (31, 1, 0)


@pytest.mark.slow
def test_a_read_only_package_has_a_cache(package, tmp_path):
    for folder, _, files in os.walk(package):
        for name in files:
            os.chmod(os.path.join(folder, name), 0o444)
        os.chmod(folder, 0o555)
    try:
        assert run(package, tmp_path / "cache") == (21, 0, 1)
        assert run(package, tmp_path / "cache") == (21, 1, 0)
    finally:
        for folder, _, _ in os.walk(package):
            os.chmod(folder, 0o755)


def test_without_a_place_for_a_cache_kernels_still_run(package, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("a file where the folder would have to be")
    assert run(package, blocked)[0] == 21
    assert run(package, blocked)[0] == 21


SIBLINGS = """
import sys
import numpy as np
from minilm_kernels import reference
from minilm_kernels.cpu import activations

x = np.linspace(-3, 3, 147, dtype=np.float32)
for form in sys.argv[1:]:
    y, residuals = activations.gelu(x, approximate=form)
    exact, _ = reference.gelu(x.astype(float), approximate=form)
    assert abs(y - exact).max() < 1e-6, form
"""


@pytest.mark.slow
def test_siblings_compiled_by_two_processes_stay_apart(tmp_path):
    """The two forms of GELU are made by one factory: to the linker they must not be one function."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MINILM_CACHE_DIR": str(tmp_path)}
    environment.pop("NUMBA_DISABLE_JIT", None)
    for forms in (["none"], ["tanh"], ["none", "tanh"], ["tanh", "none"]):
        subprocess.run([sys.executable, "-c", SIBLINGS, *forms], check=True, env=environment, timeout=120)


def test_what_a_factory_makes_needs_names_of_its_own():
    def make(number, decorator):
        @decorator
        def factor(x):
            return x * number

        return factor

    assert [make(n, variant(n, make)).py_func.__qualname__.rpartition(".")[2] for n in (2, 3)] == [
        "factor_2_make",
        "factor_3_make",
    ]
    make(2, part)
    with pytest.raises(RuntimeError, match=r"two functions are called .*factor; use @variant"):
        make(3, part)


@pytest.mark.slow
def test_another_processor_has_binaries_of_its_own(package, tmp_path):
    cache = tmp_path / "cache"
    assert run(package, cache) == (21, 0, 1)
    assert run(package, cache, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="") == (21, 0, 1)
