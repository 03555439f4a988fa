"""A small text in the working folder, and a run on it that draws nothing."""

import pytest
from command_line import some_text
from run_cases import make_config

from minilm.training import run as run_module


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # drawing takes longer than these trainings
    monkeypatch.setattr(run_module, "plot_runs", lambda folders, path: path)
    path = tmp_path / "t.txt"
    path.write_text(some_text())
    return path


@pytest.fixture
def config(text):
    return make_config()
