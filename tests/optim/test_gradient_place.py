"""A weight's gradient is written by its kernel, straight into the optimizer's array: every way to get there, and not to."""

from __future__ import annotations

import numpy as np
import pytest

from minilm import Parameter, Tensor, nn, optim
from minilm import functional as F
from minilm.tensor import gradient_place


@pytest.fixture
def rng(generator):
    return generator


def weight(rng, owned, shape=(4, 4)):
    """A parameter; `owned`: by an optimizer, whose gradient array holds numbers of an earlier step."""
    p = Parameter(rng.standard_normal(shape))
    if owned:
        optimizer = optim.SGD([p], lr=0.1)
        optimizer.flat.grad[...] = np.nan
    return p


def both(run):
    """run(weight) for a weight that an optimizer owns and for one by itself: the gradients must be the same."""
    gradients = []
    for owned in (True, False):
        rng = np.random.default_rng(11)
        p = weight(rng, owned)
        run(p, rng)
        if owned:
            assert p.grad is p.grad_buffer
        gradients.append(p.grad)
    np.testing.assert_allclose(*gradients, rtol=1e-12)
    assert np.isfinite(gradients[0]).all()


def test_used_once():
    both(lambda W, rng: F.linear(rng.standard_normal((3, 4)), W).sum().backward())


def test_used_twice():
    def run(W, rng):
        x = rng.standard_normal((3, 4))
        (F.linear(F.linear(x, W, activation="gelu"), W) ** 2).sum().backward()

    both(run)


def test_used_in_other_ways_before_and_after():
    """Tied to an embedding, inside a sum, as it is: whichever of them arrives first."""

    def run(W, rng):
        ids = np.array([0, 3, 3])
        (F.linear(F.embedding(ids, W), W).sum() + (W * W).sum() + F.linear(W[1:], W).sum()).backward()
        (F.linear(rng.standard_normal((2, 4)), W, residual=W[:2]).sum() + F.embedding(ids, W).sum()).backward()

    both(run)


def test_a_weight_that_is_its_own_operand():
    """Operand and weight are one leaf: neither contribution may overwrite the other."""
    both(lambda W, rng: (F.linear(W, W, residual=W) ** 2).sum().backward())


def test_micro_batches_without_zero_grad():
    def run(W, rng):
        for x in rng.standard_normal((3, 5, 4)):
            F.linear(x, W, activation="silu").sum().backward()

    both(run)


def test_zero_grad_between():
    def run(W, rng):
        for x in rng.standard_normal((3, 5, 4)):
            W.zero_grad()
            F.linear(x, W).sum().backward()

    both(run)


def test_retain_graph():
    def run(W, rng):
        y = F.linear(rng.standard_normal((3, 4)), W).sum()
        y.backward(retain_graph=True)
        once = W.grad.copy()
        y.backward()
        np.testing.assert_allclose(W.grad, 2 * once)

    both(run)


def test_a_weight_that_is_no_leaf(rng):
    W = weight(rng, True)
    x = rng.standard_normal((3, 4))
    derived = W * 2.0
    assert gradient_place(derived) == (None, False)
    F.linear(x, derived).sum().backward()
    np.testing.assert_allclose(W.grad, np.broadcast_to(2 * x.sum(0), (4, 4)))


def test_a_frozen_weight_gets_nothing_and_its_array_is_left_alone(rng):
    W, x = weight(rng, True), Tensor(rng.standard_normal((3, 4)), requires_grad=True)
    W.requires_grad = False
    F.linear(x, W).sum().backward()
    assert W.grad is None
    assert np.isnan(W.grad_buffer).all()
    np.testing.assert_allclose(x.grad, np.broadcast_to(W.data.sum(0), (3, 4)))


def test_frozen_or_thawed_between_forward_and_backward(rng):
    for before in (True, False):
        W, x = weight(rng, True), Tensor(np.ones((3, 4)), requires_grad=True)
        W.requires_grad = before
        y = F.linear(x, W).sum()
        W.requires_grad = not before
        y.backward()
        assert W.grad is None
        assert x.grad is not None


def test_only_some_layers_train(rng):
    """A frozen layer in the middle: the ones around it train, and it keeps its values."""
    layers = [nn.Linear(4, 4, generator=rng) for _ in range(3)]
    optimizer = optim.AdamW([p for layer in layers for p in layer.parameters()], lr=0.1)
    before = [layer.weight.data.copy() for layer in layers]
    for p in layers[1].parameters():
        p.requires_grad = False
    x = rng.standard_normal((5, 4)).astype(np.float32)
    y = layers[2](layers[1](layers[0](x, "gelu")))
    (y * y).sum().backward()
    optimizer.step()
    changed = [not np.array_equal(layer.weight.data, b) for layer, b in zip(layers, before)]
    assert changed == [True, False, True]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_gradient_set_by_hand_is_added_to(rng, dtype):
    """Also one of another dtype: it is an array of the user's, not the optimizer's place."""
    W = weight(rng, True)
    mine = np.ones((4, 4), dtype)
    W.grad = mine
    x = rng.standard_normal((3, 4))
    F.linear(x, W).sum().backward()
    np.testing.assert_allclose(W.grad, 1 + np.broadcast_to(x.sum(0), (4, 4)), rtol=1e-6)


def test_data_replaced_by_hand_in_another_dtype(rng):
    """The optimizer's array has the old dtype: the gradient is converted, not written as other bits."""
    W = weight(rng, True)
    W.data = W.data.astype(np.float32)
    x = rng.standard_normal((3, 4)).astype(np.float32)
    F.linear(x, W).sum().backward()
    np.testing.assert_allclose(W.grad, np.broadcast_to(x.sum(0), (4, 4)), rtol=1e-6)


def test_a_cotangent_that_is_the_gradient_itself(rng):
    W = weight(rng, True)
    W.backward(np.ones((4, 4)))
    (W * 1.0).backward(W.grad)
    W.backward(W.grad)
    assert np.array_equal(W.grad, np.full((4, 4), 4.0))


def test_the_walk_that_fails_leaves_no_half_gradient_behind(rng):
    """An error before the weight's turn: its array is as it was."""
    W, w = weight(rng, True), Tensor(np.ones(4))
    y = F.linear(rng.standard_normal((3, 4)), W) * w
    w.data += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()
    assert W.grad is None
