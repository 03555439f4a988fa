"""What must hold for attention, however it is computed. Each law takes the engine, so that a broken one can be passed.

A law is `law(F, Tensor, attention, draw)`; `attention` is one of the two functions (fused or composed) of that engine.
With the identity as values the output of attention is the matrix of its weights: several laws look at it this way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from properties.gradcheck import SEEDS, expect, sizes

LAWS: dict[str, Callable[..., None]] = {}
DIFFERENTIATE = {"a_query_without_keys_is_zero_with_zero_gradient", "extreme_scores_do_not_overflow"}  # call backward()


def law(function: Callable[..., None]) -> Callable[..., None]:
    LAWS[function.__name__] = function
    return function


def close(got: Any, want: Any, message: str, tolerance: float = 1e-10) -> None:
    got, want = np.asarray(getattr(got, "data", got)), np.asarray(getattr(want, "data", want))
    expect(got.shape == want.shape, f"{message}: shape {got.shape}, expected {want.shape}")
    expect(
        np.allclose(got, want, rtol=tolerance, atol=tolerance), lambda: f"{message}: {np.abs(got - want).max()} apart"
    )


class Inputs:
    """Drawn queries, keys, values; extreme logits now and then."""

    def __init__(self, draw: Any, min_q: int = 1, min_k: int = 1):
        self.rng = np.random.default_rng(draw(SEEDS))
        B, H_kv, groups, D = (draw(sizes(1, 3)) for _ in range(4))
        Tq, Tk = draw(sizes(min_q, 5)), draw(sizes(min_k, 6))
        size = draw(st.sampled_from([0.1, 1.0, 1.0, 30.0]))
        self.groups, self.B, self.H, self.Tq, self.Tk, self.D = groups, B, H_kv * groups, Tq, Tk, D
        self.q = self.rng.standard_normal((B, self.H, Tq, D)) * size
        self.k = self.rng.standard_normal((B, H_kv, Tk, D))
        self.v = self.rng.standard_normal((B, H_kv, Tk, draw(sizes(1, 3))))
        self.identity = np.broadcast_to(np.eye(Tk), (B, H_kv, Tk, Tk))
        self.causal = draw(st.booleans())

    def mask(self) -> np.ndarray:
        """A bool mask in which every query sees a key."""
        mask = self.rng.random((self.B, self.H, self.Tq, self.Tk)) < 0.6
        mask[..., 0] = True
        return mask


@law
def rows_sum_to_one(F, Tensor, attention, draw):
    """Weights are at least 0 and sum to 1 over the keys a query sees; the others have weight exactly 0."""
    x = Inputs(draw)
    mask = x.mask()
    W = attention(x.q, x.k, x.identity, attn_mask=mask).data
    expect((W >= 0).all(), "a negative weight")
    close(W.sum(-1), np.ones(W.shape[:-1]), "the weights of a row do not sum to one", 1e-12)
    expect(not W[~mask].any(), "a masked key has weight")


@law
def causal_weights_are_a_triangle(F, Tensor, attention, draw):
    """Query i sees exactly the keys up to i + Tk − Tq."""
    x = Inputs(draw)
    W = attention(x.q * 0, x.k, x.identity, is_causal=True).data  # all scores equal: uniform over what is seen
    seen = np.arange(x.Tk) <= np.arange(x.Tq)[:, None] + (x.Tk - x.Tq)
    expect(np.array_equal(W > 0, np.broadcast_to(seen, W.shape)), "the causal mask has another shape")
    close(W, np.broadcast_to(seen / np.maximum(1, seen.sum(-1, keepdims=True)), W.shape), "not uniform")


@law
def equals_the_formula(F, Tensor, attention, draw):
    """softmax(Q Kᵀ/√d_k + bias) V, query by query, in plain loops."""
    x = Inputs(draw)
    scale = draw(st.none() | st.floats(0.1, 2))
    bias = x.rng.standard_normal((x.Tq, x.Tk)) if draw(st.booleans()) else np.zeros((x.Tq, x.Tk))
    padding = x.rng.random((x.B, x.Tk)) < 0.7
    got = attention(
        x.q, x.k, x.v, attn_mask=bias, scale=scale, key_padding_mask=padding, is_causal=x.causal
    ).data  # fmt: skip
    want = np.zeros_like(got)
    for b, h, i in np.ndindex(got.shape[:3]):
        keys = [j for j in range(x.Tk) if padding[b, j] and (not x.causal or j <= i + x.Tk - x.Tq)]
        if keys:
            K, V = x.k[b, h // x.groups, keys], x.v[b, h // x.groups, keys]
            s = K @ x.q[b, h, i] * (1 / np.sqrt(x.D) if scale is None else scale) + bias[i, keys]
            w = np.exp(s - s.max())
            want[b, h, i] = w / w.sum() @ V
    close(got, want, "attention differs from its formula")


@law
def shift_invariance(F, Tensor, attention, draw):
    """A number added to all scores of a row changes nothing, nor does a vector added to all keys."""
    x = Inputs(draw)
    plain = attention(x.q, x.k, x.v)
    shift = np.broadcast_to(x.rng.uniform(-50, 50, (x.B, x.H, x.Tq, 1)), (x.B, x.H, x.Tq, x.Tk))
    close(attention(x.q, x.k, x.v, attn_mask=shift), plain, "a shift of the scores changed the output", 1e-9)
    close(attention(x.q, x.k + x.rng.standard_normal(x.D), x.v), plain, "a shift of the keys did", 1e-9)


@law
def permuting_keys_and_values_changes_nothing(F, Tensor, attention, draw):
    x = Inputs(draw)
    order, mask = x.rng.permutation(x.Tk), x.mask()
    got = attention(x.q, x.k[:, :, order], x.v[:, :, order], attn_mask=mask[..., order])
    close(got, attention(x.q, x.k, x.v, attn_mask=mask), "the order of the keys matters")


@law
def queries_do_not_see_each_other(F, Tensor, attention, draw):
    x = Inputs(draw)
    order = x.rng.permutation(x.Tq)
    close(
        attention(x.q[:, :, order], x.k, x.v), attention(x.q, x.k, x.v).data[:, :, order], "queries are not independent"
    )


@law
def a_prefix_does_not_know_the_future(F, Tensor, attention, draw):
    """Causal attention over the whole = over each prefix = of the last queries alone against all keys (the cache)."""
    x = Inputs(draw, min_k=2)
    q = x.rng.standard_normal((x.B, x.H, x.Tk, x.D))
    full = attention(q, x.k, x.v, is_causal=True).data
    cut = draw(st.integers(1, x.Tk - 1))
    close(
        attention(q[:, :, :cut], x.k[:, :, :cut], x.v[:, :, :cut], is_causal=True),
        full[:, :, :cut],
        "the prefix differs",
    )
    close(attention(q[:, :, cut:], x.k, x.v, is_causal=True), full[:, :, cut:], "decoding with a cache differs")


@law
def hidden_keys_do_not_matter(F, Tensor, attention, draw):
    """Hiding keys by padding, by a bool mask or by −∞ equals leaving them out."""
    x = Inputs(draw, min_k=2)
    seen = x.rng.random(x.Tk) < 0.6
    seen[draw(st.integers(0, x.Tk - 1))] = True
    want = attention(x.q, x.k[:, :, seen], x.v[:, :, seen])
    k = np.where(seen[:, None], x.k, 1e3)
    ways = {
        "padding": {"key_padding_mask": np.broadcast_to(seen, (x.B, x.Tk))},
        "0/1 padding": {"key_padding_mask": np.broadcast_to(seen, (x.B, x.Tk)).astype(np.int64)},
        "bool mask": {"attn_mask": np.broadcast_to(seen, (x.Tq, x.Tk))},
        "−∞": {"attn_mask": np.where(seen, 0, -np.inf)},
    }
    for name, options in ways.items():
        close(attention(x.q, k, x.v, **options), want, f"hidden keys matter with {name}")


@law
def grouped_queries_are_repeated_keys(F, Tensor, attention, draw):
    x = Inputs(draw)
    repeated = attention(x.q, x.k.repeat(x.groups, 1), x.v.repeat(x.groups, 1), is_causal=x.causal)
    close(attention(x.q, x.k, x.v, is_causal=x.causal), repeated, "head h does not use key head h // groups")


@law
def a_query_without_keys_is_zero_with_zero_gradient(F, Tensor, attention, draw):
    x = Inputs(draw)
    mask = x.mask()
    blind = draw(st.integers(0, x.Tq - 1))
    way = draw(st.sampled_from(["bool", "float", "all padding"]))
    mask[:, :, blind] = False
    options: dict[str, Any] = {"attn_mask": mask if way == "bool" else np.where(mask, 0.0, -np.inf)}
    if way == "all padding":
        mask[...] = False
        options = {"key_padding_mask": np.zeros((x.B, x.Tk), bool)}
    q, k, v = (Tensor(a, requires_grad=True) for a in (x.q, x.k, x.v))
    y = attention(q, k, v, **options)
    expect(np.isfinite(y.data).all(), "a row without keys is not finite")
    expect(not y.data[:, :, blind].any(), "a row without keys is not zero")
    y.backward(x.rng.standard_normal(y.shape))
    expect(all(np.isfinite(t.grad).all() for t in (q, k, v)), "a row without keys made a gradient not finite")
    expect(not q.grad[:, :, blind].any(), "a query that saw nothing has a gradient")
    if way == "all padding":
        expect(not k.grad.any() and not v.grad.any(), "keys that nobody saw have a gradient")


@law
def nan_stays_visible(F, Tensor, attention, draw):
    """A NaN in a query spoils its own row, one in a key or value the rows that see it, and nothing else."""
    x = Inputs(draw, min_q=2)
    b, h, i, j = 0, x.H - 1, draw(st.integers(0, x.Tq - 1)), draw(st.integers(0, x.Tk - 1))
    q = x.q.copy()
    q[b, h, i, 0] = np.nan
    bad = np.isnan(attention(q, x.k, x.v).data)
    expect(bad[b, h, i].all() and bad.sum() == bad[b, h, i].size, "a NaN in a query is not where it should be")
    for place in range(2):
        kv = [x.k.copy(), x.v.copy()]
        kv[place][b, -1, j] = np.nan
        bad = np.isnan(attention(x.q, *kv).data)
        expect(bad[b, -x.groups :].all() and bad.sum() == bad[b, -x.groups :].size, "a NaN in a key or value is lost")


@law
def dropout_scales_what_it_keeps(F, Tensor, attention, draw):
    """A weight is dropped or divided by 1 − p; over many weights about the fraction p is dropped."""
    x = Inputs(draw)
    p, seed = draw(st.sampled_from([0.25, 0.5])), draw(SEEDS)
    generator = np.random.default_rng(seed)
    W = attention(x.q, x.k, x.identity, is_causal=x.causal).data
    dropped = attention(x.q, x.k, x.identity, is_causal=x.causal, dropout_p=p, generator=generator).data
    kept = dropped != 0
    close(dropped[kept], W[kept] / (1 - p), "a kept weight is not W/(1 − p)")
    n = 64
    ones = np.zeros((1, 1, n, n))
    many = attention(ones, ones, np.eye(n)[None, None], dropout_p=p, generator=np.random.default_rng(seed)).data
    expect(abs((many == 0).mean() - p) < 5 * np.sqrt(p * (1 - p)) / n, "another fraction than p is dropped")


@law
def extreme_scores_do_not_overflow(F, Tensor, attention, draw):
    """Scores of ±100,000: the weight goes to the largest one, nothing becomes infinite or NaN."""
    x = Inputs(draw)
    bias = 1e5 * np.where(np.arange(x.Tk) == draw(st.integers(0, x.Tk - 1)), 1, -1)
    with np.errstate(over="ignore", invalid="ignore"):  # the law speaks for itself
        q, k, v = (Tensor(a, requires_grad=True) for a in (x.q, x.k, x.identity))
        y = attention(q, k, v, attn_mask=bias)
        y.backward(x.rng.standard_normal(y.shape))
    close(y, np.broadcast_to(bias > 0, y.shape).astype(float), "extreme scores overflow")
    expect(all(np.isfinite(t.grad).all() for t in (q, k, v)), "extreme scores make a gradient not finite")


@law
def packed_heads_are_split_and_merged(F, Tensor, attention, draw):
    """self_attention of queries, keys and values side by side = attention of the three, its heads side by side."""
    x = Inputs(draw)
    B, H_kv, T, D = x.B, x.k.shape[1], x.Tk, x.D
    packed = x.rng.standard_normal((B, T, (x.H + 2 * H_kv) * D))
    heads = packed.reshape(B, T, -1, D).swapaxes(1, 2)
    q, k, v = heads[:, : x.H], heads[:, x.H : x.H + H_kv], heads[:, x.H + H_kv :]
    got = F.self_attention(packed, x.H, H_kv, is_causal=x.causal)
    want = attention(q, k, v, is_causal=x.causal).data.swapaxes(1, 2).reshape(B, T, x.H * D)
    close(got, want, "packed attention differs from attention of its parts")
