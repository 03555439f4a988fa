"""One flat array for all parameters, one for all gradients; clipping on them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minilm import Parameter, Tensor, nn, optim
from minilm import functional as F


def parameters(*shapes):
    return [Parameter(np.arange(np.prod(s), dtype=np.float32).reshape(s) + i) for i, s in enumerate(shapes)]


def test_parameters_become_views_with_the_same_values():
    ps = parameters((2, 3), (4,), ())
    before = [p.data.copy() for p in ps]
    flat = optim.FlatParameters(ps)
    assert flat.data.shape == flat.grad.shape == (11,)
    for p, values in zip(ps, before):
        assert np.shares_memory(p.data, flat.data)
        assert np.array_equal(p.data, values)
        assert p.shape == values.shape
    flat.data[0] = 77
    assert ps[0].data[0, 0] == 77


def test_backward_writes_into_the_flat_gradient():
    ps = parameters((3,), (3,))
    flat = optim.FlatParameters(ps)
    (ps[0] * ps[1]).sum().backward()
    assert flat.grad.tolist() == [*ps[1].tolist(), *ps[0].tolist()]
    assert all(np.shares_memory(p.grad, flat.grad) for p in ps)
    flat.zero_grad()
    assert all(p.grad is None for p in ps)
    (ps[0] * 2).sum().backward()  # overwrites what the last step left behind
    assert ps[0].grad.tolist() == [2, 2, 2]
    (ps[0] * 2).sum().backward()
    assert ps[0].grad.tolist() == [4, 4, 4]


def test_embedding_rows_overwrite_the_last_steps_gradient_too():
    """A partial cotangent touches some rows: the others must not keep what the buffer held before."""
    table = Parameter(np.ones((4, 2), np.float32))
    flat = optim.FlatParameters([table])
    F.embedding([0, 1], table).sum().backward()
    flat.zero_grad()
    F.embedding([3], table).sum().backward()
    assert table.grad.tolist() == [[0, 0], [0, 0], [0, 0], [1, 1]]


def test_a_tied_parameter_has_one_place():
    p, q = parameters((2,), (2,))
    assert optim.FlatParameters([p, q, p]).data.shape == (4,)


def test_rebound_data_and_gradients_are_adopted():
    """`p.data = …` and `p.grad = …` by hand, as people do: the next step uses them, and they move into the flat array."""
    (p,) = parameters((3,))
    optimizer = optim.SGD([p], lr=1.0)
    p.data = np.full(3, 10, np.float32)
    p.grad = np.full(3, 4, np.float32)
    optimizer.step()
    assert p.tolist() == [6, 6, 6]
    assert np.shares_memory(p.data, optimizer.flat.data)
    assert np.shares_memory(p.grad, optimizer.flat.grad)


@pytest.mark.parametrize("data", [np.float32(5) * np.ones((1, 3), np.float32), np.ones(1, np.float32)])
def test_rebound_data_of_another_shape_is_refused(data):
    (p,) = parameters((2, 3))
    optimizer = optim.SGD([p], lr=1.0)
    p.data, p.grad = data, np.ones((2, 3), np.float32)
    with pytest.raises((ValueError, RuntimeError), match="shape"):
        optimizer.step()


def test_a_second_optimizer_takes_over_and_the_first_says_so():
    (p,) = parameters((2,))
    first = optim.SGD([p], lr=1.0)
    second = optim.SGD([p], lr=1.0)
    p.grad = np.ones(2, np.float32)
    with pytest.raises(RuntimeError, match="belong to another optimizer by now"):
        first.step()
    second.step()
    assert p.tolist() == [-1, 0]


def test_clipping_through_the_first_optimizer_says_so_too():
    (p,) = parameters((2,))
    first = optim.SGD([p], lr=1.0)
    second = optim.SGD([p], lr=1.0)
    p.grad = np.ones(2, np.float32)
    with pytest.raises(RuntimeError, match="another optimizer"):
        first.clip_grad_norm(1.0)
    second.step()


def test_loading_weights_keeps_the_views():
    model = nn.Linear(2, 2)
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    model.load_state_dict({"weight": np.ones((2, 2)), "bias": np.zeros(2)})
    assert optimizer.flat.data.tolist() == [1, 1, 1, 1, 0, 0]


def test_spans_join_neighbours_that_have_a_gradient():
    ps = parameters((2,), (3,), (1,), (4,))
    flat = optim.FlatParameters(ps)
    assert list(flat.spans()) == []
    for i in (0, 1, 3):
        ps[i].grad = np.ones(ps[i].shape, np.float32)
    assert list(flat.spans()) == [slice(0, 5), slice(6, 10)]
    assert list(flat.spans(1, 3)) == [slice(2, 5)]
    assert list(flat.spans(1)) == [slice(2, 5), slice(6, 10)]


# --- clipping -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("through", ["optimizer", "function"])
@pytest.mark.parametrize("max_norm", [1.0, 4.9, 5.0, 100.0])
def test_clipping_scales_all_gradients_together(through, max_norm):
    a, b, idle = parameters((1,), (1,), (2,))
    optimizer = optim.SGD([a, b, idle], lr=1.0)
    a.grad, b.grad = np.array([3.0], np.float32), np.array([4.0], np.float32)
    norm = (
        optimizer.clip_grad_norm(max_norm) if through == "optimizer" else optim.clip_grad_norm_([a, b, idle], max_norm)
    )
    assert norm == pytest.approx(5)
    scale = min(1, max_norm / 5)
    assert a.grad.item() == pytest.approx(3 * scale, rel=1e-5)
    assert b.grad.item() == pytest.approx(4 * scale, rel=1e-5)
    assert math.hypot(a.grad.item(), b.grad.item()) <= max_norm * (1 + 1e-6)
    assert idle.grad is None


def test_clipping_with_none_measures_only():
    (p,) = parameters((2,))
    optimizer = optim.SGD([p], lr=1.0)
    p.grad = np.array([30.0, 40.0], np.float32)
    assert optimizer.clip_grad_norm(None) == pytest.approx(50)
    assert p.grad.tolist() == [30, 40]


def test_what_nobody_uses_is_not_in_the_norm():
    """Old numbers in the flat gradient of a parameter that got none this time must not count."""
    a, b = parameters((1,), (1,))
    optimizer = optim.SGD([a, b], lr=1.0)
    a.grad, b.grad = np.array([3.0], np.float32), np.array([4.0], np.float32)
    optimizer.step()
    optimizer.zero_grad()
    a.grad = np.array([3.0], np.float32)
    assert optimizer.clip_grad_norm(None) == pytest.approx(3)


def test_the_norm_of_many_small_numbers_is_right():
    """Four million squares of 5e-4 in float32: only short runs are added in single precision."""
    p = Parameter(np.zeros(4_000_000, np.float32))
    optimizer = optim.SGD([p], lr=1.0)
    p.grad = np.full(4_000_000, 5e-4, np.float32)
    assert optimizer.clip_grad_norm(None) == pytest.approx(1.0, rel=1e-5)


def test_gradients_of_a_module_reach_the_optimizer():
    model = nn.Linear(3, 2, generator=np.random.default_rng(0))
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    before = model.weight.data.copy()
    model(Tensor(np.ones((1, 3), np.float32))).sum().backward()
    optimizer.step()
    np.testing.assert_allclose(model.weight.data, before - 0.5, rtol=1e-6)
