"""float16 and bfloat16: the tensor-core kernels and the storage types, compiled by g++."""

from __future__ import annotations

import numpy as np
import pytest
from gpu import emulated
from gpu.gpu_backends import emulated as backend
from gpu.half_laws import HALF_LAWS
from hypothesis import given, settings
from hypothesis import strategies as st

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes, which gives NumPy bfloat16, is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(emulated.missing()), reason=str(emulated.missing())),
    pytest.mark.filterwarnings("ignore:heads of"),
]
TYPES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


@pytest.mark.parametrize("law", sorted(HALF_LAWS))
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("capability", [70 + 5, 80])
@settings(max_examples=30)
@given(data=st.data(), order=st.sampled_from([0, 1, 2]))
def test_law(law, dtype, capability, data, order):
    """Compute capability 7.5 has no tensor cores for bfloat16: there the CUDA cores serve."""
    with np.errstate(all="ignore"):
        HALF_LAWS[law](backend(order, capability=capability), TYPES[dtype], data.draw)
