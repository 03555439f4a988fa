"""The row-wise and elementwise kernels in Numba: against float64, at their edges, and bit for bit over threads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is not installed")

from numba import njit

import minilm_kernels
from minilm_kernels import cpu, reference
from minilm_kernels.cpu import functions, pool
from minilm_kernels.cpu.vector import lanes, load_first, pointer, store_first
from minilm_kernels.formulas.activations import FUNCTIONS

DTYPES = [np.float32, np.float64]
WIDTHS = [1, 3, 16, 33, 65, 128, 300]


@pytest.fixture(autouse=True)
def threads():
    """Sets the number of threads (2 at first); puts the old number back."""
    before = pool.get_num_threads()
    pool.set_num_threads(2)
    yield pool.set_num_threads
    pool.set_num_threads(before)


def drawn(generator, dtype, *shape):
    return generator.standard_normal(shape).astype(dtype)


def wide(a):
    return a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a


def forward_and_backward(kernels, name, inputs, cotangent, **options):
    """The result and all cotangents of a kernel as one flat list."""
    result, residuals = getattr(kernels, name)(*inputs, **options)
    gradients = getattr(kernels, f"{name}_backward")(cotangent, residuals)
    return [result, *(gradients if isinstance(gradients, tuple) else (gradients,))]


def assert_as_good_as_the_formula(ours, plain, exact):
    """No error above twice that of the plain formula, with room for a few roundings of the largest number.

    Where `exact` has no higher precision it is no judge of last digits, and the room is 1e-12.
    """
    for a, b, c in zip(ours, plain, exact, strict=True):
        if c is None:
            assert a is None
            continue
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        room = (4 * np.finfo(a.dtype).eps if a.dtype != c.dtype else 1e-12) * np.abs(c).max(initial=1)
        assert np.abs(a - c).max(initial=0) <= 2 * np.abs(b - c).max(initial=0) + room


CASES: dict[str, list[tuple]] = {
    "layer_norm": [("x", "w", "w"), ("x", "w", None), ("x", None, "w"), ("x", None, None)],
    "rms_norm": [("x", "w"), ("x", None)],
    "gelu": [("x",)],
    "silu_mul": [("x", "x")],
    "bias_residual_dropout": [("x", "w", "x"), ("x", "w", None), ("x", None, "x"), ("x", None, None)],
}
OPTIONS: dict[str, list[dict]] = {
    "gelu": [{}, {"approximate": "tanh"}],
    "bias_residual_dropout": [{}, {"dropout": 0.3, "seed": 11}],
}


def calls():
    return [(name, given, options) for name in CASES for given in CASES[name] for options in OPTIONS.get(name, [{}])]


def some_inputs(generator, dtype, given, shape):
    shapes = {"x": shape, "w": shape[-1:]}
    return [None if kind is None else drawn(generator, dtype, *shapes[kind]) for kind in given]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "given", "options"), calls())
def test_against_float64(generator, dtype, name, given, options):
    for n in WIDTHS:
        inputs = some_inputs(generator, dtype, given, (2, 19, n))
        dy = drawn(generator, dtype, 2, 19, n)
        plain = forward_and_backward(reference, name, inputs, dy, **options)
        exact = forward_and_backward(reference, name, [wide(a) for a in inputs], wide(dy), **options)
        if dtype == np.float64:
            exact = plain
        assert_as_good_as_the_formula(forward_and_backward(cpu, name, inputs, dy, **options), plain, exact)


@pytest.mark.filterwarnings(
    "ignore:Mean of empty slice", "ignore:invalid value"
)  # of the reference, at rows of no columns
@pytest.mark.parametrize(("name", "given", "options"), calls())
def test_strides_empty_arrays_and_read_only_inputs(generator, name, given, options):
    for shape in ((0, 5), (4, 0), (3, 0, 7), (5,), (2, 1, 3, 7)):
        inputs = some_inputs(generator, np.float64, given, shape)
        dy = drawn(generator, np.float64, *shape)
        expected = forward_and_backward(reference, name, inputs, dy, **options)
        for a in [*inputs, dy]:
            if a is not None:
                a.flags.writeable = False
        assert_as_good_as_the_formula(forward_and_backward(cpu, name, inputs, dy, **options), expected, expected)
        reversed_twice = [None if a is None else np.ascontiguousarray(a[..., ::-1])[..., ::-1] for a in inputs]
        swapped = np.asfortranarray(dy)
        again = forward_and_backward(cpu, name, reversed_twice, swapped, **options)
        assert_as_good_as_the_formula(again, expected, expected)


@pytest.mark.parametrize(("name", "given", "options"), calls())
def test_the_same_bits_for_any_number_of_threads(generator, threads, name, given, options):
    inputs = some_inputs(generator, np.float32, given, (611, 97))
    dy = drawn(generator, np.float32, 611, 97)
    results = []
    for n in (1, 2, 5):
        threads(n)
        results.append(forward_and_backward(cpu, name, inputs, dy, **options))
    for other in results[1:]:
        for a, b in zip(results[0], other):
            assert a is b is None or a.tobytes() == b.tobytes()


# --- functions --------------------------------------------------------------------------------------------------------


def applied(function, x):
    """A function of vectors on an array."""

    @njit
    def run(x, y):
        for i in range(0, x.shape[0], lanes(pointer(x))):
            rest = x.shape[0] - i
            store_first(pointer(y) + i, function(load_first(pointer(x) + i, rest)), rest)

    y = np.empty_like(x)
    run(x, y)
    return y


ACTIVATIONS = ["gelu_erf", "gelu_tanh", "silu", "relu"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_at_the_ends_of_the_line(dtype, name):
    x = np.array([np.inf, 1e30, 50, 1e-40, 0, -1e-40, -50, -1e30, -np.inf, np.nan], dtype)
    y, slope = applied(getattr(functions, name), x), applied(getattr(functions, f"{name}_slope"), x)
    # −50 Φ(−50) is 0 in both precisions, −50 σ(−50) is not
    np.testing.assert_allclose(y[:3], x[:3])
    np.testing.assert_allclose(y[6:9], 0, atol=1e-19)
    np.testing.assert_allclose(slope[:3], 1)
    np.testing.assert_allclose(slope[6:9], 0, atol=1e-19)
    assert np.isnan(y[9])
    assert np.isnan(slope[9])
    if name != "relu":
        np.testing.assert_allclose(y[3:6], x[3:6] / 2, atol=2e-45)
        np.testing.assert_allclose(slope[3:6], 0.5, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_and_sigmoid_to_two_units_in_the_last_place(dtype):
    x = np.linspace(-80, 80, 4001).astype(dtype)
    exact = np.exp(x.astype(np.longdouble))
    np.testing.assert_allclose(applied(functions.exp, x), exact, rtol=2 * np.finfo(dtype).eps)
    np.testing.assert_allclose(applied(functions.sigmoid, x), exact / (1 + exact), rtol=2 * np.finfo(dtype).eps)
    x = np.array([np.inf, 1000, -np.inf, -1000, np.nan], dtype)
    np.testing.assert_array_equal(applied(functions.exp, x), [np.inf, np.inf, 0, 0, np.nan])


@pytest.mark.parametrize("dtype", DTYPES)
def test_gelu_keeps_its_digits_far_out(dtype):
    """1 + erf(x/√2) would be 0 from x = −6 on; the error is that of x² alone."""
    x = np.linspace(-12, 0, 3001).astype(dtype)
    exact = [a * 0.5 * math.erfc(-a / math.sqrt(2)) for a in x.astype(np.float64)]
    np.testing.assert_allclose(applied(functions.gelu_erf, x), exact, rtol=200 * np.finfo(dtype).eps)


def test_the_activations_are_those_of_the_reference(generator):
    x = 3 * drawn(generator, np.float64, 1000)
    for ours, theirs in zip(ACTIVATIONS, ["gelu", "gelu_tanh", "silu", "relu"]):
        value, slope = FUNCTIONS[theirs]
        np.testing.assert_allclose(applied(getattr(functions, ours), x), value(x), rtol=0, atol=1e-14)
        np.testing.assert_allclose(applied(getattr(functions, f"{ours}_slope"), x), slope(x), rtol=0, atol=1e-14)


# --- norms ------------------------------------------------------------------------------------------------------------


def test_norms_far_from_zero_and_with_numbers_that_are_none(generator):
    x = drawn(generator, np.float32, 4, 70)
    x[0] += 1e4  # a variance from sums of squares would be lost
    x[1, 5] = np.nan
    x[2] = 3
    y = cpu.layer_norm(x)[0]
    exact = reference.layer_norm(x.astype(np.float64))[0]
    plain = reference.layer_norm(x)[0]
    assert np.abs(y[0] - exact[0]).max() <= 2 * np.abs(plain[0] - exact[0]).max() + 1e4 * np.finfo(np.float32).eps
    assert np.isnan(y[1]).all()
    assert not y[2].any()
    np.testing.assert_allclose(y[3], exact[3], atol=1e-6)


# --- cross-entropy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("C", [1, 7, 65, 5003])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_against_float64(generator, dtype, C, reduction):
    for scale, smoothing in ((1, 0.0), (1, 0.1), (1e4, 0.0)):
        z, y = (drawn(generator, dtype, 37, C) * scale).astype(dtype), generator.integers(0, C, 37)
        y[[0, 5]] = -3
        options = {"ignore_index": -3, "label_smoothing": smoothing, "reduction": reduction}
        dl = drawn(generator, dtype, 37) if reduction == "none" else np.asarray(generator.normal(), dtype)
        plain = forward_and_backward(reference, "softmax_cross_entropy", [z, y], dl, **options)
        exact = forward_and_backward(reference, "softmax_cross_entropy", [wide(z), y], wide(dl), **options)
        ours = forward_and_backward(cpu, "softmax_cross_entropy", [z, y], dl, **options)
        assert_as_good_as_the_formula(ours, plain, exact if dtype == np.float32 else plain)
        alone, nothing = cpu.softmax_cross_entropy(z, y, gradient=False, **options)
        assert nothing is None
        assert alone.tobytes() == ours[0].tobytes()


def test_cross_entropy_shows_what_is_wrong_and_minds_what_is_ignored(generator):
    z, y = drawn(generator, np.float32, 4, 50), np.array([1, 2, 3, 4])
    for place in range(50):
        bad = z.copy()
        bad[2, place] = np.nan
        losses, residuals = cpu.softmax_cross_entropy(bad, y, reduction="none")
        assert np.isnan(losses).tolist() == [False, False, True, False]
        assert np.isnan(residuals.grad_logits[2]).all()
    bad[2] = np.inf
    y[2] = -100
    loss, residuals = cpu.softmax_cross_entropy(bad, y)
    assert np.isfinite(loss)
    assert not residuals.grad_logits[2].any()
    assert np.isnan(cpu.softmax_cross_entropy(z, np.full(4, -100))[0])
    assert np.isnan(cpu.softmax_cross_entropy(z[:0], y[:0])[0])
    hidden = np.where(np.arange(50) < 10, z, -np.inf).astype(np.float32)
    np.testing.assert_allclose(
        cpu.softmax_cross_entropy(hidden, np.arange(4))[0],
        cpu.softmax_cross_entropy(z[:, :10], np.arange(4))[0],
        rtol=1e-6,
    )


def test_cross_entropy_backward_of_one_is_what_forward_found(generator, threads):
    z, y = drawn(generator, np.float32, 300, 65), generator.integers(0, 65, 300)
    found = []
    for n in (1, 2, 5):
        threads(n)
        loss, residuals = cpu.softmax_cross_entropy(z, y)
        assert cpu.softmax_cross_entropy_backward(np.ones((), np.float32), residuals) is residuals.grad_logits
        found.append((loss.tobytes(), residuals.grad_logits.tobytes()))
    assert len(set(found)) == 1


# --- rotary -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("D", [2, 6, 32, 64, 80])
def test_rotary(generator, dtype, D):
    for shape in ((5, D), (3, 5, D), (2, 3, 5, D), (2, 1, 3, 5, D), (2, 0, 5, D), (300, D)):
        x = drawn(generator, dtype, *shape)
        cos, sin = drawn(generator, dtype, shape[-2], D // 2), drawn(generator, dtype, shape[-2], D // 2)
        for view in (x, np.asfortranarray(x), x[::-1], np.ascontiguousarray(x.swapaxes(0, -2)).swapaxes(0, -2)):
            for name in ("rotary", "rotary_backward"):
                exact = getattr(reference, name)(view, cos, sin)
                result = getattr(cpu, name)(view, cos, sin)
                assert (result.shape, result.dtype) == (x.shape, dtype)
                np.testing.assert_allclose(result, exact, rtol=0, atol=16 * np.finfo(dtype).eps)


# --- in place ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 33, 300])
def test_embedding_adds_in_order_and_touches_no_other_row(generator, threads, dtype, n):
    ids = generator.integers(0, 3, (4, 50))
    dy = drawn(generator, dtype, 4, 50, n)
    start = drawn(generator, dtype, 9, n)
    expected = start.copy()
    for row, gradient in zip(ids.reshape(-1), dy.reshape(-1, n)):
        expected[row] += gradient
    for count in (1, 2, 5):
        threads(count)
        out = start.copy()
        cpu.embedding_backward(dy, ids.astype(np.int32), out)
        assert out.tobytes() == expected.tobytes()
        columns = start.copy(order="F")
        cpu.embedding_backward(dy, ids, columns)
        assert np.array_equal(columns, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 33, 40_001])
def test_adamw(generator, dtype, n):
    options: dict[str, Any] = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}
    ours = [drawn(generator, dtype, n) for _ in range(4)]
    ours[3] **= 2
    theirs, exact = [a.copy() for a in ours], [wide(a) for a in ours]
    gradient = ours[1].copy()
    for step in (1, 2, 3):
        cpu.adamw_step(*ours, **options, step=step)
        reference.adamw_step(*theirs, **options, step=step)
        reference.adamw_step(*exact, **options, step=step)
    assert np.array_equal(ours[1], gradient)
    assert_as_good_as_the_formula(ours, theirs, exact)
    strided = np.zeros(2 * n, dtype)[::2]
    cpu.adamw_step(strided, *ours[1:], **options, step=1)
    assert strided.any() == (n > 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_clip_by_norm(generator, threads, dtype):
    start = [drawn(generator, dtype, *shape) for shape in ((40_001,), (0,), (3, 33), ())]
    norm = math.sqrt(sum(float((wide(g) ** 2).sum()) for g in start))
    found = []
    for count in (1, 2, 5):
        threads(count)
        gradients = [g.copy() for g in start]
        assert cpu.clip_by_norm(gradients, None) == pytest.approx(norm, rel=1e-12)
        cpu.clip_by_norm(gradients, 2 * norm)
        assert all(np.array_equal(a, b) for a, b in zip(gradients, start))
        found.append(cpu.clip_by_norm(gradients, 0.5))
        for a, b in zip(gradients, start):
            np.testing.assert_allclose(a, b * (0.5 / norm), rtol=1e-6)
    assert len(set(found)) == 1
    assert cpu.clip_by_norm([np.full(100, 1e30, np.float32)], None) == pytest.approx(1e31, rel=1e-6)
    assert math.isnan(cpu.clip_by_norm([np.array([1, np.nan], dtype)], 1.0))


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_at_infinity(backend, dtype):
    x = np.array([-np.inf, np.inf, -60, 60], dtype)
    with minilm_kernels.use_kernels(backend), np.errstate(all="ignore"):
        calls = [minilm_kernels.gelu(x), minilm_kernels.gelu(x, approximate="tanh")]
        slopes = [minilm_kernels.gelu_backward(np.ones_like(x), residuals) for _, residuals in calls]
        calls.append(minilm_kernels.silu_mul(x, np.ones_like(x)))
        slopes.append(minilm_kernels.silu_mul_backward(np.ones_like(x), calls[-1][1])[0])
    for (y, _), slope in zip(calls, slopes):
        np.testing.assert_allclose(y, [0, np.inf, 0, 60], rtol=0, atol=1e-20)
        np.testing.assert_allclose(slope, [0, 1, 0, 1], rtol=0, atol=1e-20)


def test_gelu_makes_no_subnormal_numbers():
    """They would take a hundred times as long."""
    x = np.linspace(-40, 40, 20_001)
    for dtype in (np.float32, np.float64):
        with minilm_kernels.use_kernels("numba"):
            y, residuals = minilm_kernels.gelu(x.astype(dtype))
            slope = minilm_kernels.gelu_backward(np.ones_like(y), residuals)
        for values in (y, slope):
            assert not ((values != 0) & (np.abs(values) < np.finfo(dtype).tiny)).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_results_written_past_the_caches_are_the_same(generator, dtype):
    from minilm_kernels.cpu.activations import LARGE

    x = generator.standard_normal(LARGE + 37).astype(dtype)
    with minilm_kernels.use_kernels("numba"):
        y, residuals = minilm_kernels.gelu(x)
        slope = minilm_kernels.gelu_backward(x, residuals)
        for part in (slice(0, 70_000), slice(LARGE - 70_000, None)):
            small, kept = minilm_kernels.gelu(x[part])
            assert np.array_equal(y[part], small)
            assert np.array_equal(slope[part], minilm_kernels.gelu_backward(x[part], kept))
