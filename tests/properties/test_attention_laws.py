"""The laws of attention, for the fused function and its composed twin, and the two against each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties.attention_laws import LAWS, close
from properties.gradcheck import SEEDS, gradients
from properties.rows_layers import attention as attention_row
from properties.table import EXAMPLES

from minilm import Tensor
from minilm import functional as F

TWINS = [F.scaled_dot_product_attention, F.attention_composed]


@pytest.mark.parametrize("attention", TWINS)
@pytest.mark.parametrize("name", sorted(LAWS))
@settings(max_examples=EXAMPLES // 2)
@given(data=st.data())
def test_law(name, attention, data):
    LAWS[name](F, Tensor, attention, data.draw)


@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_fused_equals_composed(data):
    """Outputs and all gradients, for any masks, groups and scales. (The two draw other dropout masks.)"""
    call, inputs = data.draw(st.composite(attention_row)("scaled_dot_product_attention"))

    def without_dropout(name):
        def function(F, *tensors):
            class Namespace:
                @staticmethod
                def scaled_dot_product_attention(*args, dropout_p=0.0, **options):
                    return getattr(F, name)(*args, **options)

            return call(Namespace, *tensors)

        return function

    seed = data.draw(SEEDS)
    fused, composed = (without_dropout(f.__name__) for f in TWINS)
    close(fused(F, *map(Tensor, inputs)), composed(F, *map(Tensor, inputs)), "outputs differ", 1e-12)
    for i, (a, b) in enumerate(zip(gradients(fused, inputs, seed)[1], gradients(composed, inputs, seed)[1], strict=True)):
        close(a, b, f"gradients of input {i} differ", 1e-12)


# --- accuracy: FlashAttention's rule, at most twice the error of the plain formula in the same dtype ---------------------


def plain_attention(Q, K, V, dO):
    """The formula and its derivative in the dtype of the inputs, with nothing clever but the subtracted maximum."""
    scale = Q.dtype.type(1 / np.sqrt(Q.shape[-1]))
    S = Q @ K.swapaxes(-1, -2) * scale
    W = np.exp(S - S.max(-1, keepdims=True))
    W = W / W.sum(-1, keepdims=True)
    dW = dO @ V.swapaxes(-1, -2)
    dS = W * (dW - (dW * W).sum(-1, keepdims=True)) * scale
    return W @ V, dS @ K, dS.swapaxes(-1, -2) @ Q, W.swapaxes(-1, -2) @ dO


@pytest.mark.parametrize("attention", TWINS)
@settings(max_examples=10)
@given(
    seed=SEEDS,
    size=st.sampled_from([0.1, 1.0, 10.0, 100.0]),
    shape=st.sampled_from([(2, 2, 33, 16), (1, 2, 64, 64), (1, 1, 128, 8)]),
)
def test_float32_error_is_at_most_twice_that_of_the_plain_formula(attention, seed, size, shape):
    rng = np.random.default_rng(seed)
    Q, K, V, dO = (rng.standard_normal(shape).astype(np.float32) for _ in range(4))
    Q *= np.float32(size)
    exact = plain_attention(*(a.astype(np.float64) for a in (Q, K, V, dO)))
    plain = plain_attention(Q, K, V, dO)
    q, k, v = (Tensor(a, requires_grad=True) for a in (Q, K, V))
    y = attention(q, k, v)
    y.backward(dO)
    for name, got, same_dtype, oracle in zip("O dQ dK dV".split(), (y.data, q.grad, k.grad, v.grad), plain, exact):
        error, allowed = np.abs(got - oracle).max(), np.abs(same_dtype - oracle).max()
        assert error <= 2 * allowed + 1e-7 * np.abs(oracle).max(), f"{name}: error {error}, the plain formula's {allowed}"
