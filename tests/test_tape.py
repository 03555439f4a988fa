"""The tape: the order of the walk, freeing, what is refused, and switching it off."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

import minilm_kernels as kernels
from minilm import Tensor, no_grad
from minilm import functional as F
from minilm.tensor import record


def forgetful(x: Tensor) -> Tensor:
    return record(x.data + np.ones((3, 1)), (x,), lambda dy: (dy,))


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values), requires_grad=True)


# --- the walk -----------------------------------------------------------------------------------------------------------


def test_diamond():
    """a → b, c → d: a gets the sum of both paths, b and c are visited once."""
    a = leaf(2.0)
    b, c = a * 3, a * a
    (b * c).backward()  # 3 a³
    assert a.grad.tolist() == [36]


def test_a_ladder_of_diamonds_is_walked_once_per_node():
    """2⁶⁰ paths, 60 nodes: a walk along paths would never end."""
    x = y = leaf(1.0)
    for _ in range(60):
        y = y + y
    y.backward()
    assert x.grad.tolist() == [2.0**60]


@pytest.mark.parametrize("length", [5_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_long_chain(length):
    x = y = leaf(1.0)
    for _ in range(length):
        y = y + 1
    y.backward()
    assert x.grad.tolist() == [1]


@pytest.mark.slow
def test_a_long_chain_can_be_dropped_without_backward():
    """Neither Python's recursion limit nor the C stack may be hit when 100,000 nodes go at once."""
    y = leaf(1.0)
    for _ in range(100_000):
        y = y + 1
    node = weakref.ref(y)
    del y
    assert node() is None


def test_nothing_waits_for_the_garbage_collector():
    """No reference cycles: what a training step made is gone when the step is over, not at some later collection."""
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        W, gain = (Tensor(np.ones(shape), requires_grad=True) for shape in ((2, 2), 2))
        W.grad_buffer = np.empty((2, 2))
        middle = F.layer_norm(F.linear(F.gelu(x * 2), W, activation="silu", residual=x), gain)
        loss = F.cross_entropy(middle.reshape(1, 2), np.array([1])) + F.softmax(middle).sum()
        seen = weakref.ref(middle)
        loss.backward()
        del middle
        assert seen() is None, "backward() did not free the graph"
    finally:
        gc.enable()


def test_a_deep_and_wide_graph_gives_gradients_to_all_leaves():
    leaves = [leaf(float(i)) for i in range(50)]
    total = leaves[0]
    for i, x in enumerate(leaves):
        total = total + x * float(i)
    total.backward()
    assert [x.grad.item() for x in leaves] == [1, *range(1, 50)]


def test_gradients_add_up_over_two_backwards():
    x = leaf(3.0)
    (x * x).backward()
    (x * 2).backward()
    assert x.grad.tolist() == [8]
    x.zero_grad()
    assert x.grad is None


def test_a_leaf_is_its_own_gradient():
    x = leaf(1.0, 2.0)
    x.backward(np.array([3.0, 4.0]))
    assert x.grad.tolist() == [3, 4]


def test_inner_nodes_and_constants_get_no_gradient():
    x, constant = leaf(1.0), Tensor([5.0])
    y = x * constant
    (y * 2).backward()
    assert y.grad is None
    assert constant.grad is None


# --- gradients are nobody else's memory ---------------------------------------------------------------------------------


def test_gradients_are_not_aliased():
    """add hands the same array to both operands, reshape and split hand out views: each leaf must own its gradient."""
    a, b, c = leaf(1.0, 2.0), leaf(1.0, 2.0), leaf(1.0, 2.0)
    cotangent = np.array([1.0, 1.0])
    (a + b + c.reshape(2)).backward(cotangent)
    grads = [a.grad, b.grad, c.grad, cotangent]
    for i, first in enumerate(grads):
        for second in grads[i + 1 :]:
            assert not np.shares_memory(first, second)
    a.grad += 100
    assert b.grad.tolist() == [1, 1]


def test_a_tensor_added_to_itself():
    x = leaf(1.0, 2.0)
    y = x + x
    y.backward(np.array([1.0, 10.0]))
    assert x.grad.tolist() == [2, 20]
    assert not np.shares_memory(x.grad, x.data)


def test_gradients_are_writable_also_after_a_sum():
    x = leaf(1.0, 2.0)
    x.sum().backward()  # the cotangent is a read-only broadcast view
    x.grad *= 2
    assert x.grad.tolist() == [2, 2]


# --- what is refused ----------------------------------------------------------------------------------------------------


def test_second_backward_is_refused_and_changes_nothing():
    x = leaf(3.0)
    y = x * x
    y.backward()
    with pytest.raises(RuntimeError, match=r"freed.*retain_graph=True"):
        y.backward()
    shared = x * 2
    one, other = shared * 3, shared * 4
    one.backward()
    before = x.grad.copy()
    with pytest.raises(RuntimeError, match="freed"):
        other.backward()
    assert np.array_equal(x.grad, before)


