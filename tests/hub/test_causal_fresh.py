"""Llama shapes whose heads are not hidden_size / num_attention_heads wide."""

import numpy as np
import pytest
from hub_models import IDS, new

from minilm import no_grad
from minilm.errors import InputError

ODD = {"hidden_size": 15, "num_attention_heads": 5, "num_key_value_heads": 1}


def test_the_head_size_is_what_must_be_even():
    model = new("LlamaForCausalLM", **ODD, head_dim=6)
    with no_grad():
        whole = model(IDS).logits.data
        first = model(IDS[:, :2], use_cache=True)
        last = model(IDS[:, 2:], past_key_values=first.past_key_values).logits.data
    np.testing.assert_allclose(last[:, 0], whole[:, 2], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("head_dim", [None, 3])
def test_an_odd_head_size_is_refused(head_dim):
    with pytest.raises(InputError, match="rotary positions need an even"):
        new("LlamaForCausalLM", **ODD, head_dim=head_dim)
