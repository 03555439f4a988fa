"""Fixtures of the tests that run on the stand-in for CuPy."""

from __future__ import annotations

import pytest

import minilm_kernels


@pytest.fixture
def cupy():
    """`import cupy` gives the stand-in, also in minilm; skips where CuPy, whose signatures it holds to, is not installed."""
    from gpu import stand_in

    with stand_in.installed() as module:
        yield module


@pytest.fixture
def reference():
    """The formulas as kernels, also on the device."""
    with minilm_kernels.use_kernels("reference"):
        yield
