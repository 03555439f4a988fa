"""Rows of the gradient table: shape, joining and cutting, indexing, selecting."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from properties.gradcheck import SEEDS, arrays, broadcastable, shapes, sizes
from properties.table import row


@row("reshape")
def reshape(draw, name):
    shape = draw(shapes())
    n = int(np.prod(shape))
    divisors = [d for d in range(1, n + 1) if n % d == 0]
    first = draw(st.sampled_from(divisors))
    new = draw(st.sampled_from([(first, n // first), (-1, first), (n,), (1, first, -1)]))
    as_tuple = draw(st.booleans())
    return lambda F, x: F.reshape(x, new) if as_tuple else F.reshape(x, *new), [draw(arrays(shape))]


@row("transpose")
def transpose(draw, name):
    shape = draw(shapes(smallest_ndim=1, empty=True))
    axis = st.integers(-len(shape), len(shape) - 1)
    a, b = draw(axis), draw(axis)
    return lambda F, x: F.transpose(x, a, b), [draw(arrays(shape))]


@row("permute")
def permute(draw, name):
    shape = draw(shapes(smallest_ndim=1, largest_ndim=4))
    order = draw(st.permutations(range(len(shape))))
    order = [d - len(shape) if draw(st.booleans()) else d for d in order]
    return lambda F, x: F.permute(x, *order), [draw(arrays(shape))]


@row("squeeze")
def squeeze(draw, name):
    shape = draw(shapes(smallest_ndim=1))
    dim = draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    return lambda F, x: F.squeeze(x, dim) * 2, [draw(arrays(shape))]


@row("unsqueeze")
def unsqueeze(draw, name):
    shape = draw(shapes())
    dim = draw(st.integers(-len(shape) - 1, len(shape)))
    return lambda F, x: F.unsqueeze(x, dim), [draw(arrays(shape))]


@row("flatten")
def flatten(draw, name):
    shape = draw(shapes(smallest_ndim=1))
    start = draw(st.integers(0, len(shape) - 1))
    end = draw(st.integers(start, len(shape) - 1))
    return lambda F, x: F.flatten(x, start, end), [draw(arrays(shape))]


@row("broadcast_to")
def broadcast_to(draw, name):
    shape = draw(shapes())
    return lambda F, x: F.broadcast_to(x, shape), [draw(arrays(draw(broadcastable(shape))))]


@row("concatenate", "cat")
def concatenate(draw, name):
    shape = draw(shapes(smallest_ndim=1))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    parts = []
    for length in draw(st.lists(st.integers(0, 3), min_size=1, max_size=3)):
        part = list(shape)
        part[dim] = length
        parts.append(draw(arrays(tuple(part))))
    return lambda F, *xs: getattr(F, name)(xs, dim), parts


@row("stack")
def stack(draw, name):
    shape = draw(shapes())
    dim = draw(st.integers(-len(shape) - 1, len(shape)))
    return lambda F, *xs: F.stack(xs, dim), [draw(arrays(shape)) for _ in range(draw(st.integers(1, 3)))]


@row("split")
def split(draw, name):
    shape = draw(shapes(smallest_ndim=1))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    if draw(st.booleans()):
        size = draw(st.integers(1, 3))
        return lambda F, x: F.split(x, size, dim=dim), [draw(arrays(shape))]
    sections = [*draw(st.lists(st.integers(0, 2), min_size=1, max_size=3))]
    longer = list(shape)
    longer[dim] = sum(sections)
    return lambda F, x: F.split(x, sections, dim), [draw(arrays(tuple(longer)))]


@row("getitem")
def getitem(draw, name):
    shape = draw(shapes(smallest_ndim=1))
    kind = draw(st.sampled_from(["basic", "integers", "mixed", "mask", "rows mask"]))
    if kind == "basic":
        index = draw(hnp.basic_indices(shape, max_dims=5, allow_newaxis=True))
    elif kind == "integers":  # arrays that broadcast against each other; repeats are likely
        wanted = draw(shapes(largest_ndim=2, largest=5))
        axes = draw(st.integers(1, len(shape)))
        index = tuple(draw(hnp.arrays(np.int64, wanted, elements=st.integers(-n, n - 1))) for n in shape[:axes])
    elif kind == "mixed":  # a slice in front, a list behind it
        rows = draw(st.lists(st.integers(0, shape[-1] - 1), min_size=1, max_size=5))
        index = (..., rows)
    else:
        masked = shape if kind == "mask" else shape[:1]
        index = draw(hnp.arrays(np.bool_, masked))
    method = draw(st.booleans())
    return lambda F, x: x[index] if method else F.getitem(x, index), [draw(arrays(shape))]


@row("gather")
def gather(draw, name):
    shape = draw(shapes(smallest_ndim=1))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    wanted = [draw(st.integers(1, n)) for n in shape]  # the other axes may be shorter
    wanted[dim] = draw(st.integers(1, 5))
    index = draw(hnp.arrays(np.int64, tuple(wanted), elements=st.integers(0, shape[dim] - 1)))
    return lambda F, x: F.gather(x, dim, index), [draw(arrays(shape))]


@row("where")
def where(draw, name):
    shape = draw(shapes(empty=True))
    condition = np.random.default_rng(draw(SEEDS)).random(draw(broadcastable(shape))) < 0.5
    operands = [draw(arrays(draw(broadcastable(shape)))) for _ in range(2)]
    return lambda F, x, y: F.where(condition, x, y), operands


@row("masked_fill")
def masked_fill(draw, name):
    shape = draw(shapes(empty=True))
    mask = np.random.default_rng(draw(SEEDS)).random(draw(broadcastable(shape))) < 0.5
    value = draw(st.floats(-3, 3))
    x = draw(arrays(shape if draw(st.booleans()) else draw(broadcastable(shape))))
    return lambda F, x: F.masked_fill(x, mask, value), [x]


@row("matmul")
def matmul(draw, name):
    n, k, m = draw(sizes()), draw(sizes()), draw(sizes())
    batch = draw(shapes(largest_ndim=2, largest=3))
    a, b = (*draw(broadcastable(batch)), n, k), (*draw(broadcastable(batch)), k, m)
    kind = draw(st.sampled_from(["matrices", "matrices", "vector left", "vector right", "vectors"]))
    a = a if kind in ("matrices", "vector right") else (k,)
    b = b if kind in ("matrices", "vector left") else (k,)
    method = draw(st.booleans())
    return lambda F, x, y: x @ y if method else F.matmul(x, y), [draw(arrays(a)), draw(arrays(b))]
