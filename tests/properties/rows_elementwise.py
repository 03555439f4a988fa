"""Rows of the gradient table: arithmetic, activations, reductions."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from properties.gradcheck import arrays, away_from_zero, broadcastable, dims, distinct, shapes
from properties.table import row


def positive(rng, shape):
    return rng.uniform(0.3, 2.0, shape)


def not_zero(rng, shape):
    return away_from_zero(rng.standard_normal(shape))


def pair(draw, shape):
    """Two shapes that broadcast to `shape`, one of them `shape` itself, in either order."""
    both = [shape, draw(broadcastable(shape))]
    return both if draw(st.booleans()) else both[::-1]


@row("add", "sub", "mul")
def arithmetic(draw, name):
    a, b = pair(draw, draw(shapes(empty=True)))
    return lambda F, x, y: getattr(F, name)(x, y), [draw(arrays(a)), draw(arrays(b))]


@row("div")
def division(draw, name):
    a, b = pair(draw, draw(shapes()))
    return lambda F, x, y: F.div(x, y), [draw(arrays(a)), draw(arrays(b, not_zero))]


@row("pow")
def power(draw, name):
    if draw(st.booleans()):  # a fixed exponent: any base for integers, 0 and 1 included
        exponent = draw(st.sampled_from([0, 1, 2, 3, 2.5, -1, -0.5]))
        values = not_zero if exponent in (0, 1, 2, 3, -1) else positive
        return lambda F, x: F.pow(x, exponent), [draw(arrays(shapes(), values))]
    a, b = pair(draw, draw(shapes()))
    return lambda F, x, y: F.pow(x, y), [draw(arrays(a, positive)), draw(arrays(b))]


@row("maximum", "minimum")
def larger(draw, name):
    a, b = pair(draw, draw(shapes(empty=True)))
    # x at multiples of 0.1, y half-way between: never equal
    y = arrays(b, lambda rng, shape: distinct(rng, shape) + 0.05)
    return lambda F, x, y: getattr(F, name)(x, y), [draw(arrays(a, distinct)), draw(y)]


@row("neg", "exp", "tanh", "sigmoid", "silu", "log", "sqrt", "abs", "relu")
def elementwise(draw, name):
    values = {"log": positive, "sqrt": positive, "abs": not_zero, "relu": not_zero}.get(name)
    return lambda F, x: getattr(F, name)(x), [draw(arrays(shapes(empty=True), values))]


@row("gelu", "gelu_tanh_composed")
def gelu(draw, name):
    options = {"approximate": draw(st.sampled_from(["none", "tanh"]))} if name == "gelu" else {}
    x = draw(arrays(shapes(smallest_ndim=1, empty=True), lambda rng, shape: 2 * rng.standard_normal(shape)))
    return lambda F, x: getattr(F, name)(x, **options), [x]


@row("silu_mul")
def silu_mul(draw, name):
    shape = draw(shapes(empty=True))
    return lambda F, gate, up: F.silu_mul(gate, up), [draw(arrays(shape)), draw(arrays(shape))]


def reduced_axis(draw, ndim, name):
    """The keyword arguments of a reduction, in PyTorch's or in NumPy's words."""
    dim = draw(dims(ndim))
    names = draw(st.sampled_from([("dim", "keepdim"), ("axis", "keepdims")]))
    return {names[0]: dim, names[1]: draw(st.booleans())}


@row("sum", "mean", "logsumexp", "max", "min")
def reduction(draw, name):
    shape = draw(shapes(empty=name == "sum"))
    options = reduced_axis(draw, len(shape), name)
    x = draw(arrays(shape, distinct if name in ("max", "min") else None))
    return lambda F, x: getattr(F, name)(x, **options), [x]


@row("var")
def variance(draw, name):
    shape = draw(shapes(smallest_ndim=1, largest=4))
    options = reduced_axis(draw, len(shape), name)
    dim = next(iter(options.values()))
    reduced = range(len(shape)) if dim is None else np.atleast_1d(dim)
    n = int(np.prod([shape[i] for i in reduced]))
    correction = draw(st.integers(0, min(2, n - 1)))
    return lambda F, x: F.var(x, correction=correction, **options), [draw(arrays(shape))]


@row("mse_loss")
def mse(draw, name):
    shape = draw(shapes())
    return lambda F, x, y: F.mse_loss(x, y), [draw(arrays(shape)), draw(arrays(shape))]
