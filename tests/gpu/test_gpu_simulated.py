"""The PTX that NVIDIA's compiler makes of the kernels, run in minilm's own simulator with every access checked."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from gpu.gpu_backends import no_simulator, simulated
from gpu.half_laws import HALF_LAWS
from gpu.simulator_calls import CALLS as SMALL
from gpu.simulator_calls import attention, many_masks, try_call, try_half_tiles, try_updates
from hypothesis import given, settings
from hypothesis import strategies as st
from properties.kernel_attention_laws import ATTENTION_LAWS
from properties.kernel_cases import CALLS
from properties.kernel_laws import LAWS
from properties.kernel_more_laws import MORE_LAWS

pytestmark = [
    pytest.mark.skipif(bool(no_simulator()), reason=str(no_simulator())),
    pytest.mark.filterwarnings("ignore:heads of"),
]
QUICK = ("attention, two tiles of keys", "layer_norm", "softmax_cross_entropy", "linear")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in SMALL]
)
def test_small_call(name):
    try_call(simulated(), SMALL[name]())


@pytest.mark.slow
def test_updates():
    try_updates(simulated())


@pytest.mark.slow
@pytest.mark.parametrize("capability", [75, 80, 90, 100, 120])
def test_other_architectures(capability):
    """Their PTX differs where a kernel asks for the architecture: Turing multiplies smaller matrices."""
    try_call(simulated(capability), attention(20, 40, 16, causal=True))
    try_call(simulated(capability), attention(20, 40, 16, causal=True), np.float16, 4e-3)


@pytest.mark.slow
@pytest.mark.parametrize("D", [8, 24, 33, 128])
def test_half_precision(D):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for dtype, tolerance in ((np.float16, 4e-3), (ml_dtypes.bfloat16, 3e-2)):
        try_call(simulated(), attention(20, 40, D), dtype, tolerance)
        try_call(simulated(), many_masks(), dtype, tolerance * 2)


@pytest.mark.parametrize("name", ["float16", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_half_precision_over_several_tiles(name):
    """Nobody overwrites a tile that others still read: the simulator checks each access against those of the other threads."""
    dtype = np.float16 if name == "float16" else pytest.importorskip("ml_dtypes").bfloat16
    try_half_tiles(simulated(), dtype, 4e-3 if name == "float16" else 3e-2)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", sorted(CALLS))
@pytest.mark.parametrize("law", sorted(LAWS))
@settings(max_examples=4)
@given(data=st.data())
def test_law(law, kernel, data):
    """Few examples of every law here, many in test_gpu_laws.py: what the simulator sees, it sees in one."""
    with np.errstate(all="ignore"):
        LAWS[law](simulated(), kernel, data.draw)


@pytest.mark.slow
@pytest.mark.parametrize("law", sorted(ATTENTION_LAWS))
@settings(max_examples=3)
@given(data=st.data())
def test_attention_law(law, data):
    with np.errstate(all="ignore"):
        ATTENTION_LAWS[law](simulated(), data.draw)


@pytest.mark.slow
@pytest.mark.parametrize("law", sorted(MORE_LAWS))
@settings(max_examples=3)
@given(data=st.data())
def test_law_of_one_kernel(law, data):
    with np.errstate(all="ignore"), warnings.catch_warnings():
        MORE_LAWS[law][1](simulated(), data.draw)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@settings(max_examples=2)
@given(data=st.data())
def test_half_attention(name, data):
    dtype = np.dtype(np.float16 if name == "float16" else pytest.importorskip("ml_dtypes").bfloat16)
    with np.errstate(all="ignore"):
        HALF_LAWS["half_attention_is_as_exact_as_the_plain_formula"](simulated(), dtype, data.draw)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@settings(max_examples=1)
@given(data=st.data())
def test_every_half_number_is_converted(name, data):
    dtype = np.float16 if name == "float16" else pytest.importorskip("ml_dtypes").bfloat16
    with np.errstate(all="ignore"):
        HALF_LAWS["half_sums_are_rounded_to_the_nearest"](simulated(), np.dtype(dtype), data.draw)