def test_retain_graph_allows_a_second_one():
    x = leaf(3.0)
    y = (x * x).sum() + x[0] * x[0]
    y.backward(retain_graph=True)
    assert x.grad.tolist() == [12]
    y.backward()
    assert x.grad.tolist() == [24]
    with pytest.raises(RuntimeError, match="freed"):
        y.backward()


def test_a_non_scalar_needs_a_cotangent():
    with pytest.raises(RuntimeError, match=r"shape \(2,\) needs a cotangent"):
        (leaf(1.0, 2.0) * 2).backward()
    x = leaf(1.0, 2.0)
    (x * 2)[:1].reshape(1, 1).backward()  # one element is enough
    assert x.grad.tolist() == [2, 0]


@pytest.mark.parametrize("cotangent", [np.ones(3), np.ones((1, 2)), 1.0])
def test_a_cotangent_of_another_shape_is_refused(cotangent):
    x = leaf(1.0, 2.0)
    with pytest.raises(ValueError, match=r"cotangent has shape .* must agree"):
        (x * 2).backward(cotangent)
    assert x.grad is None


def test_cotangents_may_be_lists_tensors_or_of_another_dtype():
    x = Tensor(np.ones(2, np.float32), requires_grad=True)
    for cotangent in ([1, 2], Tensor([1.0, 2.0]), np.array([1.0, 2.0])):
        x.zero_grad()
        (x * 2).backward(cotangent)
        assert x.grad.dtype == np.float32
        assert x.grad.tolist() == [2, 4]


def test_backward_without_anything_to_differentiate():
    with pytest.raises(RuntimeError, match="depends on nothing with requires_grad=True"):
        Tensor(1.0).backward()
    with no_grad():
        y = leaf(1.0) * 2
    with pytest.raises(RuntimeError, match="no_grad"):
        y.backward()


def test_a_derivative_of_the_wrong_shape_names_the_operation():
    with pytest.raises(RuntimeError, match=r"derivative of .*forgetful.* unbroadcast"):
        forgetful(leaf(1.0, 2.0)).backward(np.ones((3, 2)))


# --- switching it off ---------------------------------------------------------------------------------------------------


def test_no_grad_as_context_nested_and_after_an_error():
    x = leaf(1.0)
    with no_grad():
        assert not (x * 2).requires_grad
        with no_grad():
            pass
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert (x * 2).requires_grad


def test_no_grad_as_decorator_also_recursive():
    x = leaf(1.0)

    @no_grad()
    def off(depth):
        inner = off(depth - 1) if depth else True
        return inner and not (x * 2).requires_grad

    assert off(3)
    assert (x * 2).requires_grad


def test_one_no_grad_object_can_be_entered_twice():
    off, x = no_grad(), leaf(1.0)
    try:
        with off, off:
            pass
        assert (x * 2).requires_grad
    finally:
        from minilm.tape import _mode

        _mode.recording = True


def test_no_grad_is_per_thread():
    x, seen = leaf(1.0), []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_cotangents_that_meet_are_summed(dtype):
    """On the kernels' threads; the bits are NumPy's."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((200, 300)).astype(dtype) for _ in range(2))
    x = Tensor(np.ones_like(a), requires_grad=True)
    (x * Tensor(a) + x * Tensor(b)).sum().backward()
    assert np.array_equal(x.grad, a + b) or np.array_equal(x.grad, b + a)


# --- a derivative that adds to what its first parent has received ---------------------------------------------------------


def spied_norm(monkeypatch) -> list:
    """What each call of layer_norm_backward is given to add."""
    seen, backward = [], kernels.layer_norm_backward

    def spy(dy, residuals, add=None):
        seen.append(None if add is None else add.tolist())
        return backward(dy, residuals, add=add)

    monkeypatch.setattr(kernels, "layer_norm_backward", spy)
    return seen


def test_a_norm_adds_what_came_past_it(monkeypatch):
    seen = spied_norm(monkeypatch)
    y = leaf(1.0, 2.0, 4.0) * 1
    past = y * 5
    (F.layer_norm(y) + past).backward(np.ones(3))
    (F.layer_norm(leaf(1.0, 2.0)) * 1).backward(np.ones(2))
    assert seen == [[5, 5, 5], None]


def test_a_cotangent_of_another_dtype_is_added_by_the_tape(monkeypatch):
    """A kernel works in one dtype; float64 arrives here at a float32 array."""
    seen = spied_norm(monkeypatch)
    x = Tensor(np.array([1, 2, 4], np.float32), requires_grad=True)
    y = x * 1
    wide = y * np.array([5.0, 5.0, 5.0])
    (F.layer_norm(y).sum() + wide.sum().astype(np.float32)).backward()
    assert seen == [None]
    np.testing.assert_allclose(x.grad, [5, 5, 5], atol=1e-5)


def test_a_graph_with_a_norm_that_is_kept_gives_the_same_again():
    x = leaf(1.0, 2.0, 4.0)
    y = x * 1
    loss = (F.layer_norm(y) * np.array([1.0, 0.0, 2.0]) + y * 5).sum()
    loss.backward(retain_graph=True)
    first = x.grad.copy()
    loss.backward()
    np.testing.assert_array_equal(x.grad, 2 * first)
