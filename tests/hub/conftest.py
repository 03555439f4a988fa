"""A folder with a small GPT-2."""

import pytest
from hub_models import new


@pytest.fixture
def folder(tmp_path):
    new().save_pretrained(tmp_path / "model")
    return tmp_path / "model"
