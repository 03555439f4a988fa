"""On a real GPU, `pytest -m gpu`: all laws of the kernels, and the 16-bit types. Skipped where there is none."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from gpu.half_laws import HALF_LAWS
from gpu.on_device import OnDevice
from gpu.simulator_calls import CALLS as SMALL
from gpu.simulator_calls import try_call, try_updates
from hypothesis import given, settings
from hypothesis import strategies as st
from properties.kernel_attention_laws import ATTENTION_LAWS
from properties.kernel_backends import why_not
from properties.kernel_cases import CALLS
from properties.kernel_laws import LAWS
from properties.kernel_more_laws import MORE_LAWS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(bool(why_not("cupy")), reason=str(why_not("cupy"))),
    pytest.mark.filterwarnings("ignore:heads of"),
]
EXAMPLES = 30
KERNELS = OnDevice()


@pytest.mark.parametrize("name", SMALL)
def test_small_call(name):
    try_call(KERNELS, SMALL[name]())


def test_updates():
    try_updates(KERNELS)


@pytest.mark.parametrize("kernel", sorted(CALLS))
@pytest.mark.parametrize("law", sorted(LAWS))
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_law(law, kernel, data):
    with np.errstate(all="ignore"):
        LAWS[law](KERNELS, kernel, data.draw)


@pytest.mark.parametrize("law", sorted(ATTENTION_LAWS))
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_attention_law(law, data):
    with np.errstate(all="ignore"):
        ATTENTION_LAWS[law](KERNELS, data.draw)


@pytest.mark.parametrize("law", sorted(MORE_LAWS))
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_law_of_one_kernel(law, data):
    with np.errstate(all="ignore"), warnings.catch_warnings():
        MORE_LAWS[law][1](KERNELS, data.draw)


@pytest.mark.parametrize("law", sorted(HALF_LAWS))
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_half_law(law, name, data):
    dtype = np.dtype(np.float16)
    if name == "bfloat16":
        dtype = np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    with np.errstate(all="ignore"):
        HALF_LAWS[law](KERNELS, dtype, data.draw)
