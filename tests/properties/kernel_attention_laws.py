"""What must hold for the attention kernels. With the identity as values the output is the matrix of the weights.

A law is `law(kernels, draw)`. Values are float64 or float32; lengths cross the tiles of any backend.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from properties.gradcheck import expect
from properties.kernel_cases import LONG_KEYS, Shapes
from properties.kernel_laws import size_of

from minilm_kernels import reference
from minilm_kernels.random import dropout_mask

ATTENTION_LAWS: dict[str, Callable[..., None]] = {}


def law(function: Callable[..., None]) -> Callable[..., None]:
    ATTENTION_LAWS[function.__name__] = function
    return function


class Inputs:
    """Drawn queries, keys and values; `weights` computes the matrix of the weights."""

    def __init__(self, kernels: Any, draw: Any, square: bool = False, long: bool = False):
        self.kernels = kernels
        s = Shapes(draw, size_of(kernels))
        self.rng = s.rng
        self.dtype = draw(st.sampled_from([np.float32, np.float64]))
        self.tolerance = 1e-5 if self.dtype == np.float32 else 1e-12
        B, H_kv, groups = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
        self.Tk = s.length() if square else draw(st.sampled_from(LONG_KEYS)) if long else s.keys()
        self.Tq = self.Tk if square else draw(st.sampled_from([1, 2, 3])) if long else s.length()
        D = s.width()
        self.groups, self.B, self.H = groups, B, H_kv * groups
        self.q = self.normal(B, self.H, self.Tq, D) * self.dtype(draw(st.sampled_from([0.1, 1, 1, 30])))
        self.k, self.v = self.normal(B, H_kv, self.Tk, D), self.normal(B, H_kv, self.Tk, s.width())
        self.identity = np.broadcast_to(np.eye(self.Tk, dtype=self.dtype), (B, H_kv, self.Tk, self.Tk))
        self.causal = draw(st.booleans())

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(self.dtype)

    def output(self, value: np.ndarray | None = None, **options: Any) -> np.ndarray:
        return self.kernels.attention(self.q, self.k, self.v if value is None else value, **options)[0]

    def weights(self, **options: Any) -> np.ndarray:
        return self.output(self.identity, **options)

    def gradients(self, **options: Any) -> tuple[np.ndarray, tuple]:
        output, residuals = self.kernels.attention(self.q, self.k, self.v, **options)
        return output, self.kernels.attention_backward(self.normal(*output.shape), residuals)

    def mask(self, seen: float = 0.6) -> np.ndarray:
        """A bool mask in which every query sees the first key."""
        mask = self.rng.random((self.B, self.H, self.Tq, self.Tk)) < seen
        mask[..., 0] = True
        return mask

    def close(self, got: np.ndarray, want: np.ndarray, message: str, factor: float = 1) -> None:
        expect(got.shape == want.shape, f"{message}: shape {got.shape}, expected {want.shape}")
        tolerance = factor * self.tolerance
        apart = np.abs(got - want).max(initial=0)
        expect(apart <= tolerance * (1 + np.abs(want).max(initial=0)), f"{message}: {apart} apart")


@law
def rows_sum_to_one(kernels, draw):
    """Weights are at least 0, sum to 1 over the keys a query sees, and are exactly 0 elsewhere."""
    x = Inputs(kernels, draw)
    mask = x.mask()
    W = x.weights(bias=mask)
    expect((W >= 0).all(), "a negative weight")
    x.close(W.sum(-1), np.ones(W.shape[:-1]), "the weights of a row do not sum to one")
    expect(not W[~mask].any(), "a masked key has weight")


@law
def causal_weights_are_a_triangle(kernels, draw):
    """Query i sees exactly the keys up to i + Tk − Tq."""
    x = Inputs(kernels, draw)
    x.q[...] = 0  # all scores equal: uniform over what is seen
    seen = np.arange(x.Tk) <= np.arange(x.Tq)[:, None] + (x.Tk - x.Tq)
    W = x.weights(causal=True)
    expect(np.array_equal(W > 0, np.broadcast_to(seen, W.shape)), "the causal mask has another shape")
    x.close(W, np.broadcast_to(seen / np.maximum(1, seen.sum(-1, keepdims=True)), W.shape), "not uniform")


@law
def a_shift_of_the_scores_changes_nothing(kernels, draw):
    """softmax(S + c) = softmax(S), for one c per row, also a large one."""
    x = Inputs(kernels, draw)
    bias = x.normal(x.B, x.H, x.Tq, x.Tk)
    shift = np.round(x.normal(x.B, x.H, x.Tq, 1) * 16) * 4
    x.close(x.output(bias=bias + shift), x.output(bias=bias), "a shift changes the output", 200)


@law
def the_order_of_the_keys_does_not_matter(kernels, draw):
    """Keys, values, mask and bias permuted together give the same output, and permuted gradients."""
    x = Inputs(kernels, draw)
    p = x.rng.permutation(x.Tk)
    bias, padding = x.normal(x.H, x.Tq, x.Tk), x.rng.random((x.B, x.Tk)) < 0.8
    state = x.rng.bit_generator.state
    one, (dq, dk, dv, db) = x.gradients(bias=bias, key_padding_mask=padding)
    x.k, x.v, x.rng.bit_generator.state = x.k[:, :, p], x.v[:, :, p], state
    two, (dq2, dk2, dv2, db2) = x.gradients(bias=bias[..., p], key_padding_mask=padding[:, p])
    for name, a, b in (
        ("output", one, two), ("dQ", dq, dq2), ("dK", dk[:, :, p], dk2), ("dV", dv[:, :, p], dv2), ("dbias", db[..., p], db2),
    ):  # fmt: skip
        x.close(a, b, f"{name} depends on the order of the keys", 30 * (1 + rms(x.q)))


@law
def a_causal_prefix_equals_decoding(kernels, draw):
    """Queries one after another, or a few at a time, against a growing cache give what one causal call gives."""
    x = Inputs(kernels, draw, square=True)
    whole = x.output(causal=True)
    scale = draw(st.sampled_from([None, x.q.shape[-1] ** -0.5]))
    ends = sorted({int(t) for t in x.rng.integers(1, x.Tk + 1, 4)} | {x.Tk})
    start = 0
    for end in ends:
        few = slice(max(start, end - 3), end)
        part = kernels.attention_decode(x.q[:, :, few], x.k[:, :, :end], x.v[:, :, :end], scale=scale)
        x.close(part, whole[:, :, few], f"queries {few.start} to {end - 1} of {x.Tk} differ from decoding", 10)
        start = end


@law
def decoding_equals_attention(kernels, draw):
    """attention_decode is attention's output, with any mask, bias, number of queries and length of the cache."""
    x = Inputs(kernels, draw, long=draw(st.booleans()))
    options: dict[str, Any] = {"causal": x.causal}
    if draw(st.booleans()):
        options["key_padding_mask"] = x.rng.random((x.B, x.Tk)) < 0.7
    if draw(st.booleans()):
        options["bias"] = x.mask() if draw(st.booleans()) else x.normal(x.H, 1, x.Tk)
    x.close(kernels.attention_decode(x.q, x.k, x.v, **options), x.output(**options), "decode differs", 10)


