"""What all tests share: hypothesis' profiles, the folder with the real data, and a generator with a fixed seed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# deadline=None once, here: the first call of anything is slow, and a slow machine is no bug.
settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("dev"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


FOLDER = Path(__file__).parent
COMPILER = pytest.StashKey[subprocess.Popen]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before all tests: compile the kernels on another core while the first tests run, as `minilm kernels` does.

    Without it the tests that need them compile one after the other; from the second run on the cache has them.
    """
    whole = session.config.args_source is pytest.Config.ArgsSource.TESTPATHS and not session.config.option.collectonly
    if whole and find_spec("numba") and os.environ.get("MINILM_KERNELS") != "reference":
        folders = [str(session.config.rootpath), str(session.config.rootpath / "kernels")]
        session.stash[COMPILER] = subprocess.Popen(
            [sys.executable, "-m", "minilm", "kernels", "--dtype", "both"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")])},
        )  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Folders that hardly need compiled kernels come first, so that nobody compiles what is being compiled already."""
    first = [FOLDER / name for name in ("gpu", "text", "data", "metrics", "lessons", "formulas")]
    items.sort(key=lambda item: not any(item.path.is_relative_to(folder) for folder in first))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if compiler := session.stash.get(COMPILER, None):
        compiler.kill()
        compiler.wait()


@pytest.fixture
def data_folder() -> Path:
    """The folder with the real data files; tests that need it are skipped where there is none."""
    folder = os.environ.get("MINILM_DATA")
    if not folder:
        pytest.skip("MINILM_DATA is unset: it names the folder with the real data files")
    if not Path(folder).is_dir():
        pytest.skip(f"MINILM_DATA names {folder}, which is no folder")
    return Path(folder)


@pytest.fixture
def generator() -> np.random.Generator:
    """Randomness that is the same in every run."""
    return np.random.default_rng(20240229)
