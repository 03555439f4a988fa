"""Laws of single kernels: products, loss, and what works in place. A law is `law(kernels, draw)`, of one kernel."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from properties.gradcheck import SEEDS, expect
from properties.kernel_cases import (
    ACTIVATIONS,
    LENGTHS,
    LONG_WIDTH,
    MEDIUM_LENGTHS,
    MEDIUM_WIDTHS,
    WIDTHS,
    layout,
    values,
)
from properties.kernel_laws import allowed, rms, size_of

from minilm_kernels import reference
from minilm_kernels.random import dropout_mask

MORE_LAWS: dict[str, tuple[str, Callable[..., None]]] = {}  # by name: the kernel and the law


def law(kernel: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def register(function: Callable[..., None]) -> Callable[..., None]:
        MORE_LAWS[function.__name__] = (kernel, function)
        return function

    return register


def source(draw: Any) -> tuple[np.random.Generator, Any]:
    return np.random.default_rng(draw(SEEDS)), draw(st.sampled_from([np.float32, np.float64]))


def lengths(kernels: Any, draw: Any, *more: int) -> int:
    """A length or a width that the backend can afford."""
    medium = size_of(kernels) == "medium"
    return draw(st.sampled_from((MEDIUM_LENGTHS + MEDIUM_WIDTHS if medium else LENGTHS + WIDTHS) + list(more)))


def fair(got: np.ndarray, a: np.ndarray, b: np.ndarray, message: str, start: Any = 0) -> None:
    """start + A B to twice the error of the plain product in the same dtype, and one unit in the last place.

    A short sum is now and then exact by luck, so the plain product is BLAS's in four orders of the summands, and a loop.
    """
    eps = float(np.finfo(got.dtype).eps)
    exact = start + a.astype(np.float64) @ b.astype(np.float64)
    orders = [np.random.default_rng(i).permutation(a.shape[1]) for i in range(4)]
    loop = np.zeros_like(got)
    for k in range(a.shape[1]):
        loop += a[:, k, None] * b[k]
    plain = [start + loop, *(start + a[:, p] @ b[p] for p in orders)]
    most = allowed([product - exact for product in plain]) + eps * rms(exact)
    error = rms(got.astype(np.float64) - exact)
    expect(got.shape == exact.shape, f"{message}: shape {got.shape}, expected {exact.shape}")
    expect(error <= most, f"{message}: off by {error:.3g}; {most:.3g} would be fair")


# --- products ---------------------------------------------------------------------------------------------------------


@law("matmul")
def a_product_of_any_strides(kernels, draw):
    """A B for transposed, stepped and reversed operands; into `out` of any layout; added to it with accumulate."""
    rng, dtype = source(draw)
    M, K, N = lengths(kernels, draw), lengths(kernels, draw, LONG_WIDTH), lengths(kernels, draw)
    a = layout(draw, rng.standard_normal((M, K)).astype(dtype))
    b = layout(draw, rng.standard_normal((K, N)).astype(dtype))
    fair(kernels.matmul(a, b), a, b, "A B")
    start = rng.standard_normal((M, N)).astype(dtype)
    out = layout(draw, start)
    if not out.flags.writeable:
        out = out.copy()
    expect(kernels.matmul(a, b, out=out) is out, "out is not returned")
    fair(out, a, b, "A B into out")
    out[...] = start
    kernels.matmul(a, b, out=out, accumulate=True)
    fair(out, a, b, "C + A B", start)


@law("matmul")
def a_product_repeats_in_bits(kernels, draw):
    """The same bits again, also with another number of threads, and for a matrix times itself."""
    rng, dtype = source(draw)
    M, K = lengths(kernels, draw), lengths(kernels, draw, LONG_WIDTH)
    a = rng.standard_normal((M, K)).astype(dtype)
    first = kernels.matmul(a, a.T)
    threads = getattr(kernels, "threads", None)
    for count in threads.counts if threads else ():
        threads.set(count)
        try:
            expect(np.array_equal(first, kernels.matmul(a, a.T)), f"other bits with {count} threads")
        finally:
            threads.restore()
    expect(np.array_equal(first, kernels.matmul(a, a.T)), "other bits the second time")
    fair(first, a, a.T, "A Aᵀ")


@law("linear")
def linear_computes_what_is_needed(kernels, draw):
    """needs=(…): None where nothing is wanted, the same values where it is; a bias and a residual always get theirs."""
    rng, dtype = source(draw)
    n, out, rows = (lengths(kernels, draw) for _ in range(3))
    x, W, b, R = (rng.standard_normal(s).astype(dtype) for s in ((rows, n), (out, n), (out,), (rows, out)))
    activation = draw(st.sampled_from([None, "gelu", "relu"]))
    y, residuals = kernels.linear(x, W, b, activation=activation, residual=R)
    dy = rng.standard_normal(y.shape).astype(dtype)
    everything = kernels.linear_backward(dy, residuals)
    needs = draw(st.tuples(st.booleans(), st.booleans()))
    some = kernels.linear_backward(dy, residuals, needs=needs)
    for i, (want, got) in enumerate(zip(everything, some, strict=True)):
        if i < 2 and not needs[i]:
            expect(got is None, "a gradient that nobody needs")
        else:
            close = got is not None and np.allclose(got, want, rtol=1e-4, atol=1e-5)
            expect(close, "another gradient when less is needed")


@law("linear")
def the_weight_gradient_goes_where_it_is_told(kernels, draw):
    """weight_out: dW is written there, of any layout with contiguous rows, or added to what stands there; and returned."""
    rng, dtype = source(draw)
    n, out, rows = (lengths(kernels, draw) for _ in range(3))
    x, W, dy, start = (rng.standard_normal(s).astype(dtype) for s in ((rows, n), (out, n), (rows, out), (out, n)))
    place = np.full((out, n + 3), np.nan, dtype)[:, :n] if draw(st.booleans()) else np.empty((out, n), dtype)
    for accumulate in (False, True):
        place[...] = start
        _, residuals = kernels.linear(x, W)
        got = kernels.linear_backward(dy, residuals, weight_out=place, accumulate=accumulate)[1]
        expect(got is place, "weight_out is not what is returned for the weight")
        fair(place, dy.T, x, "dW", start if accumulate else 0)


@law("feed_forward")
def feed_forward_computes_what_is_needed_where_it_is_told(kernels, draw):
    """needs: None where nothing is wanted, the same values where it is. out: written there, or added, and returned."""
    rng, dtype = source(draw)
    n, hidden, out, rows = (lengths(kernels, draw) for _ in range(4))
    shapes = (rows, n), (hidden, n), (out, hidden), (hidden,), (out,)
    x, W_in, W_out, b_in, b_out = (rng.standard_normal(s).astype(dtype) for s in shapes)
    y, residuals = kernels.feed_forward(x, W_in, W_out, b_in, b_out, activation=draw(st.sampled_from(ACTIVATIONS[1:])))
    dy = rng.standard_normal(y.shape).astype(dtype)
    everything = kernels.feed_forward_backward(dy, residuals)
    needs = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    accumulate = draw(st.tuples(st.booleans(), st.booleans()))
    starts = tuple(rng.standard_normal(W.shape).astype(dtype) for W in (W_in, W_out))
    places = tuple(
        np.full((len(W), W.shape[1] + 3), np.nan, dtype)[:, :-3] if draw(st.booleans()) else np.empty_like(W)
        for W in starts
    )
    for place, start in zip(places, starts, strict=True):
        place[...] = start
    some = kernels.feed_forward_backward(dy, residuals, needs=needs, out=places, accumulate=accumulate)
    for i, (want, got) in enumerate(zip(everything, some, strict=True)):
        if i < 3 and not needs[i]:
            expect(got is None, "a gradient that nobody needs")
        elif want is None:
            expect(got is None, "a gradient of what was not given")
        else:
            added = i in (1, 2) and accumulate[i - 1]
            close = got is not None and np.allclose(got - starts[i - 1] if added else got, want, rtol=1e-3, atol=1e-3)
            expect(close, "another gradient when less is needed")
            expect(i not in (1, 2) or got is places[i - 1], "out is not what is returned for the weight")


@law("linear")
def a_row_of_linear_is_its_own(kernels, draw):
    """What stands in the other rows does not matter: a batch is its rows, to rounding."""
    rng, dtype = source(draw)
    n, out, rows = (lengths(kernels, draw) for _ in range(3))
    x, W, b = (rng.standard_normal(s).astype(dtype) for s in ((rows, n), (out, n), (out,)))
    whole = kernels.linear(x, W, b, activation="gelu")[0]
    i = int(rng.integers(rows))
    exact = reference.linear(x[i].astype(np.float64), W.astype(np.float64), b.astype(np.float64), activation="gelu")[0]
    terms = np.abs(x[i].astype(np.float64)) @ np.abs(W.T) + np.abs(b)
    bound = float(np.finfo(dtype).eps) * (n + 8) * (1 + terms)  # of the rounding in a sum of n
    for got in (whole[i], kernels.linear(x[i], W, b, activation="gelu")[0]):
        expect((np.abs(got - exact) <= bound).all(), "one row differs from the batch")


# --- rows -------------------------------------------------------------------------------------------------------------


@law("layer_norm")
def normalized_rows_have_mean_0_and_variance_1(kernels, draw):
    rng, dtype = source(draw)
    n = 1 + lengths(kernels, draw)
    x = (rng.standard_normal((lengths(kernels, draw), n)) * 10 + 5).astype(dtype)
    y = kernels.layer_norm(x, eps=0.0)[0].astype(np.float64)
    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    expect(np.abs(y.mean(-1)).max() < tolerance and np.abs((y * y).mean(-1) - 1).max() < tolerance, "not normalized")


@law("rms_norm")
def rms_norm_forgets_the_scale(kernels, draw):
    """rms_norm(c x) = rms_norm(x) for ε = 0, and its gradient is orthogonal to x."""
    rng, dtype = source(draw)
    x = rng.standard_normal((lengths(kernels, draw), lengths(kernels, draw))).astype(dtype)
    one, residuals = kernels.rms_norm(x, eps=0.0)
    two = kernels.rms_norm(x * dtype(4), eps=0.0)[0]
    expect(np.array_equal(one, two), "a power of two changes the result")
    dy = rng.standard_normal(x.shape).astype(dtype)
    dx = kernels.rms_norm_backward(dy, residuals)[0]
    along = np.abs((dx.astype(np.float64) * x).sum(-1))
    expect((along <= 100 * np.finfo(dtype).eps * (1 + np.abs(dy).sum(-1))).all(), "the gradient has a part along x")


@law("layer_norm")
def what_passed_a_norm_by_is_added_to_its_gradient(kernels, draw):
    """layer_norm_backward and rms_norm_backward with `add`: dx + add and the other gradients as they are; add is left alone."""
    rng, dtype = source(draw)
    name = draw(st.sampled_from(["layer_norm", "rms_norm"]))
    rows, n = lengths(kernels, draw), lengths(kernels, draw)
    shape = (rows, n) if draw(st.booleans()) else (2, rows, n)
    x, dy, other = (rng.standard_normal(shape).astype(dtype) for _ in range(3))
    g = rng.standard_normal(n).astype(dtype) if draw(st.booleans()) else None
    residuals = getattr(kernels, name)(x, g)[1]
    backward = getattr(kernels, f"{name}_backward")
    dx, *rest = backward(dy, residuals)
    add = layout(draw, other)
    total, *others = backward(dy, residuals, add=add)
    expect(np.array_equal(add, other), "add was written to")
    expect(not np.shares_memory(total, add), "the result is not an array of its own")
    room = 2 * np.finfo(dtype).eps * (np.abs(dx) + np.abs(other))
    expect((np.abs(total - (dx + other)) <= room).all(), "not the sum")
    for a, b in zip(rest, others, strict=True):
        expect(a is b is None or np.array_equal(a, b), "a parameter's gradient is another one")


@law("rotary")
def a_rotation_keeps_lengths_and_turns_back(kernels, draw):
    rng, dtype = source(draw)
    T, half = lengths(kernels, draw), lengths(kernels, draw)
    angles = rng.uniform(0, 6, (T, half))
    cos, sin = np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)
    x = layout(draw, rng.standard_normal((2, T, 2 * half)).astype(dtype))
    y = kernels.rotary(x, cos, sin)
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    expect(np.allclose(kernels.rotary_backward(y, cos, sin), x, atol=tolerance * 10), "turning back gives another x")
    squares = [a[..., :half] ** 2 + a[..., half:] ** 2 for a in (x, y)]
    expect(np.allclose(*squares, rtol=tolerance, atol=tolerance), "a rotation changes a length")


@law("bias_residual_dropout")
def elements_are_dropped_as_the_generator_says(kernels, draw):
    """Where random.py drops, y is the residual alone, in bits; and dx is 0 there."""
    rng, dtype = source(draw)
    shape = (draw(st.sampled_from([1, 2, 3])), lengths(kernels, draw), lengths(kernels, draw))
    p, seed = draw(st.sampled_from([0.1, 0.5, 1.0])), draw(st.integers(0, 2**64 - 1))
    x, R = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    y, residuals = kernels.bias_residual_dropout(x, None, R, dropout=p, seed=seed)
    mask = dropout_mask(x, shape, p, seed)
    expect(np.array_equal(y[mask == 0], R[mask == 0]), "a dropped element is not the residual")
    dx, db, dR = kernels.bias_residual_dropout_backward(R, residuals)
    expect(db is None and np.array_equal(dR, R), "the residual's gradient is not the cotangent")
    expect(np.allclose(dx, R * mask, rtol=1e-6), "dx goes through another mask")


# --- loss -------------------------------------------------------------------------------------------------------------


@law("softmax_cross_entropy")
def the_loss_is_the_mean_of_log_probabilities(kernels, draw):
    """Against log-sum-exp in float64, row by row; reductions are sums and means of "none"; the loss alone is the same."""
    rng, dtype = source(draw)
    N, C = lengths(kernels, draw), draw(st.sampled_from([1, 2, 3, 17, 65, 129, 1000]))
    Z = values(rng, (N, C), draw(st.sampled_from(["normal", "huge", "offset"]))).astype(dtype)
    y = rng.integers(0, C, N)
    eps = draw(st.sampled_from([0.0, 0.1, 1.0]))
    losses = kernels.softmax_cross_entropy(Z, y, label_smoothing=eps, reduction="none")[0]
    for i in range(N):
        z = Z[i].astype(np.float64)
        log_p = z - z.max() - math.log(np.exp(z - z.max()).sum())
        want = -((1 - eps) * log_p[y[i]] + eps * log_p.mean())
        tolerance = 10 * np.finfo(dtype).eps * (np.ptp(z) + np.log(C) + 1)
        expect(abs(losses[i] - want) <= tolerance, f"row {i} loses {losses[i]}, expected {want}")
    for reduction, want in (("sum", losses.sum(dtype=np.float64)), ("mean", losses.mean(dtype=np.float64))):
        loss, residuals = kernels.softmax_cross_entropy(Z, y, label_smoothing=eps, reduction=reduction)
        alone, none = kernels.softmax_cross_entropy(Z, y, label_smoothing=eps, reduction=reduction, gradient=False)
        expect(loss.shape == () and loss.dtype == dtype, "the loss is no 0-dim array of the dtype of the logits")
        expect(abs(loss - want) <= 1e-5 * (1 + abs(want)), f"the {reduction} is {loss}, of the rows {want}")
        expect(none is None and abs(alone - loss) <= 1e-6 * (1 + abs(want)), "the loss without a gradient differs")
        dZ = kernels.softmax_cross_entropy_backward(np.asarray(1, dtype), residuals)
        expect(np.abs(dZ.sum(-1)).max() <= 1e-5, "a row of the gradient does not sum to 0")


@law("softmax_cross_entropy")
def ignored_rows_do_not_count(kernels, draw):
    """Rows with ignore_index have loss and gradient 0 whatever stands in them; the others are as if alone."""
    rng, dtype = source(draw)
    N, C = draw(st.sampled_from([2, 5, 33, 100])), draw(st.sampled_from([2, 17, 65, 129]))
    ignore = draw(st.sampled_from([-100, -1, 0, 1]))
    Z, y = rng.standard_normal((N, C)).astype(dtype), rng.integers(0, C, N)
    y[0], y[1] = ignore, C - 1 if ignore != C - 1 else 0
    counted = y != ignore
    Z[~counted] = draw(st.sampled_from([1.0, 1e4, np.nan, np.inf]))
    for reduction in ("mean", "sum", "none"):
        loss, residuals = kernels.softmax_cross_entropy(Z, y, ignore_index=ignore, reduction=reduction)
        few, others = kernels.softmax_cross_entropy(Z[counted], y[counted], ignore_index=ignore, reduction=reduction)
        got = loss[counted] if reduction == "none" else loss
        expect(np.allclose(got, few, rtol=1e-5), f"{reduction}: the ignored rows change the loss")
        if reduction == "none":
            expect(not loss[~counted].any(), "an ignored row has a loss")
        dl = np.ones(loss.shape, dtype)
        dZ = kernels.softmax_cross_entropy_backward(dl, residuals)
        expect(not dZ[~counted].any(), f"{reduction}: an ignored row has a gradient")
        alone = kernels.softmax_cross_entropy_backward(np.ones(few.shape, dtype), others)
        expect(np.allclose(dZ[counted], alone, atol=1e-6), f"{reduction}: the ignored rows change the others' gradient")


@law("softmax_cross_entropy")
def impossible_classes_are_left_out(kernels, draw):
    """Logits of −∞: probability and gradient 0, as if the class were not there. A target among them loses ∞."""
    rng, dtype = source(draw)
    N, C = draw(st.sampled_from([1, 5, 33])), draw(st.sampled_from([3, 17, 65, 129]))
    Z, y = rng.standard_normal((N, C)).astype(dtype), rng.integers(0, C - 1, N)
    wide = Z.copy()
    wide[:, -1] = -np.inf
    loss, residuals = kernels.softmax_cross_entropy(wide, y, reduction="sum")
    want = kernels.softmax_cross_entropy(np.ascontiguousarray(Z[:, :-1]), y, reduction="sum")[0]
    expect(np.allclose(loss, want, rtol=1e-5), "an impossible class changes the loss")
    dZ = kernels.softmax_cross_entropy_backward(np.asarray(1, dtype), residuals)
    expect(not dZ[:, -1].any() and np.isfinite(dZ).all(), "an impossible class has a gradient")
    infinite = kernels.softmax_cross_entropy(wide, np.full(N, C - 1), reduction="none")[0]
    expect(np.isposinf(infinite).all(), "the loss of an impossible target is not ∞")


# --- in place ---------------------------------------------------------------------------------------------------------


@law("embedding_backward")
def every_id_gets_its_sum(kernels, draw):
    """out[id] += Σ of the rows with that id, in their order; the other rows keep their bits; the same bits every time."""
    rng, dtype = source(draw)
    rows, n = draw(st.sampled_from([1, 2, 10, 500])), lengths(kernels, draw)
    shape = draw(st.sampled_from([(0,), (1,), (70,), (3, 50), (2, 0), (5, 300)]))
    ids = layout(draw, rng.integers(0, rows, shape).astype(draw(st.sampled_from([np.int64, np.int32, np.uint16]))))
    dy = layout(draw, rng.standard_normal((*shape, n)).astype(dtype))
    start = rng.standard_normal((rows, n)).astype(dtype)
    want = start.copy()
    for i in np.ndindex(*shape):
        want[ids[i]] += dy[i]
    for _ in range(2):
        out = start.copy()
        expect(kernels.embedding_backward(dy, ids, out) is None, "something is returned")
        expect(np.array_equal(out, want), "not the sum in the order of the ids")


@law("adamw_step")
def adamw_follows_its_formula(kernels, draw):
    """Three steps against the textbook formula in float64, element by element, for lengths across a block's end."""
    rng, dtype = source(draw)
    sizes = [0, 1, 3, 64, 129, 1000] if size_of(kernels) == "medium" else [0, 1, 3, 64, 129, 1000, 40_000, 140_000]
    n = draw(st.sampled_from(sizes))
    w, m = rng.standard_normal(n).astype(dtype), np.zeros(n, dtype)
    v = np.zeros(n, dtype)
    lr, decay, eps = draw(st.sampled_from([1e-3, 0.1])), draw(st.sampled_from([0.0, 0.1])), 1e-8
    betas = draw(st.sampled_from([(0.9, 0.999), (0.0, 0.95), (0.9, 0.0)]))
    W, M, V = (a.astype(np.float64) for a in (w, m, v))
    for step in (1, 2, 3):
        g = rng.standard_normal(n).astype(dtype) * dtype(10.0 ** draw(st.integers(-3, 2)))
        kept = g.copy()
        kernels.adamw_step(w, g, m, v, lr=lr, betas=betas, eps=eps, weight_decay=decay, step=step)
        expect(np.array_equal(g, kept), "the gradient was written to")
        W -= lr * decay * W
        M = betas[0] * M + (1 - betas[0]) * g.astype(np.float64)
        V = betas[1] * V + (1 - betas[1]) * g.astype(np.float64) ** 2
        W -= lr * (M / (1 - betas[0] ** step)) / (np.sqrt(V / (1 - betas[1] ** step)) + eps)
    tolerance = 2e-6 if dtype == np.float32 else 1e-14
    for name, got, want in (("w", w, W), ("m", m, M), ("v", v, V)):
        apart = np.abs(got - want).max(initial=0)
        expect(apart <= tolerance * max(1, np.abs(want).max(initial=0)), f"{name} is {apart} from the formula")


