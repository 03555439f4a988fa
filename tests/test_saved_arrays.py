"""In-place changes of arrays that a derivative needs: seen at backward(), never silently wrong."""

from __future__ import annotations

import numpy as np
import pytest

import minilm_kernels as kernels
from minilm import Parameter, Tensor, optim
from minilm import functional as F
from minilm.tape import arrays_in, saved_arrays


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values), requires_grad=True)


def test_one_changed_element_of_a_small_array_is_seen():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = x * w
    w.data[1] = 5
    with pytest.raises(RuntimeError, match=r"shape \(2,\) that mul saved .* changed in place"):
        y.backward(np.ones(2))
    w.data[1] = 4
    (x * w).backward(np.ones(2))
    assert x.grad.tolist() == [3, 4]


def test_a_changed_large_array_is_seen():
    x = Tensor(np.ones(5000), requires_grad=True)
    w = Tensor(np.arange(5000.0))
    y = x * w
    w.data *= 1.001
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


@pytest.mark.parametrize("layout", [lambda a: a.T, lambda a: a[:, ::-1], lambda a: a[::2], lambda a: a[:, 10:90]])
def test_a_changed_large_array_of_any_strides_is_seen(layout):
    whole = np.arange(20_000.0).reshape(200, 100)
    x, w = Tensor(np.ones(layout(whole).shape), requires_grad=True), Tensor(layout(whole))
    (x * w).sum().backward()
    y = x * w
    whole += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


@pytest.mark.parametrize(
    "function", [F.exp, F.softmax, F.tanh, F.layer_norm, F.sqrt, F.gelu, F.dropout, F.sigmoid, F.logsumexp]
)
def test_changing_the_result_in_place_is_never_silently_wrong(function):
    """Either the derivative does not need the changed array, and is right, or the change is seen."""

    def gradient(spoil):
        x = leaf(1.0, 2.0, 3.0)
        y = F.dropout(x, 0.5, generator=np.random.default_rng(0)) if function is F.dropout else function(x)
        if spoil:
            y.data[...] = -7
        y.backward(np.arange(y.data.size).reshape(y.shape) + 1.0)
        return x.grad

    want = gradient(False)
    try:
        got = gradient(True)
    except RuntimeError as error:
        said = str(error)
    else:
        said = "changed in place" if np.array_equal(got, want) else f"nothing, and the gradient is wrong: {got}"
    assert "changed in place" in said


def test_changed_indices_are_seen():
    """A batch buffer that is filled again before backward() is a classic."""
    W, ids = leaf(1.0, 2.0, 3.0).reshape(3, 1), np.array([0, 1])
    y = F.embedding(ids, W)
    ids[0] = 2
    with pytest.raises(RuntimeError, match="embedding saved"):
        y.sum().backward()


def test_arrays_that_are_saved_in_a_tuple_are_watched_too():
    """An index of several arrays, and what attention keeps for its backward pass."""
    x, rows = Tensor(np.ones((3, 3)), requires_grad=True), np.array([0, 1])
    y = x[rows, rows]
    rows[0] = 2
    with pytest.raises(RuntimeError, match="getitem saved"):
        y.sum().backward()
    q, k, v = (Tensor(np.ones((1, 1, 2, 2)), requires_grad=True) for _ in range(3))
    y = F.scaled_dot_product_attention(q, k, v)
    k.data += 1
    with pytest.raises(RuntimeError, match="scaled_dot_product_attention saved"):
        y.sum().backward()


@pytest.mark.parametrize("part", range(3))
def test_queries_keys_and_values_of_one_array_are_watched(part):
    """Of views that together are all of an array that array is looked at; of a part of an array only the part."""
    x = Tensor(np.ones((1, 4, 3 * 8)), requires_grad=True)
    y = F.self_attention(x, 2)
    x.data[0, 1, 8 * part] = 2
    with pytest.raises(RuntimeError, match="self_attention saved"):
        y.sum().backward()
    store = np.ones((1, 3, 2, 4, 8))  # the second head of each is nobody's
    q, k, v = (Tensor(store[:, i, :1], requires_grad=True) for i in range(3))
    y = F.scaled_dot_product_attention(q, k, v)
    store[:, :, 1] = 3
    y.sum().backward()
    y = F.scaled_dot_product_attention(q, k, v)
    store[0, part, 0, 1, 0] = 2
    with pytest.raises(RuntimeError, match="scaled_dot_product_attention saved"):
        y.sum().backward()


def test_an_optimizer_step_between_forward_and_backward_is_seen():
    p = Parameter(np.ones((40, 40)))
    optimizer = optim.SGD([p], lr=0.1)
    F.linear(Tensor(np.ones((2, 40))), p).sum().backward()
    y = F.linear(Tensor(np.ones((2, 40)), requires_grad=True), p).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"linear saved.*optimizer\.step\(\) too"):
        y.backward()


