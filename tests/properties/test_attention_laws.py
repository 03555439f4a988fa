"""The laws of attention, for the fused function and its composed twin, and the two against each other."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties.attention_laws import DIFFERENTIATE, LAWS, close
from properties.gradcheck import SEEDS, gradients
from properties.rows_layers import attention as attention_row
from properties.table import EXAMPLES

from minilm import Tensor, no_grad
from minilm import functional as F

TWINS = [F.scaled_dot_product_attention, F.attention_composed]


@pytest.mark.parametrize("attention", TWINS)
@pytest.mark.parametrize("name", sorted(LAWS))
@settings(max_examples=EXAMPLES // 2)
@given(data=st.data())
def test_law(name, attention, data):
    LAWS[name](F, Tensor, attention, data.draw)


@pytest.mark.parametrize("name", sorted(set(LAWS) - DIFFERENTIATE))
@settings(max_examples=EXAMPLES // 2)
@given(data=st.data())
def test_law_while_decoding(name, data):
    """Few queries and nothing recorded: another kernel serves them."""
    LAWS[name](F, Tensor, no_grad()(F.scaled_dot_product_attention), data.draw)


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
    for i, (a, b) in enumerate(
        zip(gradients(fused, inputs, seed)[1], gradients(composed, inputs, seed)[1], strict=True)
    ):
        close(a, b, f"gradients of input {i} differ", 1e-12)
