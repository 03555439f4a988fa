"""A wrong call: one clear sentence, the same from every backend, and nothing written."""

from __future__ import annotations

import numpy as np
import pytest
from properties.kernel_backends import NAMES, backend_or_skip
from properties.kernel_bad_calls import BAD_CALLS, K, Q

import minilm_kernels

REFERENCE = "reference"


class Subclass(np.ndarray):
    """As np.memmap is."""


def said(bad, kernels) -> str:
    with pytest.raises(bad.error) as caught:
        bad.call(kernels)
    assert type(caught.value) is bad.error
    return str(caught.value)


@pytest.mark.parametrize("backend", NAMES)
@pytest.mark.parametrize("bad", BAD_CALLS, ids=lambda bad: f"{bad.kernel}: {bad.what}")
def test_message(bad, backend):
    kernels = backend_or_skip(backend)
    sentence = said(bad, kernels)
    assert sentence.startswith(bad.kernel.removesuffix("_decode"))
    assert bad.words in sentence
    assert "\n" not in sentence
    assert sentence == said(bad, backend_or_skip(REFERENCE))


def test_every_kernel_has_a_bad_call():
    tried = {bad.kernel.removesuffix("_backward") for bad in BAD_CALLS}
    assert tried >= {name.removesuffix("_backward") for name in minilm_kernels.KERNELS}


def test_a_wrong_call_changes_nothing():
    for error, array in ((IndexError, np.arange(6) + 5), (TypeError, np.ones(6))):
        table = np.ones((10, 8), np.float32)
        with pytest.raises(error):
            minilm_kernels.embedding_backward(np.ones((6, 8), np.float32), array, table)
        assert (table == 1).all()


def test_what_looks_odd_and_is_right():
    """Subclasses of arrays, keywords, big ids of small types, and 0-dim cotangents that NumPy turned into numbers."""
    kernels = backend_or_skip(REFERENCE)
    output, residuals = kernels.attention(value=K, key=K.view(Subclass), query=Q)
    assert output.shape == (2, 4, 3, 8)
    assert kernels.attention_backward(grad_output=output, residuals=residuals)[0].shape == Q.shape
    logits = np.ones((3, 200), np.float32)
    loss, residuals = kernels.softmax_cross_entropy(logits, np.array([0, 199, 255], np.uint8), ignore_index=255)
    assert kernels.softmax_cross_entropy_backward(loss * 2, residuals).shape == logits.shape