@law
def a_query_without_keys_is_zero_with_zero_gradient(kernels, draw):
    """Masked by padding, bias or both: output 0, gradient 0, no NaN."""
    x = Inputs(kernels, draw)
    how = draw(st.sampled_from(["padding", "bool", "infinite"]))
    if how == "padding":
        padding = x.rng.random((x.B, x.Tk)) < 0.7
        padding[0] = False
        options: dict[str, Any] = {"key_padding_mask": padding}
        blind = np.zeros((x.B, x.H, x.Tq), bool)
        blind[0] = True
    else:
        mask = x.mask()
        mask[:, :, x.rng.random(x.Tq) < 0.5] = False
        blind = ~mask.any(-1)
        options = {"bias": mask if how == "bool" else np.where(mask, 0, -np.inf).astype(x.dtype)}
    output, gradients = x.gradients(**options)
    expect(not output[blind].any(), "a query that sees no key has an output")
    expect(not gradients[0][blind].any(), "a query that sees no key has a gradient")
    expect(all(g is None or np.isfinite(g).all() for g in gradients), "a gradient is not finite")
    if how == "padding":
        expect(not gradients[1][0].any() and not gradients[2][0].any(), "keys that nobody sees have a gradient")
    if how == "infinite":
        expect(not gradients[3][blind].any(), "the bias of a query that sees no key has a gradient")


