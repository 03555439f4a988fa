"""What must hold for the values of the other functions: identities that need no second implementation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from properties.attention_laws import close
from properties.gradcheck import SEEDS, arrays, dims, expect, gradients, shapes, sizes
from properties.table import ROWS

FUNCTION_LAWS: dict[str, Callable[..., None]] = {}


def law(function: Callable[..., None]) -> Callable[..., None]:
    FUNCTION_LAWS[function.__name__] = function
    return function


def vectors(draw: Any, smallest: int = 1) -> tuple[np.ndarray, int]:
    """An array with at least one axis, in any layout, and one of its axes."""
    shape = draw(shapes(smallest_ndim=1, largest=5))
    x = draw(arrays(shape)) * draw(st.sampled_from([1.0, 1.0, 300.0]))
    return x, draw(st.integers(-len(shape), len(shape) - 1))


@law
def softmax_is_a_distribution(F, Tensor, draw):
    x, dim = vectors(draw)
    y = F.softmax(x, dim).data
    expect((y >= 0).all(), "a negative probability")
    close(y.sum(dim), np.ones_like(y.sum(dim)), "softmax does not sum to one", 1e-12)
    close(F.softmax(x + 1000, dim), y, "a shift changed softmax", 1e-9)
    expect(np.array_equal(y.argmax(dim), x.argmax(dim)), "the largest logit has not the largest probability")


@law
def log_softmax_is_the_logarithm_of_softmax(F, Tensor, draw):
    x, dim = vectors(draw)
    y = F.log_softmax(x, dim).data
    expect(np.isfinite(y).all(), "log_softmax of finite numbers is not finite")
    close(np.exp(y), F.softmax(x, dim), "exp(log_softmax) is not softmax")
    close(y, x - F.logsumexp(x, dim, keepdim=True).data, "log_softmax is not x − logsumexp")


@law
def logsumexp_lies_above_the_maximum(F, Tensor, draw):
    """max ≤ logsumexp ≤ max + log n; it moves with a shift; −∞ adds nothing."""
    shape = draw(shapes(smallest_ndim=1))
    x, dim = draw(arrays(shape)) * 500, draw(dims(len(shape)))
    y, m = F.logsumexp(x, dim).data, F.max(x, dim).data
    expect((y >= m - 1e-9).all() and (y <= m + np.log(x.size) + 1e-9).all(), "outside max … max + log n")
    close(F.logsumexp(x + 7, dim), y + 7, "not shifted by the shift")
    more = np.concatenate([x, np.full((1, *x.shape[1:]), -np.inf)])
    close(F.logsumexp(more, 0), F.logsumexp(x, 0), "−∞ added something")


@law
def cross_entropy_is_a_mean_of_log_softmax(F, Tensor, draw):
    """Over the targets that count; indices, one-hot rows and smoothed rows say the same."""
    n, C = draw(sizes(2, 6)), draw(sizes(1, 5))
    rng = np.random.default_rng(draw(SEEDS))
    z, y = rng.standard_normal((n, C)) * 5, rng.integers(0, C, n)
    counted = rng.random(n) < 0.7
    counted[0] = True
    log_p = F.log_softmax(z).data
    want = -log_p[np.arange(n), y]
    eps = draw(st.sampled_from([0.0, 0.2]))
    want = (1 - eps) * want - eps * log_p.mean(-1)
    options = {"label_smoothing": eps}
    targets = np.where(counted, y, -100)
    close(F.cross_entropy(z, targets, **options), want[counted].mean(), "the mean is not over the targets that count")
    close(F.cross_entropy(z, targets, reduction="sum", **options), want[counted].sum(), "sum")
    close(F.cross_entropy(z, targets, reduction="none", **options), want * counted, "none")
    close(F.cross_entropy(z, np.eye(C)[y], reduction="none", **options), want, "one-hot targets")
    close(F.cross_entropy(z, 2 * np.eye(C)[y], reduction="none", **options), 2 * want, "targets that sum to 2")
    close(F.cross_entropy(z, (1 - eps) * np.eye(C)[y] + eps / C), want.mean(), "smoothed targets by hand")


@law
def dropout_is_scaled(F, Tensor, draw):
    """Each element is 0 or x/(1 − p); about p of them are 0; outside training nothing happens."""
    p, seed = draw(st.sampled_from([0.1, 0.5, 0.8])), draw(SEEDS)
    x = np.random.default_rng(seed).standard_normal((50, 40)) + 10
    y = F.dropout(x, p, generator=np.random.default_rng(seed)).data
    close(y[y != 0], x[y != 0] / (1 - p), "a kept element is not x/(1 − p)")
    expect(abs((y == 0).mean() - p) < 5 * np.sqrt(p * (1 - p) / x.size), "another fraction than p is dropped")
    expect(np.array_equal(y, F.dropout(x, p, generator=np.random.default_rng(seed)).data), "the same seed drops others")
    expect(np.array_equal(F.dropout(x, p, training=False).data, x), "dropout outside training")
    expect(not F.dropout(x, 1.0).data.any(), "dropout with p = 1 keeps something")


@law
def bias_residual_dropout_is_dropout_between_two_sums(F, Tensor, draw):
    """residual + mask ⊙ (x + bias), with a mask of 0 and 1/(1 − p) that the generator alone decides."""
    p, seed = draw(st.sampled_from([0.1, 0.5, 0.8])), draw(SEEDS)
    rng = np.random.default_rng(seed)
    x, residual, bias = rng.standard_normal((50, 40)) + 10, rng.standard_normal((50, 40)), rng.standard_normal(40)

    def masked(x, *rest, **options):
        return F.bias_residual_dropout(x, *rest, p, generator=np.random.default_rng(seed), **options).data

    mask = masked(np.ones_like(x), None, None)
    expect(set(np.unique(mask).round(9)) <= {0, round(1 / (1 - p), 9)}, "the mask is not 0 and 1/(1 − p)")
    expect(abs((mask == 0).mean() - p) < 5 * np.sqrt(p * (1 - p) / x.size), "another fraction than p is dropped")
    close(masked(x, Tensor(bias), residual), residual + mask * (x + bias), "not residual + mask ⊙ (x + bias)")
    close(masked(x, Tensor(bias), residual, training=False), residual + (x + bias), "dropout outside training")
    other = F.bias_residual_dropout(x, None, None, p, generator=np.random.default_rng(seed + 1)).data
    expect(not np.array_equal(other == 0, mask == 0), "another seed drops the same")


# by row of the gradient table: a namespace in which the row's function is its twin
TWINS: dict[str, Callable[[Any], SimpleNamespace]] = {
    "linear": lambda F: SimpleNamespace(linear=F.linear_composed),
    "feed_forward": lambda F: SimpleNamespace(feed_forward=F.feed_forward_composed),
    "layer_norm": lambda F: SimpleNamespace(layer_norm=F.layer_norm_composed),
    "rms_norm": lambda F: SimpleNamespace(rms_norm=F.rms_norm_composed),
    "gelu_tanh_composed": lambda F: SimpleNamespace(gelu_tanh_composed=lambda x: F.gelu(x, approximate="tanh")),
    "silu_mul": lambda F: SimpleNamespace(silu_mul=lambda gate, up: F.mul(F.silu(gate), up)),
}


def twins_agree(name: str, F: Any, Tensor: Any, draw: Any) -> None:
    """The fused function and the formula as it reads: equal values, and equal gradients of every operand."""
    (function, inputs), seed = draw(ROWS[name]), draw(SEEDS)
    twin = TWINS[name](F)
    close(function(F, *map(Tensor, inputs)), function(twin, *map(Tensor, inputs)), f"{name}: values differ")
    pair = (gradients(function, inputs, seed, SimpleNamespace(F=one, Tensor=Tensor))[1] for one in (F, twin))
    for i, (a, b) in enumerate(zip(*pair, strict=True)):
        close(a, b, f"{name}: gradients of operand {i} differ")


for _name in TWINS:
    FUNCTION_LAWS[f"{_name.removesuffix('_composed')}_equals_composed"] = partial(twins_agree, _name)


@law
def layer_norm_has_mean_zero_and_variance_one(F, Tensor, draw):
    n = draw(sizes(3, 6))
    x = np.random.default_rng(draw(SEEDS)).standard_normal((*draw(shapes(largest_ndim=2)), n))
    y = F.layer_norm(x, eps=0).data
    close(y.mean(-1), np.zeros(y.shape[:-1]), "mean")
    close(y.var(-1), np.ones(y.shape[:-1]), "variance")
    close(F.layer_norm(5 * x + 3, eps=0), y, "scale and shift are not forgotten", 1e-8)
    close((F.rms_norm(x, eps=0).data ** 2).mean(-1), np.ones(y.shape[:-1]), "rms_norm: mean square")
    g, b = Tensor(np.arange(1.0, n + 1)), Tensor(np.arange(n) - 2.0)
    close(F.layer_norm(x, g, b, eps=0), y * g.data + b.data, "weight and bias")


@law
def embedding_is_a_product_with_one_hot_rows(F, Tensor, draw):
    rows, n = draw(sizes(1, 6)), draw(sizes())
    rng = np.random.default_rng(draw(SEEDS))
    ids, W = rng.integers(0, rows, draw(shapes(empty=True))), rng.standard_normal((rows, n))
    close(F.embedding(ids, Tensor(W)), np.eye(rows)[ids] @ W, "embedding is not one-hot @ W")


@law
def rotary_keeps_lengths_and_relative_positions(F, Tensor, draw):
    """A rotation keeps the length; the product of two rotated vectors depends on the distance of their positions only."""
    half, shift = draw(sizes(1, 4)), draw(st.integers(0, 50))
    q, k = np.random.default_rng(draw(SEEDS)).standard_normal((2, 6, 2 * half))

    def turned(start):
        cos, sin = F.rotary_angles(np.arange(start, start + 6), 2 * half, dtype=np.float64)
        return F.rotary(q, cos, sin).data, F.rotary(k, cos, sin).data

    (q0, k0), (q1, k1) = turned(0), turned(shift)
    close(np.linalg.norm(q1, axis=-1), np.linalg.norm(q, axis=-1), "the length changed")
    close(q1 @ k1.T, q0 @ k0.T, "the products depend on the absolute position", 1e-8)
    close(q0[0], q[0], "position 0 turned")


@law
def nan_stays_visible_in_functions(F, Tensor, draw):
    """A NaN that enters comes out: hiding it would let a broken run look healthy."""
    x = np.random.default_rng(draw(SEEDS)).standard_normal((2, 4))
    x[0, draw(st.integers(0, 3))] = np.nan
    with np.errstate(invalid="ignore"):
        for name in (
            "softmax",
            "log_softmax",
            "logsumexp",
            "max",
            "min",
            "sum",
            "mean",
            "var",
            "layer_norm",
            "rms_norm",
        ):
            y = getattr(F, name)(x) if name.endswith("norm") else getattr(F, name)(x, dim=-1)
            expect(np.isnan(y.data[0]).all() and np.isfinite(y.data[1]).all(), f"{name} hides or spreads a NaN")
        for name in ("relu", "gelu", "silu", "tanh", "sigmoid", "abs", "exp", "bias_residual_dropout"):
            expect(np.array_equal(np.isnan(getattr(F, name)(x).data), np.isnan(x)), f"{name} hides or spreads a NaN")
        ones = np.ones_like(x)
        for y in (F.silu_mul(x, ones), F.silu_mul(ones, x), F.bias_residual_dropout(ones, None, x, p=0.0)):
            expect(np.array_equal(np.isnan(y.data), np.isnan(x)), "silu_mul or a residual hides or spreads a NaN")
        for activation in (None, "gelu", "gelu_tanh", "relu", "silu"):
            y = F.linear(x, Tensor(np.ones((3, 4))), activation=activation).data
            expect(np.isnan(y[0]).all() and np.isfinite(y[1]).all(), f"linear with {activation} hides or spreads a NaN")
        y = F.gelu(x.astype(np.float32)).data
        expect(np.array_equal(np.isnan(y), np.isnan(x)), "gelu in float32 hides or spreads a NaN")
        expect(np.isnan(F.cross_entropy(x, np.array([1, 2])).item()), "cross_entropy hides a NaN")


@law
def paths_that_meet_add_up(F, Tensor, draw):
    """y reaches the result directly, twice, together with z, and through a slice, in any order.

    Its cotangents add, and no array is written to that another node or the caller still needs.
    """
    rng = np.random.default_rng(draw(SEEDS))
    x, z = (Tensor(rng.standard_normal(4), requires_grad=True) for _ in range(2))
    c, w = rng.standard_normal((2, 4))
    kept = c.copy()
    y, v = F.mul(x, w), F.mul(z, w)
    terms = [
        lambda: F.add(y, y),
        lambda: F.add(y, v),
        lambda: F.add(v, y),
        lambda: F.concatenate([F.getitem(y, slice(2, None)), np.zeros(2)]),
    ]
    total = y
    for i in draw(st.permutations(range(4))):
        total = F.add(total, terms[i]())
    total.backward(c)
    expect(np.array_equal(c, kept), "backward() wrote into the cotangent it was given")
    close(x.grad, w * (5 * c + np.concatenate([[0, 0], c[:2]])), "the paths do not add up")
    close(z.grad, w * 2 * c, "what arrived at y was added to another node's cotangent")


@law
def a_residual_around_a_norm_adds_up(F, Tensor, draw):
    """y reaches the result through a norm, past it, and perhaps through another norm; in either order of the walk."""
    rng = np.random.default_rng(draw(SEEDS))
    norm = draw(st.sampled_from([F.layer_norm, F.rms_norm]))
    g, c, w = rng.standard_normal((3, 4))
    values = rng.standard_normal((3, 4))

    def gradients(*paths):
        x = Tensor(values, requires_grad=True)
        gain = Tensor(g, requires_grad=True)
        y = F.mul(x, w)
        terms = {"norm": lambda: norm(y, gain), "past": lambda: F.mul(y, 3.0), "alone": lambda: norm(y)}
        total = terms[paths[0]]()
        for path in paths[1:]:
            total = F.add(total, terms[path]())
        cotangent = np.broadcast_to(c, (3, 4)).copy()
        total.backward(cotangent)
        expect(
            np.array_equal(cotangent, np.broadcast_to(c, (3, 4))), "backward() wrote into the cotangent it was given"
        )
        return x.grad, gain.grad

    paths = draw(st.permutations(["norm", "past", "alone"]))[: draw(st.integers(2, 3))]
    dx, dg = gradients(*paths)
    close(dx, sum(gradients(path)[0] for path in paths), "the paths do not add up")
    if "norm" in paths:
        close(dg, gradients("norm")[1], "the gain's gradient is another one")


@law
def gradients_add_up_in_the_optimizers_array(F, Tensor, draw):
    """A weight's gradient goes straight into the array that an optimizer gave it, however often the weight is used."""
    n = draw(sizes(2, 4))
    rng = np.random.default_rng(draw(SEEDS))
    x, y, z = rng.standard_normal((3, 5, n))
    W = Tensor(rng.standard_normal((n, n)), requires_grad=True)
    place = W.grad_buffer = np.full((n, n), np.nan)  # what an earlier step left behind must not count
    by_hand = rng.standard_normal((n, n))

    def loss(a, b):
        return F.sum(F.add(F.linear(a, W), F.mul(F.linear(b, W), 2.0)))

    def want(a, b):  # d/dW Σ a Wᵀ: each row is the sum of the rows of a
        return np.broadcast_to(a.sum(0) + 2 * b.sum(0), (n, n))

    loss(x, y).backward()
    expect(W.grad is place, "the gradient is not in its place")
    close(W.grad, want(x, y), "two uses of a weight do not add up")
    loss(z, x).backward()
    expect(W.grad is place, "the second gradient is not in its place")
    close(W.grad, want(x, y) + want(z, x), "the second backward() is not added")
    W.zero_grad()
    loss(y, z).backward()
    close(W.grad, want(y, z), "after zero_grad() something old is left")
    W.grad = by_hand.copy()
    loss(x, z).backward()
    close(W.grad, by_hand + want(x, z), "a gradient set by hand is not added to")
