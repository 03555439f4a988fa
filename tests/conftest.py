"""What all tests share: hypothesis' profiles, the folder with the real data, and a generator with a fixed seed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# deadline=None once, here: the first call of anything is slow, and a slow machine is no bug.
settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("dev"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


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
