"""What BERT is given in its tests."""

from __future__ import annotations

import pytest
from bert_cases import B, T


@pytest.fixture
def ids(generator):
    return generator.integers(1, 23, (B, T))
