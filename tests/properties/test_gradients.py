"""Every public function has the derivative that central differences say it has."""

from __future__ import annotations

import numpy as np
import properties.rows_elementwise
import properties.rows_layers
import properties.rows_shape  # noqa: F401  each import fills the table
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties.gradcheck import SEEDS, away_from_zero, check_gradient, gradients
from properties.table import NOT_DIFFERENTIABLE, ROWS, examples

from minilm import Tensor
from minilm import functional as F
from minilm_kernels import array_namespace


def test_every_public_function_has_a_row():
    public = set(F.__all__)
    assert public - set(ROWS) - NOT_DIFFERENTIABLE == set(), "write a row for it in tests/properties/rows_*.py"
    assert set(ROWS) - public == set(), "a row for something that functional does not export"
    assert all(callable(getattr(F, name)) for name in public)
    methods = {name for name in vars(F) if callable(vars(F)[name]) and not name.startswith("_")} - {"attach"}
    assert methods <= public, "a function that __all__ forgets"


@pytest.mark.parametrize("name", sorted(ROWS))
def test_gradient(name):
    @settings(max_examples=examples(name))
    @given(case=ROWS[name], seed=SEEDS)
    def check(case, seed):
        function, inputs = case
        check_gradient(function, *inputs, seed=seed)

    check()


@pytest.mark.parametrize("name", sorted(ROWS))
@settings(max_examples=10)
@given(data=st.data())
def test_float32_stays_float32(name, data):
    """Forward, and every cotangent on the tape: one float64 in between doubles the time and memory of all that follows."""
    function, inputs = data.draw(ROWS[name])
    tensors = [Tensor(x.astype(np.float32), requires_grad=True) for x in inputs]
    outputs = function(F, *tensors)
    for y in outputs if isinstance(outputs, tuple) else [outputs]:
        assert y.dtype == np.float32
        stack = [(y.node, array_namespace(y.data).ones(y.shape, np.float32))]
        while stack:
            node, cotangent = stack.pop()
            for parent, partial in zip(node.parents, node.backward(cotangent)):
                if partial is None or not parent.requires_grad:
                    continue
                values = getattr(partial, "values", partial)
                assert values.dtype == np.float32, f"{node.name} sends {values.dtype} to its operands"
                if parent.node is not None and parent.shape == np.shape(values):
                    stack.append((parent.node, values))


@pytest.mark.parametrize(
    "name",
    [
        "softmax",
        "log_softmax",
        "layer_norm",
        "rms_norm",
        "linear",
        "gelu",
        "logsumexp",
        "var",
        "silu_mul",
        "bias_residual_dropout",
        "linear_composed",
        "layer_norm_composed",
        "rms_norm_composed",
        "gelu_tanh_composed",
    ],
)
@settings(max_examples=10)
@given(data=st.data())
def test_float32_gradients_are_near_those_of_float64(name, data):
    function, inputs = data.draw(ROWS[name])
    single = [x.astype(np.float32) for x in inputs]
    exact = gradients(function, [x.astype(np.float64) for x in single], seed=1)[1]
    for got, want in zip(gradients(function, single, seed=1)[1], exact):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


# --- gradients that are conventions, not limits: what happens at a kink, a tie, a masked place --------------------------


@pytest.mark.parametrize("name", ["relu", "abs"])
def test_the_derivative_at_the_kink_is_zero(name):
    x = Tensor(np.zeros(3), requires_grad=True)
    getattr(F, name)(x).sum().backward()
    assert x.grad.tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", ["max", "min"])
@pytest.mark.parametrize("dim", [None, 0, 1, (0, 1)])
def test_tied_extrema_share_the_gradient(name, dim):
    x = Tensor(np.full((2, 4), 3.0), requires_grad=True)
    getattr(F, name)(x, dim=dim).sum().backward()
    winners = {None: 8, 0: 2, 1: 4, (0, 1): 8}[dim]
    assert np.array_equal(x.grad, np.full((2, 4), 1 / winners))


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_equal_operands_share_the_gradient(name):
    x, y = (Tensor(np.array([1.0, 2.0]), requires_grad=True) for _ in range(2))
    getattr(F, name)(x, y).sum().backward()
    assert x.grad.tolist() == y.grad.tolist() == [0.5, 0.5]


def test_padding_row_of_an_embedding_gets_no_gradient():
    W = Tensor(np.ones((3, 2)), requires_grad=True)
    F.embedding(np.array([[0, 1], [1, 2]]), W, padding_idx=1).backward(np.full((2, 2, 2), 5.0))
    assert W.grad.tolist() == [[5, 5], [0, 0], [5, 5]]


def test_power_at_zero():
    """x^y at x = 0: d/dx x² = 0, d/dx x¹ = 1, d/dx x⁰ = 0, and no gradient for the exponent."""
    x = Tensor(np.zeros(3), requires_grad=True)
    y = Tensor(np.array([2.0, 1.0, 0.0]), requires_grad=True)
    F.pow(x, y).sum().backward()
    assert x.grad.tolist() == [0, 1, 0]
    assert y.grad.tolist() == [0, 0, 0]


def test_masked_places_send_no_gradient_even_if_they_hold_nan():
    x = Tensor(np.array([1.0, np.nan, 3.0]), requires_grad=True)
    y = F.masked_fill(x, np.array([False, True, False]), 0.0)
    (y * y).sum().backward()
    assert x.grad.tolist() == [2, 0, 6]


def test_mean_loss_over_ignored_targets_only_is_nan_with_zero_gradient():
    z = Tensor(np.ones((2, 3)), requires_grad=True)
    loss = F.cross_entropy(z, np.array([-100, -100]))
    assert np.isnan(loss.item())
    loss.backward()
    assert not z.grad.any()


def test_the_check_itself_can_fail():
    """A wrong derivative, a missing one, NaN, and a function that writes into its input: all are seen."""
    from minilm.tensor import record

    x = away_from_zero(np.random.default_rng(0).standard_normal((2, 3)))
    check_gradient(lambda F, t: record(t.data**2, (t,), lambda dy: (2 * t.data * dy,)), x)
    for wrong in (1.00001 * 2 * x, 0 * x, np.nan * x):
        with pytest.raises(AssertionError, match="derivative"):
            check_gradient(lambda F, t, w=wrong: record(t.data**2, (t,), lambda dy: (w * dy,)), x)
    with pytest.raises(AssertionError, match="no gradient"):
        check_gradient(lambda F, t: record(t.data**2, (t,), lambda dy: (None,)), x)

    def writes(F, t):
        t.data[0, 0] += 1
        return t * 2

    with pytest.raises(AssertionError, match="in place"):
        check_gradient(writes, x.copy())