@pytest.mark.parametrize("place", [0, 1, 2047, 4095])
def test_one_changed_element_of_4096_is_seen(place):
    x, w = Tensor(np.ones(4096), requires_grad=True), Tensor(np.ones(4096))
    y = x * w
    w.data[place] = 2
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


@pytest.mark.parametrize("after", [lambda y: y, lambda y: y.exp() * 1.0], ids=["at its first node", "half way"])
def test_a_backward_that_failed_is_not_counted_twice(after):
    """The rest of the graph is freed, so that going on with it is an error and not a doubled gradient."""
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = after(x * w)
    w.data[0] += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward(np.ones(2), retain_graph=True)
    w.data[0] -= 1
    with pytest.raises(RuntimeError, match="freed"):
        y.backward(np.ones(2), retain_graph=True)


# --- what a kernel keeps stands in tuples inside tuples -----------------------------------------------------------------


def kernel_calls():
    """Calls of every function that a kernel with residuals serves, on small operands that all require a gradient."""
    rng = np.random.default_rng(7)

    def leaves(*shapes):
        return [Tensor(rng.uniform(0.5, 1.5, shape), requires_grad=True) for shape in shapes]

    heads = [(1, 2, 3, 4)] * 3
    drop = {"generator": np.random.default_rng(1)}
    return {
        "linear": (F.linear, leaves((3, 4), (2, 4), (2,)), {}),
        "linear with gelu": (F.linear, leaves((3, 4), (2, 4), (2,)), {"activation": "gelu"}),
        "layer_norm": (F.layer_norm, leaves((3, 4), (4,), (4,)), {}),
        "rms_norm": (F.rms_norm, leaves((3, 4), (4,)), {}),
        "gelu": (F.gelu, leaves((3, 4)), {}),
        "silu_mul": (F.silu_mul, leaves((3, 4), (3, 4)), {}),
        "bias_residual_dropout": (F.bias_residual_dropout, leaves((3, 4), (4,), (3, 4)), {**drop, "p": 0.5}),
        "cross_entropy": (F.cross_entropy, leaves((2, 3)), {"targets": np.array([0, 2]), "reduction": "none"}),
        "rotary": (F.rotary, leaves((2, 4)), {"cos": np.full((2, 2), 0.6), "sin": np.full((2, 2), 0.8)}),
        "attention": (F.scaled_dot_product_attention, leaves(*heads, (3, 3)), {"is_causal": True}),
        "attention with dropout": (F.scaled_dot_product_attention, leaves(*heads), {**drop, "dropout_p": 0.3}),
    }


@pytest.mark.parametrize("name", kernel_calls())
def test_every_array_in_a_kernels_residuals_is_watched(name):
    """Each one, changed in place by itself, is noticed; and where nothing was changed nothing is."""
    function, operands, options = kernel_calls()[name]
    number = len(saved_arrays(function(*operands, **options).node.backward))
    assert number > 0 or name == "bias_residual_dropout"  # which draws its mask again
    for i in range(number):
        y = function(*operands, **options)
        array = saved_arrays(y.node.backward)[i]
        array.flags.writeable = True
        before = array.copy()
        array += np.ones_like(array)
        with pytest.raises(RuntimeError, match=f"{y.node.name} saved for .* changed in place"):
            y.backward(np.ones(y.shape))
        array[...] = before
    y = function(*operands, **options)
    y.backward(np.ones(y.shape))


@pytest.mark.parametrize("name", kernel_calls())
def test_changing_an_operand_or_the_result_is_never_silently_wrong(name):
    """Whatever the backend keeps: the gradients are right, or the change is noticed."""

    def gradients(change):
        function, operands, options = kernel_calls()[name]
        y = function(*operands, **options)
        change([x.data for x in operands] + [y.data])
        y.backward(np.ones(y.shape))
        return [x.grad for x in operands]

    def double(array):
        array *= 2

    want = gradients(lambda arrays: None)
    for i in range(len(want) + 1):
        try:
            got = gradients(lambda arrays, i=i: double(arrays[i]))
        except RuntimeError as error:
            said = str(error)
        else:
            right = all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))
            said = "changed in place" if right else f"nothing, and a gradient is wrong after a change of array {i}"
        assert "changed in place" in said


def test_arrays_are_found_at_any_depth():
    inner, outer = np.zeros(2), np.ones(3)
    found = arrays_in(("a", (1, (inner, None), [inner]), {"b": inner}, outer))
    assert [id(array) for array in found] == [id(inner), id(outer)]
    x = np.ones((2, 3))
    _, residuals = kernels.layer_norm(x, np.ones(3))
    assert len(arrays_in((residuals,))) >= 2