@law
def hidden_keys_do_not_matter(kernels, draw):
    """Whatever numbers stand in keys and values that are padding: same bits, and no gradient for them."""
    x = Inputs(kernels, draw)
    padding = x.rng.random((x.B, x.Tk)) < 0.6
    state = x.rng.bit_generator.state
    one, gradients = x.gradients(key_padding_mask=padding, causal=x.causal)
    hidden = ~padding[:, None, :, None]
    x.k, x.v = (np.where(hidden, a.dtype.type(7e3), a) for a in (x.k, x.v))
    x.rng.bit_generator.state = state
    two, others = x.gradients(key_padding_mask=padding, causal=x.causal)
    x.close(one, two, "padding changes the output", 10)
    for name, a, b in zip(("dQ", "dK", "dV"), gradients, others):
        x.close(a, b, f"padding changes {name}", 100 * (1 + rms(x.q)))
    for gradient in gradients[1:3]:
        expect(not np.where(hidden, gradient, 0).any(), "padding has a gradient")


@law
def masks_of_every_form_mean_the_same(kernels, draw):
    """A bool bias, a bias of 0 and −∞, and key_padding_mask where it can say the same."""
    x = Inputs(kernels, draw)
    padding = x.rng.random((x.B, x.Tk)) < 0.7
    mask = padding[:, None, None, :]
    additive = np.where(mask, 0, -np.inf).astype(x.dtype)
    one = x.output(causal=x.causal, key_padding_mask=padding)
    x.close(x.output(causal=x.causal, bias=mask), one, "a bool bias differs")
    x.close(x.output(causal=x.causal, bias=additive), one, "a bias of −∞ differs")
    x.close(x.output(causal=x.causal, bias=np.broadcast_to(mask, (x.B, x.H, x.Tq, x.Tk))), one, "a full mask differs")


@law
def grouped_queries_are_repeated_keys(kernels, draw):
    """H_kv key heads used by H query heads are H key heads, each repeated; their gradients are sums."""
    x = Inputs(kernels, draw)
    state = x.rng.bit_generator.state
    one, (dq, dk, dv, _) = x.gradients(causal=x.causal)
    x.k, x.v = (np.repeat(a, x.groups, axis=1) for a in (x.k, x.v))
    x.rng.bit_generator.state = state
    two, (dq2, dk2, dv2, _) = x.gradients(causal=x.causal)
    x.close(one, two, "grouped queries differ from repeated keys", 10)
    factor = 30 * (1 + rms(x.q))
    x.close(dq, dq2, "dQ of grouped queries", factor)
    for name, a, b in (("dK", dk, dk2), ("dV", dv, dv2)):
        summed = b.reshape(x.B, -1, x.groups, *b.shape[2:]).sum(2)
        x.close(a, summed, f"{name} of grouped queries is not the sum over the group", factor)


@law
def dropout_drops_what_the_generator_says(kernels, draw):
    """Weights are dropped where random.py says so and the others scaled; dV goes through the same mask."""
    x = Inputs(kernels, draw)
    p, seed = draw(st.sampled_from([0.1, 0.5, 0.9, 1.0])), draw(st.integers(0, 2**64 - 1))
    options = {"causal": x.causal}
    mask = dropout_mask(x.q, (x.B, x.H, x.Tq, x.Tk), p, seed)
    want = x.weights(**options) * mask
    x.close(x.weights(**options, dropout=p, seed=seed), want, "other weights were dropped", 30)
    output, residuals = kernels.attention(x.q, x.k, x.v, **options, dropout=p, seed=seed)
    dO = x.normal(*output.shape)
    dV = kernels.attention_backward(dO, residuals)[2]
    expected = (want.swapaxes(-1, -2) @ dO).reshape(x.B, -1, x.groups, *dV.shape[2:]).sum(2)
    x.close(dV, expected, "dV does not go through the mask of the forward pass", 100)


