"""Rows of the gradient table: normalization, linear, embedding, dropout, positions, losses, attention."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from properties.gradcheck import SEEDS, arrays, broadcastable, shapes, sizes
from properties.table import row


@row("softmax", "log_softmax")
def softmax(draw, name):
    shape = draw(shapes(smallest_ndim=1))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    word = draw(st.sampled_from(["dim", "axis"]))
    return lambda F, x: getattr(F, name)(x, **{word: dim}), [draw(arrays(shape))]


@row("layer_norm", "layer_norm_composed", "rms_norm", "rms_norm_composed")
def norm(draw, name):
    shape = (*draw(shapes(largest_ndim=2)), draw(sizes(2, 5)))
    parameters = draw(st.integers(0, 2 if name.startswith("layer_norm") else 1))
    eps = draw(st.sampled_from([1e-2, 0.5]))  # larger than in practice: a step must not cross a sharp bend
    # spread out on purpose, for the same reason: a row of almost equal values has a huge third derivative
    x = draw(arrays(shape, lambda rng, s: rng.standard_normal(s) + np.linspace(-2, 2, s[-1])))
    gains = [draw(arrays(shape[-1:], lambda rng, s: rng.standard_normal(s))) for _ in range(parameters)]
    return lambda F, x, *p: getattr(F, name)(x, *p, eps=eps), [x, *gains]


@row("linear", "linear_composed")
def linear(draw, name):
    n, m, lead = draw(sizes()), draw(sizes()), draw(shapes(largest_ndim=2))
    activation = draw(st.sampled_from(["relu", "gelu", "silu", None, "gelu_tanh"]))
    bias, residual = draw(st.booleans()), draw(st.booleans())
    values, shift = None, None
    if activation == "relu":  # x Wᵀ is a multiple of 1/16, and the bias keeps it 1/32 away from the kink
        bias, values, shift = True, quarters, lambda rng, shape: quarters(rng, shape) + 1 / 32
    inputs = [draw(arrays((*lead, n), values)), draw(arrays((m, n), values))]
    if bias:
        inputs.append(draw(arrays((m,), shift)))
    if residual:
        inputs.append(draw(arrays((*lead, m))))

    def function(F, x, W, *rest):
        options = {"residual": rest[-1]} if residual else {}
        return getattr(F, name)(x, W, rest[0] if bias else None, activation=activation, **options)

    return function, inputs


@row("feed_forward", "feed_forward_composed")
def feed_forward(draw, name):
    n, hidden, m, lead = draw(sizes()), draw(sizes()), draw(sizes()), draw(shapes(largest_ndim=2))
    activation = draw(st.sampled_from(["relu", "gelu", "silu", "gelu_tanh"]))
    bias_in, bias_out, residual = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    values, shift = None, None
    if activation == "relu":  # as in linear: away from the kink
        bias_in, values, shift = True, quarters, lambda rng, shape: quarters(rng, shape) + 1 / 32
    inputs = [draw(arrays((*lead, n), values)), draw(arrays((hidden, n), values)), draw(arrays((m, hidden)))]
    if bias_in:
        inputs.append(draw(arrays((hidden,), shift)))
    if bias_out:
        inputs.append(draw(arrays((m,))))
    if residual:
        inputs.append(draw(arrays((*lead, m))))

    def function(F, x, W_in, W_out, *rest):
        others = iter(rest)
        biases = [next(others) if wanted else None for wanted in (bias_in, bias_out)]
        added = next(others) if residual else None
        return getattr(F, name)(x, W_in, W_out, *biases, activation=activation, residual=added)

    return function, inputs


def quarters(rng, shape):
    return rng.integers(-6, 7, shape) / 4


@row("bias_residual_dropout")
def bias_residual_dropout(draw, name):
    shape = (*draw(shapes(largest_ndim=2, empty=True)), draw(sizes()))
    p, seed, training = draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])), draw(SEEDS), draw(st.integers(0, 4)) > 0
    bias, residual = draw(st.booleans()), draw(st.booleans())
    inputs = [draw(arrays(s)) for s in (shape, *([shape[-1:]] if bias else []), *([shape] if residual else []))]

    def function(F, x, *rest):
        b, r = rest[0] if bias else None, rest[-1] if residual else None
        return F.bias_residual_dropout(x, b, r, p, training, np.random.default_rng(seed))

    return function, inputs


@row("embedding")
def embedding(draw, name):
    rows, n = draw(sizes(1, 5)), draw(sizes())
    dtype = draw(st.sampled_from([np.int64, np.int32, np.uint16]))
    ids = draw(hnp.arrays(dtype, draw(shapes(empty=True)), elements=st.integers(0, rows - 1)))
    # padding_idx is no part of the formula but of the gradient only: test_gradients.py checks it by itself
    return lambda F, W: F.embedding(ids, W), [draw(arrays((rows, n)))]


@row("dropout")
def dropout(draw, name):
    p, seed = draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])), draw(SEEDS)
    training = draw(st.integers(0, 4)) > 0
    x = draw(arrays(shapes(empty=True)))
    # a generator with the same seed each time: the same mask at x + h and x − h
    return lambda F, x: F.dropout(x, p, training, np.random.default_rng(seed)) * 1, [x]


@row("rotary")
def rotary(draw, name):
    T, half = draw(sizes()), draw(sizes(1, 3))
    angles = np.random.default_rng(draw(SEEDS)).uniform(-3, 3, (T, half))
    x = draw(arrays((*draw(shapes(largest_ndim=2)), T, 2 * half)))
    return lambda F, x: F.rotary(x, np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)), [x]


@row("cross_entropy")
def cross_entropy(draw, name):
    lead, C = draw(shapes(largest_ndim=2)), draw(sizes(1, 5))
    options = {
        "reduction": draw(st.sampled_from(["mean", "sum", "none"])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 0.7])),
    }
    rng = np.random.default_rng(draw(SEEDS))
    if draw(st.booleans()):
        targets = rng.dirichlet(np.ones(C), lead)
        if draw(st.booleans()):
            targets *= rng.uniform(0.5, 2, (*lead, 1))  # PyTorch does not insist on probabilities
    else:
        targets = np.asarray(rng.integers(0, C, lead))
        if targets.size > 1:  # one at least counts: the mean over none is NaN
            ignored = rng.random(lead) < 0.3
            ignored.flat[0] = False
            options["ignore_index"] = draw(st.sampled_from([-100, -1]))
            targets = np.where(ignored, options["ignore_index"], targets)
    return lambda F, z: F.cross_entropy(z, targets, **options), [draw(arrays((*lead, C)))]


@row("self_attention")
def self_attention(draw, name):
    B, T, D = draw(sizes(1, 2)), draw(sizes(1, 4)), draw(sizes(1, 3))
    H_kv, groups = draw(sizes(1, 2)), draw(sizes(1, 2))
    H = H_kv * groups
    rng = np.random.default_rng(draw(SEEDS))
    options = {"is_causal": draw(st.booleans()), "dropout_p": draw(st.sampled_from([0.0, 0.4]))}
    if draw(st.booleans()):
        options["key_padding_mask"] = rng.random((B, T)) < 0.7
    seed = draw(SEEDS)
    inputs = [draw(arrays((B, T, (H + 2 * H_kv) * D)))]
    if draw(st.booleans()):
        inputs.append(draw(arrays(draw(broadcastable((B, H, T, T))))))

    def function(F, x, *bias):
        extra = {"attn_mask": bias[0]} if bias else {}
        return F.self_attention(x, H, H_kv, **options, **extra, generator=np.random.default_rng(seed))

    return function, inputs


@row("scaled_dot_product_attention", "attention_composed")
def attention(draw, name):
    B, H_kv, groups = draw(sizes(1, 2)), draw(sizes(1, 2)), draw(sizes(1, 2))
    Tq, Tk = draw(sizes(1, 3)), draw(sizes(1, 4))
    D, Dv = draw(sizes(1, 3)), draw(sizes(1, 2))
    H = H_kv * groups
    rng = np.random.default_rng(draw(SEEDS))
    options = {"is_causal": draw(st.booleans())}
    if draw(st.booleans()):
        options["scale"] = draw(st.sampled_from([0.3, 1.0, -0.7]))
    if draw(st.booleans()):  # rows without any key come about here, also with causal and Tq > Tk
        options["key_padding_mask"] = rng.random((B, Tk)) < 0.7
    if draw(st.integers(0, 2)) == 0:
        options["dropout_p"] = 0.4
    seed = draw(SEEDS)
    inputs = [draw(arrays((B, H, Tq, D))), draw(arrays((B, H_kv, Tk, D))), draw(arrays((B, H_kv, Tk, Dv)))]
    scores = draw(broadcastable((B, H, Tq, Tk)))
    mask = draw(st.sampled_from(["none", "bool", "float", "float with gradient"]))
    if mask == "bool":
        options["attn_mask"] = rng.random(scores) < 0.6
    elif mask == "float":
        options["attn_mask"] = np.where(rng.random(scores) < 0.3, -np.inf, rng.standard_normal(scores))
    elif mask != "none":
        inputs.append(draw(arrays(scores)))

    def function(F, q, k, v, *bias):
        extra = {"attn_mask": bias[0]} if bias else {}
        return getattr(F, name)(q, k, v, **options, **extra, generator=np.random.default_rng(seed))

    return function, inputs
