"""Identities of the functions' values, on drawn shapes and layouts."""

from __future__ import annotations

import properties.rows_elementwise
import properties.rows_layers  # noqa: F401  each import fills the table, from which laws draw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties.function_laws import FUNCTION_LAWS
from properties.table import FEW

from minilm import Tensor
from minilm import functional as F


@pytest.mark.parametrize("name", sorted(FUNCTION_LAWS))
@settings(max_examples=FEW)
@given(data=st.data())
def test_law(name, data):
    FUNCTION_LAWS[name](F, Tensor, data.draw)
