"""The laws of the attention kernels, for every backend that can run here, and arrays of length zero."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties.kernel_attention_laws import ATTENTION_LAWS
from properties.kernel_backends import NAMES, backend_or_skip

from minilm_kernels import reference


@pytest.mark.parametrize("backend", NAMES)
@pytest.mark.parametrize("law", sorted(ATTENTION_LAWS))
@settings(max_examples=15)
@given(data=st.data())
def test_law(law, backend, data):
    kernels = backend_or_skip(backend)
    with np.errstate(all="ignore"):
        ATTENTION_LAWS[law](kernels, data.draw)


@pytest.mark.parametrize("backend", NAMES)
@pytest.mark.parametrize(
    ("B", "H", "Tq", "Tk", "Dv"), [(0, 2, 3, 4, 8), (2, 2, 0, 4, 8), (2, 2, 3, 0, 8), (1, 2, 0, 0, 8), (2, 2, 3, 4, 0)]
)
@pytest.mark.parametrize("causal", [False, True])
def test_lengths_of_zero(backend, B, H, Tq, Tk, Dv, causal):
    kernels = backend_or_skip(backend)
    q, k, v = (np.ones(s, np.float32) for s in ((B, H, Tq, 8), (B, 1, Tk, 8), (B, 1, Tk, Dv)))
    bias = np.zeros((H, Tq, Tk), np.float32)
    for options in ({}, {"bias": bias}, {"bias": bias == 0}, {"key_padding_mask": np.ones((B, Tk), bool)}):
        output, residuals = kernels.attention(q, k, v, causal=causal, **options)
        assert output.shape == (B, H, Tq, Dv)
        if Tk == 0:
            assert not output.any()
        gradients = kernels.attention_backward(output, residuals)
        want = reference.attention_backward(*reference.attention(q, k, v, causal=causal, **options))
        for got, exact in itertools.zip_longest(gradients, want):
            assert (got is None) == (exact is None)
            if exact is not None:
                assert got.shape == exact.shape
                np.testing.assert_allclose(got, exact, atol=1e-6)


@pytest.mark.parametrize("backend", NAMES)
def test_decoding_with_nothing(backend):
    kernels = backend_or_skip(backend)
    q, k = np.ones((2, 4, 1, 8), np.float32), np.ones((2, 2, 0, 8), np.float32)
    assert not kernels.attention_decode(q, k, k).any()
    assert kernels.attention_decode(q[:, :, :0], k, k).shape == (2, 4, 0, 8)
    assert kernels.attention_decode(q[:0], k[:0], k[:0]).shape == (0, 4, 1, 8)