@law
def extreme_scores_do_not_overflow(kernels, draw):
    """Logits of ±10⁴ and more: the winner takes all."""
    x = Inputs(kernels, draw)
    size = x.dtype(draw(st.sampled_from([1e4, 1e6])))
    order = np.argsort(x.rng.random((x.B, x.H, x.Tq, x.Tk)), axis=-1)
    bias = (size * (order - x.Tk / 2)).astype(x.dtype)
    x.q = x.q / (1 + np.abs(x.q).max())
    W = x.weights(bias=bias)
    expect(np.array_equal(W.argmax(-1), bias.argmax(-1)), "another key wins")
    x.close(W.max(-1), np.ones(W.shape[:-1]), "the winner does not take all")


@law
def tiny_scores_are_uniform(kernels, draw):
    """Subnormal queries: all scores round to equal weights; nothing becomes NaN."""
    x = Inputs(kernels, draw)
    x.q = x.q * np.finfo(x.dtype).tiny
    W = x.weights()
    x.close(W, np.full_like(W, 1 / x.Tk), "not uniform")
    _, gradients = x.gradients()
    expect(all(g is None or np.isfinite(g).all() for g in gradients), "a gradient is not finite")


@law
def inputs_may_be_one_array(kernels, draw):
    """query is key is value, or views of one buffer: the same bits as copies, gradients too."""
    x = Inputs(kernels, draw, square=True)
    joined = x.normal(x.B, x.Tk, 3, x.H, 8)
    q, k, v = joined.transpose(2, 0, 3, 1, 4)
    for a, b, c in ((q, q, q), (q, k, v)):
        one, residuals = kernels.attention(a, b, c, causal=x.causal)
        two, others = kernels.attention(a.copy(), b.copy(), c.copy(), causal=x.causal)
        x.close(one, two, "aliasing changes the output")
        dO = x.normal(*one.shape)
        for g, h in zip(kernels.attention_backward(dO, residuals)[:3], kernels.attention_backward(dO, others)[:3]):
            x.close(g, h, "aliasing changes a gradient", 10)


@law
def a_nan_reaches_who_sees_it(kernels, draw):
    """A NaN in a key or value makes NaN every query that sees it, under any mask, and in a query its own row."""
    x = Inputs(kernels, draw)
    mask = x.mask()
    b, h, j = x.rng.integers(x.B), x.rng.integers(x.k.shape[1]), x.rng.integers(x.Tk)
    where = draw(st.sampled_from(["query", "key", "value"]))
    heads = slice(h * x.groups, (h + 1) * x.groups)
    if where == "query":
        i = x.rng.integers(x.Tq)
        x.q[b, h, i, x.rng.integers(x.q.shape[-1])] = np.nan
        expect(np.isnan(x.output(bias=mask)[b, h, i]).all(), "the NaN of a query is lost")
        return
    struck = x.k if where == "key" else x.v
    struck[b, h, j, x.rng.integers(struck.shape[-1])] = np.nan
    rows = np.isnan(x.output(bias=mask)).any(-1)[b, heads]
    expect(rows[mask[b, heads, :, j]].all(), f"the NaN of a {where} is lost to a query that sees it")


@law
def several_tiles_follow_the_formula(kernels, draw):
    """Longer than any tile of queries or keys: values and gradients of the reference, with dropout and causal mask too.

    300 keys are more than a backward pass may look at before it goes on.
    """
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    T = draw(st.sampled_from([197, 230, 300]))
    q, k, v, grad = rng.standard_normal((4, 1, 1, T, 4)) * 3
    options = {"causal": draw(st.booleans()), "dropout": draw(st.sampled_from([0.0, 0.5])), "seed": 7}
    results = []
    for module in (kernels, reference):
        output, residuals = module.attention(q, k, v, **options)
        results.append((output, *module.attention_backward(grad, residuals)[:3]))
    for got, want in zip(*results, strict=True):
        expect(np.allclose(got, want, rtol=1e-9, atol=1e-9), "several tiles differ from the formula")


def rms(a: np.ndarray) -> float:
    return float(np.sqrt((np.asarray(a, np.float64) ** 2).mean())) if a.size else 0.0