@law("clip_by_norm")
def the_joint_norm_is_clipped(kernels, draw):
    """The norm over all arrays is returned, and afterwards it is at most max_norm; smaller gradients keep their bits."""
    rng, dtype = source(draw)
    shapes = draw(st.lists(st.sampled_from([(1,), (3, 5), (0,), (130,), (70, 9), (), (40_000,)]), max_size=4))
    scale = draw(st.sampled_from([1e-25, 1e-3, 1.0, 1e22]))  # squares that float32 cannot hold
    gradients = [layout(draw, np.asarray(rng.standard_normal(s) * scale).astype(dtype)) for s in shapes]
    gradients = [g if g.flags.writeable else g.copy() for g in gradients]
    before = [g.copy() for g in gradients]
    want = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in before))
    expect(math.isclose(kernels.clip_by_norm(gradients, None), want, rel_tol=1e-6), "another norm")
    expect(all(np.array_equal(a, b) for a, b in zip(gradients, before)), "measuring changes the gradients")
    limit = draw(st.sampled_from([0.0, want * 0.3, want * 2, 1.0]))
    expect(math.isclose(kernels.clip_by_norm(gradients, limit), want, rel_tol=1e-6), "not the norm before clipping")
    after = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients))
    if want <= limit:
        expect(all(np.array_equal(a, b) for a, b in zip(gradients, before)), "small gradients are scaled")
    else:
        expect(after <= limit * (1 + 1e-5), f"the norm is {after} after clipping to {limit}")
        factor = limit / (want + 1e-6)
        expect(
            all(np.allclose(a, b * factor, rtol=1e-5, atol=0) for a, b in zip(gradients, before)),
            "not one factor for all",
        )
