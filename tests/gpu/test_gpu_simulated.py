"""The PTX that NVIDIA's compiler makes of the kernels, run in minilm's own simulator with every access checked."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from gpu.gpu_backends import no_simulator, simulated
from gpu.half_laws import HALF_LAWS
from gpu.simulator_calls import CALLS as SMALL
from gpu.simulator_calls import attention, many_masks, try_call, try_updates
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


@pytest.mark.slow
@pytest.mark.parametrize("kernel", sorted(CALLS))
@settings(max_examples=4)
@given(data=st.data())
def test_formula(kernel, data):
    with np.errstate(all="ignore"):
        LAWS["equals_the_formula"](simulated(), kernel, data.draw)


@pytest.mark.slow
@pytest.mark.parametrize(
    "law",
    [
        "a_query_without_keys_is_zero_with_zero_gradient",
        "causal_weights_are_a_triangle",
        "masks_of_every_form_mean_the_same",
    ],
)
@settings(max_examples=3)
@given(data=st.data())
def test_attention_law(law, data):
    with np.errstate(all="ignore"):
        ATTENTION_LAWS[law](simulated(), data.draw)


@pytest.mark.slow
@pytest.mark.parametrize(
    "law", ["every_id_gets_its_sum", "ignored_rows_do_not_count", "elements_are_dropped_as_the_generator_says"]
)
@settings(max_examples=3)
@given(data=st.data())
def test_law_of_one_kernel(law, data):
    with np.errstate(all="ignore"), warnings.catch_warnings():
        MORE_LAWS[law][1](simulated(), data.draw)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@settings(max_examples=1)
@given(data=st.data())
def test_every_half_number_is_converted(name, data):
    dtype = np.float16 if name == "float16" else pytest.importorskip("ml_dtypes").bfloat16
    with np.errstate(all="ignore"):
        HALF_LAWS["half_sums_are_rounded_to_the_nearest"](simulated(), np.dtype(dtype), data.draw)
