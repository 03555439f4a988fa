"""Every law of the kernels, for every kernel and every backend that can run here."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties.kernel_backends import NAMES, backend_or_skip
from properties.kernel_cases import CALLS
from properties.kernel_laws import LAWS

EXAMPLES = 20


@pytest.mark.parametrize("backend", NAMES)
@pytest.mark.parametrize("kernel", sorted(CALLS))
@pytest.mark.parametrize("law", sorted(LAWS))
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_law(law, kernel, backend, data):
    kernels = backend_or_skip(backend)
    with np.errstate(all="ignore"):
        LAWS[law](kernels, kernel, data.draw)


@pytest.mark.slow
@pytest.mark.parametrize("backend", NAMES)
@pytest.mark.parametrize("kernel", sorted(CALLS))
@settings(max_examples=300)
@given(data=st.data())
def test_many_examples_of_the_formula(kernel, backend, data):
    kernels = backend_or_skip(backend)
    with np.errstate(all="ignore"):
        LAWS["equals_the_formula"](kernels, kernel, data.draw)
