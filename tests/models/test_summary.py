"""What `minilm info` says about a model, against the model itself."""

import numpy as np
import pytest

from minilm.models import GPT, GPTConfig
from minilm.models.summary import estimate_cost, readable_bytes, summary
from minilm.tape import saved_arrays, topological_order

CONFIGS = {
    "nanogpt": GPTConfig.nanogpt_char(),
    "wide": GPTConfig(vocab_size=65, context_length=128, num_layers=2, num_heads=6, hidden_size=96),
    "llama": GPTConfig.llama(vocab_size=65),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_activation_memory_is_what_the_tape_keeps(name):
    config, batch_size = CONFIGS[name], 4
    model = GPT(config, np.random.default_rng(0))
    ids = np.zeros((batch_size, config.context_length), np.int64)
    loss = model(ids, labels=ids)[1]
    own = {id(p.data) for p in model.parameters()}
    kept = {}
    for node in topological_order(loss.node):
        for array in saved_arrays(node.backward):
            while isinstance(array.base, np.ndarray):
                array = array.base
            if id(array) not in own:
                kept[id(array)] = array.nbytes
    assert estimate_cost(model, batch_size).activation_bytes == pytest.approx(sum(kept.values()), rel=0.15)


def test_flops_of_a_model_counted_by_hand():
    config = GPTConfig(vocab_size=10, context_length=8, num_layers=1, num_heads=2, hidden_size=4)
    # query, key, value 4·12; output 4·4; feed-forward 2·4·16; head 4·10; attention: two products with 8 keys of width 4
    products = 4 * 12 + 4 * 4 + 2 * 4 * 16 + 4 * 10
    cost = estimate_cost(GPT(config), batch_size=1)
    assert cost.forward_flops == 2 * products + 2 * 2 * 8 * 4
    assert cost.training_flops == 3 * cost.forward_flops
    assert cost.state_bytes == 16 * cost.parameters


def test_the_table_has_a_line_per_parameter_and_their_sum():
    model = GPT(CONFIGS["llama"])
    text = summary(model)
    for name, parameter in model.named_parameters():
        line = next(line for line in text.splitlines() if line.startswith(name + " "))
        assert " × ".join(map(str, parameter.shape)) in line
        assert f"{parameter.numel():,}" in line
    assert f"{model.num_parameters():,}" in text


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (3e13, "30.0 TB")]
)
def test_readable_bytes(n, text):
    assert readable_bytes(n) == text
