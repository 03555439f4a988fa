"""Products on the matrix unit (cpu/matrix_unit.py): the same laws for compiled kernels and for those without a compiler."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from hypothesis import strategies as st
from properties.kernel_cases import Shapes, feed_forward_of, layout, run
from properties.kernel_laws import ORACLE, compare

ODD = [0.0, 1e-38, 1e-30, 3e33, np.inf, np.nan]


@contextmanager
def small_products_too(package: Any, *, piece: int = 384, chunks: bool = False) -> Iterator[Any]:
    """Every product on the unit, in pieces of so many k's and of few panels: gemm_product of this package.

    chunks: products that can be are cut along k.
    """
    product = importlib.import_module(f"{package.__name__}.cpu.gemm_product")
    changed = {
        "worth_splitting": lambda M, N, K: True,
        "worth_chunks": lambda M, N, K: chunks,
        "MOST_K": piece,
        "MOST_PACKED": 1 << 17,
    }
    kept = {name: getattr(product, name) for name in changed}
    vars(product).update(changed)
    try:
        yield product
    finally:
        vars(product).update(kept)


def products_on_the_matrix_unit(kernels: Any, draw: Any) -> None:
    """linear and its gradients against float64, for drawn shapes, layouts and a few odd numbers among the others."""
    M, N, K = (
        draw(st.integers(5, 70)),
        draw(st.integers(1, 70)),
        draw(st.sampled_from([1, 8, 17, 24, 32, 100, 210, 400])),
    )
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    x, w, b, r, g = (rng.standard_normal(s).astype(np.float32) for s in ((M, K), (N, K), (N,), (M, N), (M, N)))
    if draw(st.booleans()):
        x = np.asfortranarray(x)
    if draw(st.booleans()):
        w = np.asfortranarray(w)
    for array in (x, w, g):
        if draw(st.integers(0, 2)) == 0:
            array[draw(st.integers(0, array.shape[0] - 1)), draw(st.integers(0, array.shape[1] - 1))] = draw(
                st.sampled_from(ODD)
            )
    if draw(st.integers(0, 3)) == 0:
        x[::2, K // 2 :: 3] = 1e-38  # subnormal, beside numbers that are not
    tiny = draw(st.sampled_from([1.0, 1.0, 1e-36]))  # all numbers small: the unit would lose their last parts
    x *= np.float32(tiny)
    piece = draw(st.sampled_from([64, 512]))
    with small_products_too(kernels.package, piece=piece), np.errstate(all="ignore"):
        y, residuals = kernels.package.linear(x, w, b, residual=r)
        dx, dw, db, _ = kernels.package.linear_backward(g, residuals)
    X, W, B, R, G = (a.astype(np.float64) for a in (x, w, b, r, g))
    with np.errstate(all="ignore"):
        check("y", y, X @ W.T + B + R, np.abs(X) @ np.abs(W).T + np.abs(B) + np.abs(R), K)
        check("dx", dx, G @ W, np.abs(G) @ np.abs(W), N)
        check("dw", dw, G.T @ X, np.abs(G).T @ np.abs(X), M)
        check("db", db, G.sum(axis=0), np.abs(G).sum(axis=0), M)


def sums_cut_along_k(kernels: Any, draw: Any) -> None:
    """A weight's and a bias' gradients of many rows, and products added to what is there, against float64."""
    K, M, N = draw(st.sampled_from([1, 17, 384, 385, 800])), draw(st.integers(1, 70)), draw(st.integers(1, 70))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    x, w, b, g, c = (rng.standard_normal(s).astype(np.float32) for s in ((K, N), (M, N), (M,), (K, M), (M, N)))
    add, by_columns = draw(st.booleans()), draw(st.booleans())
    if by_columns:
        x = np.asfortranarray(x)
    for array in (x, g):
        if draw(st.integers(0, 3)) == 0:
            array[draw(st.integers(0, K - 1)), draw(st.integers(0, array.shape[1] - 1))] = draw(st.sampled_from(ODD))
    out = c.copy()
    with small_products_too(kernels.package, chunks=True), np.errstate(all="ignore"):
        residuals = kernels.package.linear(x, w, b)[1]
        dw, db = kernels.package.linear_backward(g, residuals, weight_out=out, accumulate=add)[1:3]
        other = kernels.package.matmul(np.ascontiguousarray(g.T), x, out=c.copy(), accumulate=add)
    X, G, C = (a.astype(np.float64) for a in (x, g, c * np.float32(add)))
    with np.errstate(all="ignore"):
        size = np.abs(G).T @ np.abs(X) + np.abs(C)
        check("dw", dw, G.T @ X + C, size, K)
        check("matmul", other, G.T @ X + C, size, K)
        check("db", db, G.sum(axis=0), np.abs(G).sum(axis=0), K)


@contextmanager
def few_rows_too(package: Any) -> Iterator[Any]:
    """feed_forward of this package on the unit however few rows there are: its module."""
    module = importlib.import_module(f"{package.__name__}.cpu.feed_forward_call")
    kept, module.LEAST_ROWS = module.LEAST_ROWS, 1
    try:
        yield module
    finally:
        module.LEAST_ROWS = kept


def feed_forward_on_the_matrix_unit(kernels: Any, draw: Any) -> None:
    """All of it against float64, for drawn shapes, layouts and values; a NaN, an infinity or very small numbers among them."""
    s = Shapes(draw, "medium")
    rows = draw(st.sampled_from([1, 17, 33, 70, 150, 300]))
    n, hidden, out = (draw(st.sampled_from(sizes)) for sizes in ([32, 64], [32, 96, 160], [32, 64]))
    call = feed_forward_of(s, (rows,), n, hidden, out)
    if draw(st.integers(0, 3)) == 0:
        call.arrays["bias_in"] = np.full(hidden, -12.0)  # H is about 10⁻³², so small that the unit would lose it
        call.arrays["weight_in"] *= 0.03
        call.options["activation"] = "gelu"
    arrays = {name: a.astype(np.float32) for name, a in call.arrays.items()}
    odd = draw(st.sampled_from(["", "", "any", "H"]))
    if odd == "H":  # alone: X and the weights are numbers that the unit takes
        arrays["bias_in"] = np.where(np.arange(hidden) == hidden // 2, np.inf, 0).astype(np.float32)
    elif odd:
        struck = arrays[draw(st.sampled_from(sorted(arrays)))]
        struck[tuple(s.rng.integers(0, n) for n in struck.shape)] = draw(st.sampled_from(ODD))
    seed, dtype = draw(st.integers(0, 1 << 30)), np.float32
    with few_rows_too(kernels.package), np.errstate(all="ignore"):
        if not odd:
            compare(kernels, call, dtype, seed, lambda a: layout(draw, a))
            return
        dy = np.random.default_rng(seed).standard_normal((rows, call.arrays["weight_out"].shape[0])).astype(dtype)
        wide = {name: a.astype(np.float64) for name, a in arrays.items()}
        got, exact = run(kernels, call, arrays, dy), run(ORACLE, call, wide, dy.astype(np.float64))
        plain = run(ORACLE, call, arrays, dy)
    for name, value in exact.items():
        lost = np.isnan(plain[name]) & np.isnan(value) & ~np.isnan(got[name])
        assert not lost.any(), f"{name}: a NaN was lost"
        infinite = np.isinf(value) & (plain[name] == value)
        assert np.array_equal(got[name][infinite], value[infinite]), f"{name}: an infinity was lost"
        spread = ~np.isfinite(got[name]) & np.isfinite(plain[name])
        assert not spread.any(), f"{name}: a NaN or an infinity reached what does not depend on it"


def feed_forward_adds_to_gradients(kernels: Any, draw: Any) -> None:
    """Weights' gradients on the unit written where they are wanted, or added to what is there; the bits of any threads."""
    s = Shapes(draw, "medium")
    rows, n, hidden, out = draw(st.sampled_from([33, 260])), 64, draw(st.sampled_from([32, 160])), 32
    call = feed_forward_of(s, (rows,), n, hidden, out)
    arrays = {name: a.astype(np.float32) for name, a in call.arrays.items() if name != "x"}
    x, dy = s.normal(rows, n).astype(np.float32), s.normal(rows, out).astype(np.float32)
    starts = s.normal(hidden, n).astype(np.float32), s.normal(out, hidden).astype(np.float32)
    add = s.maybe(), s.maybe()
    threads, results = kernels.threads, []
    with few_rows_too(kernels.package):
        for count in threads.counts:
            threads.set(count)
            try:
                places = tuple(start.copy() for start in starts)
                y, residuals = kernels.feed_forward(x, **arrays, **call.options)
                assert not residuals.residuals.kept, "the unit was not used"
                gradients = kernels.feed_forward_backward(dy, residuals)
                added = kernels.feed_forward_backward(dy, residuals, out=places, accumulate=add)
            finally:
                threads.restore()
            results.append([y, *(g for g in gradients if g is not None), *places])
            assert all(got is place for got, place in zip(added[1:3], places, strict=True))
            for place, start, plus, fresh in zip(places, starts, add, gradients[1:3], strict=True):
                assert np.allclose(place, fresh + start if plus else fresh, rtol=1e-5, atol=1e-5)
    for other in results[1:]:
        assert all(a.tobytes() == b.tobytes() for a, b in zip(results[0], other, strict=True)), "bits differ"


def check(name: str, result: np.ndarray, exact: np.ndarray, size: np.ndarray, terms: int) -> None:
    """Errors below those of float32 sums of the products' sizes; ∞ and NaN where they belong."""
    infinite = np.isinf(exact)
    assert np.array_equal(result[infinite], exact[infinite]), f"{name}: an infinity was lost"
    assert np.isnan(result[np.isnan(exact)]).all(), f"{name}: a NaN was lost"
    near = np.isfinite(exact) & (size < 1e38)  # else the sum of float32 may overflow on the way
    bound = np.finfo(np.float32).eps * (np.sqrt(terms) + 6) / 4 * size[near] + 1e-44 * terms
    worst = np.max(np.abs(result[near] - exact[near]) / bound, initial=0.0)
    assert worst <= 1, f"{name} is off by {worst:.2f} of what rounding explains"
