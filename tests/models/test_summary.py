"""What `minilm info` says about a model, against the model itself."""

import numpy as np
import pytest

import minilm_kernels as kernels
from minilm.models import GPT, GPTConfig
from minilm.models.summary import estimate_cost, readable_bytes, summary
from minilm.tape import saved_arrays, topological_order

CONFIGS = {
    "nanogpt": GPTConfig.nanogpt_char(),
    "wide": GPTConfig(vocab_size=65, context_length=128, num_layers=2, num_heads=6, hidden_size=96),
    "long": GPTConfig(
        vocab_size=65, context_length=512, num_layers=1, num_heads=4, hidden_size=32, dropout=0.1, bias=True
    ),
    "llama": GPTConfig.llama(vocab_size=65),
    "llama with dropout": GPTConfig.llama(vocab_size=300, num_layers=2, dropout=0.2),
    "tanh": GPTConfig(vocab_size=20, num_layers=2, activation="tanh", norm="rms_norm"),
}


@pytest.fixture(params=["reference", "numba"])
def backend(request):
    """Both kinds of kernels."""
    if request.param == "numba":
        pytest.importorskip("numba", reason="Numba is not installed")
    with kernels.use_kernels(request.param):
        yield request.param


def kept_bytes(loss, model):
    """The arrays that are reachable from the graph: results of operations, and what the derivatives saved beside them."""
    own = {id(p.data) for p in model.parameters()}
    kept = {}
    for node in topological_order(loss.node):
        for array in [*saved_arrays(node.backward, private=True), *(parent.data for parent in node.parents)]:
            while isinstance(array.base, np.ndarray):
                array = array.base
            if id(array) not in own:
                kept[id(array)] = array.nbytes
    return sum(kept.values())


@pytest.mark.parametrize("name", CONFIGS)
def test_activation_memory_is_what_the_tape_keeps(name, backend):
    config, batch_size = CONFIGS[name], 4
    model = GPT(config, np.random.default_rng(0))
    ids = np.zeros((batch_size, config.context_length), np.int64)
    loss = model(ids, labels=ids)[1]
    assert estimate_cost(model, batch_size).activation_bytes == pytest.approx(kept_bytes(loss, model), rel=0.03)


def test_memory_grows_with_the_square_of_the_context_only_where_weights_are_kept(backend):
    def activations(T):
        config = GPTConfig(vocab_size=16, context_length=T, num_layers=1, num_heads=4, hidden_size=32)
        return estimate_cost(GPT(config, np.random.default_rng(0)), batch_size=1).activation_bytes

    growth = activations(2048) / activations(1024)
    assert growth > 3.5 if backend == "reference" else growth == pytest.approx(2)


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
