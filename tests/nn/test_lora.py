"""LoRA: the layer is W + (α/r) B A, only A and B learn, and merging changes no output."""

import numpy as np
import pytest
from properties.gradcheck import check_gradient

from minilm import Tensor, nn, optim
from minilm.errors import InputError
from minilm.models import GPT, GPTConfig
from minilm.nn.lora import (
    LoRALinear,
    adapted_layers,
    add_lora,
    has_adapters,
    merge_adapters,
    merge_lora,
    remove_lora,
    unmerge_adapters,
)

ROWS = {"all": [], "one part": [(2, 5)], "two parts": [(0, 3), (5, 7)], "all in parts": [(0, 3), (3, 7)]}


def adapted(generator, rows=(), dropout=0.0, rank=2, alpha=3.0, bias=True):
    """A layer from 5 to 7 in float64, with B away from its zero start."""
    linear = nn.Linear(5, 7, bias, generator).double()
    layer = LoRALinear(linear, rank, alpha, dropout, rows, generator)
    for part in layer.lora:
        part.B.data[...] = generator.standard_normal(part.B.shape)
    return layer


def updated_weight(layer):
    weight = layer.weight.data.copy()
    for part in layer.lora:
        start, stop = part.rows
        weight[start:stop] += part.alpha / part.A.shape[0] * part.B.data @ part.A.data
    return weight


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("activation", [None, "relu", "gelu", "gelu_tanh", "silu"])
@pytest.mark.parametrize("with_residual", [False, True])
def test_the_layer_is_its_formula(generator, rows, activation, with_residual):
    layer = adapted(generator, ROWS[rows])
    x = Tensor(generator.standard_normal((2, 3, 5)))
    residual = Tensor(generator.standard_normal((2, 3, 7))) if with_residual else None
    plain = nn.Linear(5, 7, True, generator).double()
    plain.weight.data, plain.bias.data = updated_weight(layer), layer.bias.data
    expected = plain(x, activation, residual).data
    np.testing.assert_allclose(layer(x, activation, residual).data, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", ROWS)
def test_gradients(generator, rows):
    layer = adapted(generator, ROWS[rows])
    layer.weight.requires_grad = layer.bias.requires_grad = False

    def function(F, x, residual, *factors):
        for part, A, B in zip(layer.lora, factors[::2], factors[1::2], strict=True):
            part.A, part.B = A, B
        return layer(x, "gelu", residual)

    factors = [array for part in layer.lora for array in (part.A.data.copy(), part.B.data.copy())]
    x, residual = generator.standard_normal((4, 5)), generator.standard_normal((4, 7))
    check_gradient(function, x, residual, *factors)


def test_it_begins_as_the_layer_it_adapts(generator):
    linear = nn.Linear(6, 4, generator=generator)
    x = generator.standard_normal((3, 6)).astype(np.float32)
    before = linear(x).data
    np.testing.assert_array_equal(LoRALinear(linear, 3, 8, generator=generator)(x).data, before)


def test_dropout_is_for_the_update_alone(generator):
    layer = adapted(generator, dropout=1.0)  # everything is dropped
    x = Tensor(generator.standard_normal((2, 5)))
    layer.train()
    np.testing.assert_allclose(layer(x).data, x.data @ layer.weight.data.T + layer.bias.data, rtol=1e-12)
    layer.eval()
    assert np.abs(layer(x).data - (x.data @ layer.weight.data.T + layer.bias.data)).max() > 0.1


def make_gpt(generator):
    shape = {"vocab_size": 11, "context_length": 8, "num_layers": 2, "num_heads": 2, "hidden_size": 16, "dropout": 0.0}
    return GPT(GPTConfig(**shape), generator)


def batch(generator):
    ids = generator.integers(0, 11, (4, 8))
    return ids, np.roll(ids, 1, axis=1)


def train(model, ids, targets, steps=30):
    optimizer = optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(steps):
        loss = model(ids, labels=targets)[1]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_only_the_updates_learn_and_the_loss_falls(generator):
    model = make_gpt(generator)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    layers = add_lora(model, ["query_key_value", "feed_forward.up"], rank=4, alpha=8, generator=generator)
    assert layers == [f"blocks.{i}.{name}" for name in ("attention.query_key_value", "feed_forward.up") for i in (0, 1)]
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(trained) == 8
    assert all(".lora.0." in name for name in trained)
    losses = train(model, *batch(generator))
    assert losses[-1] < losses[0] - 0.1
    for name, array in before.items():
        np.testing.assert_array_equal(model.state_dict()[name], array, err_msg=name)


def test_the_merged_model_says_the_same(generator):
    model = make_gpt(generator)
    names, shapes = zip(*[(name, p.shape) for name, p in model.named_parameters()], strict=True)
    add_lora(model, ["output", "up", "down", "query_key_value"], rank=3, generator=generator)
    ids, targets = batch(generator)
    train(model, ids, targets, 5)
    logits = model(ids)[0].data
    merge_adapters(model)
    merge_adapters(model)  # a second time changes nothing
    np.testing.assert_allclose(model(ids)[0].data, logits, rtol=1e-4, atol=1e-5)
    unmerge_adapters(model)
    np.testing.assert_allclose(model(ids)[0].data, logits, rtol=1e-4, atol=1e-5)
    merge_lora(model)
    np.testing.assert_allclose(model(ids)[0].data, logits, rtol=1e-4, atol=1e-5)
    assert not has_adapters(model)
    assert [(name, p.shape) for name, p in model.named_parameters()] == list(zip(names, shapes, strict=True))
    assert all(p.requires_grad for p in model.parameters())


def test_adapters_can_be_taken_off(generator):
    model = make_gpt(generator)
    ids, targets = batch(generator)
    before = model(ids)[0].data.copy()
    add_lora(model, ["up"], rank=3, generator=generator)
    train(model, ids, targets, 5)
    assert np.abs(model(ids)[0].data - before).max() > 1e-3
    remove_lora(model)
    np.testing.assert_array_equal(model(ids)[0].data, before)


def test_what_is_trained_as_it_is(generator):
    model = nn.Sequential(nn.Linear(3, 4, generator=generator), nn.Linear(4, 2, generator=generator))
    add_lora(model, ["0"], trainable=["1"], generator=generator)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == [
        "0.lora.0.A", "0.lora.0.B", "1.weight", "1.bias",
    ]  # fmt: skip
    assert "rank 8" in repr(model)


def test_layers_that_are_not_there_are_refused_and_nothing_changes(generator):
    model = make_gpt(generator)
    with pytest.raises(InputError, match=r"no linear layer 'query'; it has layers that end with .*query_key_value"):
        add_lora(model, ["up", "query"])
    assert not list(adapted_layers(model))
    assert all(p.requires_grad for p in model.parameters())
    with pytest.raises(InputError, match="rank is 0"):
        add_lora(model, ["up"], rank=0)
    add_lora(model, ["up"])
    with pytest.raises(InputError, match="has LoRA adapters already"):
        add_lora(model, ["up"])
