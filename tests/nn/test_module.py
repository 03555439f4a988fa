"""Module: the tree, names, modes, state_dict and strict loading, hooks, the printed tree."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from minilm import Parameter, Tensor, nn, optim
from minilm.errors import InputError


class Tied(nn.Module):
    """An embedding whose table is also the head."""

    def __init__(self):
        self.embedding = nn.Embedding(5, 3, np.random.default_rng(0))
        self.scale = Parameter([2.0])
        self.blocks = nn.ModuleList([nn.Linear(3, 3, generator=np.random.default_rng(i)) for i in range(2)])
        self.head = nn.Linear(3, 5, bias=False, generator=np.random.default_rng(9))
        self.head.weight = self.embedding.weight
        self.table = np.zeros(3)  # no parameter: not in the state

    def forward(self, ids):
        x = self.embedding(ids) * self.scale
        for block in self.blocks:
            x = block(x)
        return self.head(x)


NAMES = ["scale", "embedding.weight", "blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "blocks.1.bias"]


@pytest.fixture
def model():
    return Tied()


def test_names_of_parameters_each_once(model):
    names = [name for name, _ in model.named_parameters()]
    assert sorted(names) == sorted(NAMES)
    assert len(list(model.parameters())) == len(NAMES)
    assert model.num_parameters() == 1 + 15 + 2 * (9 + 3)
    assert [name for name, _ in model.named_modules()] == ["", "embedding", "blocks", "blocks.0", "blocks.1", "head"]
    assert [name for name, _ in model.named_children()] == ["embedding", "blocks", "head"]


def test_a_tied_parameter_gets_the_gradient_of_both_uses(model):
    model.blocks = nn.ModuleList()
    ids = np.array([1])
    model(ids).backward(np.ones((1, 5)))
    W = model.embedding.weight.data
    want = np.tile(2 * W[1], (5, 1))  # as the head: d(W h)/dW
    want[1] += 2 * W.sum(0)  # as the table
    np.testing.assert_allclose(model.embedding.weight.grad, want, rtol=1e-5)


def test_state_dict_is_the_memory_and_loading_copies_into_it(model):
    state = model.state_dict()
    assert set(state) == set(NAMES)
    assert state["scale"] is model.scale.data
    other = Tied()
    other.scale.data[...] = 7
    memory = other.scale.data
    other.load_state_dict(state)
    assert other.scale.data is memory
    assert other.scale.tolist() == [2]
    assert other.head.weight is other.embedding.weight


def test_loading_takes_tensors_other_float_types_and_the_tied_name(model):
    state = {name: Tensor(array.astype(np.float64)) for name, array in model.state_dict().items()}
    state["head.weight"] = state["embedding.weight"]
    model.load_state_dict(state)
    assert model.scale.dtype == np.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("scale"), r"missing: scale \(1,\)"),
        (lambda s: s.update(extra=np.zeros(1)), "unexpected: extra"),
        (lambda s: s.update(scale=np.zeros((1, 1))), r"shape of scale: \(1, 1\) in the file, \(1,\) in the model"),
        (lambda s: s.update({"blocks.0.weight": np.zeros(3)}), r"shape of blocks.0.weight"),
        (lambda s: s.clear(), "missing: .*missing: .*missing"),
        (lambda s: s.update({f"x{i}": 0 for i in range(20)}), "and 12 more"),
    ],
)
def test_strict_loading_lists_what_does_not_fit_and_changes_nothing(model, change, message):
    state = {name: np.full_like(array, 9) for name, array in model.state_dict().items()}
    change(state)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    with pytest.raises(InputError, match=message) as error:
        model.load_state_dict(state)
    assert "build the model from the weights' own configuration" in str(error.value)
    assert all(np.array_equal(before[name], array) for name, array in model.state_dict().items())


def test_train_and_eval_reach_every_module(model):
    assert all(module.training for module in model.modules())
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    model.train()
    assert all(module.training for module in model.modules())
    model.blocks.eval()
    assert model.training
    assert not model.blocks[0].training


def test_zero_grad_and_freezing(model):
    model(np.array([0])).sum().backward()
    assert model.scale.grad is not None
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    model.requires_grad_(False)
    assert not model(np.array([0])).requires_grad
    model.requires_grad_()
    assert model(np.array([0])).requires_grad


def test_double_converts_all_parameters(model):
    assert model.double() is model
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float64)}
    assert model(np.array([0])).dtype == np.float64


def test_forward_hooks_see_inputs_and_outputs_and_can_be_removed(model):
    seen = []
    remove = model.blocks[1].register_forward_hook(lambda module, inputs, output: seen.append((module, inputs, output)))
    y = model(np.array([0]))
    assert len(seen) == 1
    module, inputs, output = seen[0]
    assert module is model.blocks[1]
    assert inputs[0].shape == output.shape == (1, 3)
    assert y.shape == (1, 5)
    remove()
    model(np.array([0]))
    assert len(seen) == 1


def test_a_hook_may_remove_itself():
    layer, calls = nn.Linear(1, 1), []
    remove = layer.register_forward_hook(lambda *a: (calls.append("first"), remove()))
    layer.register_forward_hook(lambda *a: calls.append("second"))
    layer(np.ones((1, 1), np.float32))
    assert calls == ["first", "second"]


def test_deep_copies_share_nothing(model):
    optim.SGD(model.parameters(), lr=0.1)  # parameters are views by now
    twin = copy.deepcopy(model)
    twin.scale.data[...] = 5
    twin(np.array([1])).sum().backward()
    assert model.scale.tolist() == [2]
    assert model.scale.grad is None
    assert twin.head.weight is twin.embedding.weight


def test_the_printed_tree(model):
    assert repr(nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.1))) == (
        "Sequential(\n  (0): Linear(2 → 3, bias=True)\n  (1): Dropout(p=0.1)\n)"
    )
    assert "(0-1) 2 ×: Linear(3 → 3, bias=True)" in repr(model)
    assert repr(nn.Module()) == "Module()"


def test_sequential_and_module_list():
    first, second = nn.Linear(2, 3), nn.Linear(3, 4)
    net = nn.Sequential(first, second)
    x = np.ones((1, 2), np.float32)
    assert np.array_equal(net(x).data, second(first(x)).data)
    assert len(net) == 2
    assert net[-1] is second
    layers = nn.ModuleList([first])
    layers.append(second)
    assert list(layers) == [first, second]
    assert [name for name, _ in layers.named_parameters()] == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_eleven_layers_stay_in_order():
    layers = nn.ModuleList(nn.Linear(1, n) for n in range(1, 13))
    assert [layer.weight.shape[0] for layer in layers] == list(range(1, 13))


def test_a_module_without_forward_says_so():
    with pytest.raises(TypeError, match=r"Tree has no forward\(\)"):
        type("Tree", (nn.Module,), {})()(1)
