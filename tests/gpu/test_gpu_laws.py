"""All laws of the kernels, for the GPU kernels compiled by g++: the fastest way to run them without a GPU."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from gpu import emulated
from gpu.gpu_backends import emulated as backend
from gpu.simulator_calls import CALLS as SMALL
from gpu.simulator_calls import try_call
from hypothesis import given, settings
from hypothesis import strategies as st
from properties.kernel_attention_laws import ATTENTION_LAWS
from properties.kernel_cases import CALLS
from properties.kernel_laws import LAWS
from properties.kernel_more_laws import MORE_LAWS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(emulated.missing()), reason=str(emulated.missing())),
    pytest.mark.filterwarnings("ignore:heads of"),
]
EXAMPLES = 20
ORDERS = st.sampled_from([0, 1, 2])


@pytest.mark.parametrize("name", SMALL)
def test_small_call(name):
    """Also with the heads of a position side by side, as a projection leaves them."""
    try_call(backend(2), SMALL[name]())


@pytest.mark.parametrize("kernel", sorted(CALLS))
@pytest.mark.parametrize("law", sorted(LAWS))
@settings(max_examples=EXAMPLES)
@given(data=st.data(), order=ORDERS)
def test_law(law, kernel, data, order):
    with np.errstate(all="ignore"):
        LAWS[law](backend(order), kernel, data.draw)


@pytest.mark.parametrize("law", sorted(ATTENTION_LAWS))
@settings(max_examples=EXAMPLES)
@given(data=st.data(), order=ORDERS)
def test_attention_law(law, data, order):
    with np.errstate(all="ignore"):
        ATTENTION_LAWS[law](backend(order), data.draw)


@pytest.mark.parametrize("law", sorted(MORE_LAWS))
@settings(max_examples=EXAMPLES)
@given(data=st.data(), order=ORDERS)
def test_law_of_one_kernel(law, data, order):
    with np.errstate(all="ignore"), warnings.catch_warnings():
        MORE_LAWS[law][1](backend(order), data.draw)
