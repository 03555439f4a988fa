"""Tensor as a container: what it holds, in which dtype, how it prints, what may be written into it."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from minilm import Parameter, Tensor, no_grad, tensor
from minilm import functional as F

# --- what it holds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, np.float32),
        ([1.0, 2.0], np.float32),
        ([[1, 2], [3, 4]], np.int64),
        (7, np.int64),
        (True, np.bool_),
        ([True, False], np.bool_),
        (np.zeros(2), np.float64),
        (np.zeros(2, np.float32), np.float32),
        (np.zeros(2, np.uint16), np.uint16),
        (np.float64(2.0), np.float64),
        ([], np.float32),
    ],
)
def test_python_numbers_become_float32_and_arrays_keep_their_dtype(data, dtype):
    assert Tensor(data).dtype == dtype
    assert tensor(data).dtype == dtype


def test_an_explicit_dtype_wins():
    assert Tensor([1.0], dtype=np.float64).dtype == np.float64
    assert tensor([1, 2], dtype=np.float32).dtype == np.float32


@pytest.mark.parametrize("data", ["text", ["a", "b"], [object()], np.array([1j]), None])
def test_things_that_are_no_numbers_are_refused(data):
    with pytest.raises(TypeError, match="holds numbers or booleans"):
        Tensor(data)


@pytest.mark.parametrize("data", [[1, 2], [True]])
def test_only_floats_can_require_a_gradient(data):
    with pytest.raises(TypeError, match="only floating-point"):
        Tensor(data, requires_grad=True)


def test_tensor_shares_the_array_and_tensor_function_copies_it():
    a = np.zeros(3)
    assert Tensor(a).data is a
    assert not np.shares_memory(tensor(a).data, a)
    assert not np.shares_memory(tensor(Tensor(a)).data, a)
    assert Tensor(Tensor(a)).data is a


def test_attributes():
    x = Tensor(np.zeros((2, 3)), requires_grad=True)
    assert (x.shape, x.ndim, x.numel(), x.size(), x.size(1), len(x)) == ((2, 3), 2, 6, (2, 3), 3, 2)
    assert x.is_leaf
    assert not (x * 2).is_leaf
    assert [row.shape for row in x] == [(3,), (3,)]
    assert x.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert x.numpy() is x.data
    with pytest.raises(TypeError, match="no axes"):
        len(Tensor(1.0))


def test_item_and_conversion_to_python_numbers():
    assert Tensor([[2.5]]).item() == 2.5
    assert isinstance(Tensor(3).item(), int)
    assert Tensor(True).item() is True
    assert float(Tensor(2.5)) == 2.5
    assert int(Tensor(3)) == 3
    assert bool(Tensor(0.0)) is False
    with pytest.raises(ValueError, match=r"exactly one element.*\(2,\)"):
        Tensor([1.0, 2.0]).item()


def test_detach_shares_memory_and_stops_the_gradient():
    x = Tensor([2.0], requires_grad=True)
    y = x * 3
    assert np.shares_memory(y.detach().data, y.data)
    assert not y.detach().requires_grad
    (y.detach() * x).sum().backward()
    assert x.grad.tolist() == [6]


def test_copies_of_tensors_are_independent():
    p = Parameter([1.0, 2.0])
    q = copy.deepcopy(p)
    assert isinstance(q, Parameter)
    q.data[0] = 9
    assert p.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (lambda: Tensor([1.0, 2.5]), "Tensor([1. , 2.5])"),
        (lambda: Tensor(3), "Tensor(3)"),
        (lambda: Tensor(np.zeros(1)), "Tensor([0.], dtype=float64)"),
        (lambda: Tensor([1.0], requires_grad=True), "Tensor([1.], requires_grad=True)"),
        (lambda: Tensor([1.0], requires_grad=True) * 2, "Tensor([2.], from=mul)"),
        (lambda: F.softmax(Tensor([1.0], requires_grad=True)), "Tensor([1.], from=softmax)"),
        (lambda: Parameter([1.0]), "Parameter([1.], requires_grad=True)"),
        (lambda: Tensor(np.zeros((0, 3), np.float32)), "Tensor([], shape=(0, 3))"),
    ],
)
def test_repr(value, text):
    assert repr(value()) == text


def test_repr_of_something_large_is_short():
    text = repr(Tensor(np.zeros((200, 300), np.float32)))
    assert "shape=(200, 300)" in text
    assert len(text) < 500


# --- dtypes of results --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2, 2.0, True, np.float64(2.0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_take_the_tensors_dtype(number, dtype):
    x = Tensor(np.ones(3, dtype))
    for y in (
        x + number,
        number + x,
        x - number,
        number - x,
        x * number,
        number * x,
        x / number,
        number / x,
        x**number,
    ):
        assert isinstance(y, Tensor)
        assert y.dtype == dtype
    assert (2**x).dtype == dtype
    assert F.maximum(x, number).dtype == F.where(x.data > 0, x, number).dtype == dtype


@pytest.mark.parametrize("other", [np.int64(2), Tensor(2), Tensor([1, 2, 3])])
def test_integer_operands_keep_float32(other):
    assert (Tensor(np.ones(3, np.float32)) * other).dtype == np.float32


def test_integers_times_a_python_float_are_float32():
    assert (Tensor([1, 2]) * 0.5).dtype == np.float32


def test_single_and_double_mix_to_double_and_gradients_keep_their_leaf_s_dtype():
    x = Tensor(np.ones(2, np.float32), requires_grad=True)
    y = Tensor(np.ones(2), requires_grad=True)
    z = (x * 1) * y
    assert z.dtype == np.float64
    z.sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float64)


def test_an_array_and_a_tensor_give_a_tensor():
    a, x = np.ones((2, 2)), Tensor(np.ones((2, 2)), requires_grad=True)
    for y in (a + x, a - x, a * x, a / x, a**x, a @ x, x + a, x @ a):
        assert isinstance(y, Tensor)
        assert y.requires_grad
    assert isinstance(a < x, Tensor)


def test_comparisons_give_booleans_without_gradient():
    x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    for y, want in [
        (x < 2, [1, 0, 0]),
        (x <= 2, [1, 1, 0]),
        (x > 2, [0, 0, 1]),
        (x >= 2, [0, 1, 1]),
        (x == 2, [0, 1, 0]),
    ]:
        assert y.dtype == np.bool_
        assert not y.requires_grad
        assert y.tolist() == [bool(w) for w in want]
    assert (x != Tensor([1.0, 0.0, 3.0])).tolist() == [False, True, False]
    assert (np.float32(2) > x).tolist() == [True, False, False]
    assert len({x, x}) == 1, "a tensor is hashed by identity"


def test_methods_are_the_functions():
    x = Tensor(np.arange(6.0).reshape(2, 3) + 1)
    assert np.array_equal(x.sum(dim=1).data, F.sum(x, dim=1).data)
    assert np.array_equal(x.mean(axis=0, keepdims=True).data, x.data.mean(0, keepdims=True))
    assert x.T.shape == x.transpose(0, 1).shape == (3, 2)
    assert x.view(3, 2).shape == x.reshape((3, -1)).shape == (3, 2)
    assert (-x).tolist() == (0 - x).tolist()
    assert x.double() is x
    assert x.float().dtype == np.float32
    assert x.argmax(dim=1).tolist() == [2, 2]


@pytest.mark.parametrize(
    "operator", [abs, lambda x: (x > 0) & (x < 1), lambda x: (x > 0) | (x < 1), lambda x: ~(x > 0)]
)
def test_pythons_other_operators(operator):
    assert isinstance(operator(Tensor([-1.0, 0.5])), Tensor)


def test_astype_converts_the_gradient_back():
    x = Tensor(np.ones(2, np.float32), requires_grad=True)
    (x.double() * np.array([1.0, 3.0])).sum().backward()
    assert x.grad.dtype == np.float32
    assert x.grad.tolist() == [1, 3]
    assert not x.astype(np.int64).requires_grad


# --- writing ------------------------------------------------------------------------------------------------------------


def test_setitem_writes_where_no_gradient_is_recorded():
    x = Tensor(np.zeros(4))
    x[1] = 5
    x[2:] = Tensor([6.0, 7.0])
    x[[0, 1]] = 1.0
    x[x > 6] = -1
    assert x.tolist() == [1, 1, 6, -1]


def test_setitem_on_a_tensor_that_requires_a_gradient_needs_no_grad():
    x = Tensor(np.zeros(2), requires_grad=True)
    with pytest.raises(RuntimeError, match=r"not recorded; use where\(\)"):
        x[0] = 1
    with no_grad():
        x[0] = 1
    assert x.tolist() == [1, 0]


@pytest.mark.parametrize(
    "function",
    [
        F.silu,
        F.gelu,
        lambda x: F.gelu(x, "tanh"),
        lambda x: F.logsumexp(x, None),
        F.mean,
        lambda x: x * x + x[...],
        F.softmax,
        lambda x: x[None].sum() * 1 + x * 2 + x * 3,
    ],
)
def test_single_numbers_go_through_every_function(function):
    x = Tensor(0.5, requires_grad=True)
    y = x + 0  # an inner node
    function(y).sum().backward()
    assert x.grad.shape == ()
