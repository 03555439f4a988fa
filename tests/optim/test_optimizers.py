"""SGD, Adam, AdamW: against their formulas, written once more without blocks or flat arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minilm import Parameter, nn, optim
from minilm.errors import InputError


def sgd(w, gradients, lr, momentum=0.0, weight_decay=0.0, nesterov=False):
    v = 0
    for g in gradients:
        g = g + weight_decay * w
        v = momentum * v + g
        w = w - lr * (g + momentum * v if nesterov else v)
    return w


def adam(w, gradients, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False):
    m = v = 0
    for t, g in enumerate(gradients, start=1):
        if decoupled:
            w = w - lr * weight_decay * w
        else:
            g = g + weight_decay * w
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        w = w - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    return w


CASES = [
    (optim.SGD, sgd, {"lr": 0.1}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.3}),
    (optim.SGD, sgd, {"lr": 0.1, "weight_decay": 0.3}),
    (optim.Adam, adam, {"lr": 0.1}),
    (optim.Adam, adam, {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3}),
    (optim.AdamW, lambda *a, **k: adam(*a, **k, decoupled=True), {"lr": 0.1, "weight_decay": 0.3}),
    (optim.AdamW, lambda *a, **k: adam(*a, **k, decoupled=True), {"lr": 0.1, "betas": (0.5, 0.9), "weight_decay": 0.0}),
]


@pytest.mark.parametrize(("optimizer", "formula", "options"), CASES)
@pytest.mark.parametrize("size", [(3,), (300, 250)])  # the second takes more than one block
def test_against_the_formula(generator, optimizer, formula, options, size):
    start = [generator.standard_normal(size), generator.standard_normal(5)]
    parameters = [Parameter(w.copy()) for w in start]
    gradients = [[generator.standard_normal(w.shape) for _ in range(4)] for w in start]
    steps = optimizer(parameters, **options)
    for t in range(4):
        for p, g in zip(parameters, gradients):
            p.grad = g[t].copy()
        steps.step()
        steps.zero_grad()
    for p, w, g in zip(parameters, start, gradients):
        np.testing.assert_allclose(p.data, formula(w, g, **options), rtol=1e-11, atol=1e-12)


def test_the_first_step_of_adam_is_lr_whatever_the_gradient():
    parameters = [Parameter(np.zeros(1)) for _ in range(3)]
    for p, g in zip(parameters, (1e-3, -1.0, 1e3)):
        p.grad = np.array([g])
    optim.Adam(parameters, lr=0.25).step()
    assert [round(p.item(), 4) for p in parameters] == [-0.25, 0.25, -0.25]


def test_defaults_are_pytorchs():
    p = [Parameter([1.0])]
    assert optim.SGD(p).param_groups[0]["lr"] == 1e-3
    group = optim.AdamW(p).param_groups[0]
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (1e-3, (0.9, 0.999), 1e-8, 0.01)
    assert optim.Adam(p).param_groups[0]["weight_decay"] == 0


def test_groups_have_their_own_options():
    a, b = Parameter(np.ones(2)), Parameter(np.ones(3))
    optimizer = optim.SGD([{"params": [a], "lr": 0.5}, {"params": [b]}], lr=0.1)
    a.grad, b.grad = np.ones(2), np.ones(3)
    optimizer.step()
    assert a.tolist() == [0.5, 0.5]
    assert b.tolist() == pytest.approx([0.9] * 3)
    optimizer.param_groups[1]["lr"] = 0.0
    optimizer.step()
    assert b.tolist() == pytest.approx([0.9] * 3)


def test_decay_groups_are_matrices_and_vectors():
    layer = nn.TransformerBlock(8, 2)
    decaying, others = optim.decay_groups(layer.parameters(), 0.1)
    assert {p.ndim for p in decaying["params"]} == {2}
    assert {p.ndim for p in others["params"]} == {1}
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert len(decaying["params"]) + len(others["params"]) == len(list(layer.parameters()))
    assert [g["weight_decay"] for g in optim.decay_groups([Parameter([1.0])], 0.1)] == [0.0]


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam, optim.AdamW])
def test_parameters_without_a_gradient_are_left_alone(optimizer):
    """Not even weight decay or momentum moves them."""
    a, b, c = (Parameter(np.ones(2)) for _ in range(3))
    options = {"momentum": 0.9} if optimizer is optim.SGD else {}
    steps = optimizer([a, b, c], lr=0.1, weight_decay=0.5, **options)
    for _ in range(3):
        a.grad, c.grad = np.ones(2), np.ones(2)
        steps.step()
        steps.zero_grad()
    assert b.tolist() == [1, 1]
    assert a.tolist() == c.tolist()
    assert a.tolist() != [1, 1]


def test_momentum_in_one_group_only():
    a = Parameter(np.zeros(1))
    optimizer = optim.SGD([{"params": [a], "momentum": 0.9}], lr=1.0)
    for _ in range(2):
        a.grad = np.ones(1)
        optimizer.step()
    assert a.item() == pytest.approx(-2.9)


def test_state_dict_continues_with_the_same_bits(generator):
    def run(optimizer, p, steps):
        rng = np.random.default_rng(1)
        for t in range(10):
            g = rng.standard_normal(4).astype(np.float32)
            if t in steps:
                p.grad = g
                optimizer.step()

    straight, first = (Parameter(np.ones(4, np.float32)) for _ in range(2))
    run(optim.AdamW([straight], lr=0.1), straight, range(10))
    half = optim.AdamW([first], lr=0.1)
    run(half, first, range(5))
    saved = half.state_dict()
    second = Parameter(first.data.copy())
    other = optim.AdamW([second], lr=0.5)
    other.load_state_dict({**saved, "arrays": {k: v.copy() for k, v in saved["arrays"].items()}})
    assert other.param_groups[0]["lr"] == 0.1
    run(other, second, range(5, 10))
    assert second.data.tobytes() == straight.data.tobytes()


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (lambda: optim.Adam([Parameter([1.0, 2.0])]), "no array 'm' of 1 elements"),
        (lambda: optim.SGD([Parameter([1.0])]), "another optimizer or model than this Adam"),
        (lambda: optim.Adam([{"params": [Parameter([1.0])]}, {"params": []}]), "2 groups, this one 1"),
    ],
)
def test_the_state_of_another_optimizer_is_refused(saved, message):
    own = optim.Adam([Parameter([1.0])])
    with pytest.raises(InputError, match=message):
        own.load_state_dict(saved().state_dict())
    assert own.steps == 0


def test_a_parameter_in_two_groups_counts_once():
    p = Parameter([1.0])
    optimizer = optim.SGD([{"params": [p, p]}, {"params": [p], "lr": 9.0}], lr=0.5)
    p.grad = np.ones(1, np.float32)
    optimizer.step()
    assert p.item() == 0.5


BAD = [
    (lambda p: optim.SGD([]), "at least one parameter; pass model.parameters"),
    (lambda p: optim.SGD(iter(())), "at least one parameter"),
    (lambda p: optim.SGD([{"params": p, "lrr": 1}]), r"unknown option\(s\) \['lrr'\].*known"),
    (lambda p: optim.SGD(p, lr=-1), "must not be negative"),
    (lambda p: optim.AdamW(p, weight_decay=-1), "must not be negative"),
    (lambda p: optim.Adam(p, betas=(0.9, 1.0)), "beta2 1.0 must be at least 0 and below 1"),
    (lambda p: optim.SGD(p, momentum=1.0), "momentum"),
    (lambda p: optim.SGD([*p, Parameter(np.ones(1))]), "several dtypes"),
    (lambda p: optim.Optimizer(p, {}).step(), r"has no update\(\)"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input(call, message):
    p = Parameter([1.0])
    p.grad = np.ones(1, np.float32)
    with pytest.raises((ValueError, TypeError), match=message):
        call([p])


def test_training_learns_a_line(generator):
    layer = nn.Linear(3, 1, generator=generator)
    x = generator.standard_normal((64, 3)).astype(np.float32)
    y = x @ np.array([[1.0], [-2.0], [0.5]], np.float32) + 3
    optimizer = optim.Adam(layer.parameters(), lr=0.1)
    from minilm import functional as F

    for _ in range(300):
        loss = F.mse_loss(layer(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-4
    np.testing.assert_allclose(layer.weight.data, [[1, -2, 0.5]], atol=0.02)
    assert math.isclose(layer.bias.item(), 3, abs_tol=0.02)
