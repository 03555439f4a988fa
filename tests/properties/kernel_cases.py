"""Draws calls of every kernel that has a derivative: odd shapes, shapes that cross tiles, masks, extreme values.

A Call holds float64 inputs; `run` makes it in a dtype, forward and backward, with any of the kernels' backends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from properties.gradcheck import SEEDS

Draw = Callable[[Any], Any]

# by size: "tiles" crosses the tiles and blocks of any kernel, "medium" does so where kernels run as plain Python
LENGTHS = [1, 1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 63, 64, 65, 100, 129, 150]
WIDTHS = [1, 3, 8, 16, 32, 33, 48, 64, 80, 128, 130]
MEDIUM_LENGTHS, MEDIUM_WIDTHS = [1, 2, 5, 17, 33, 70], [1, 3, 16, 33]
LONG_KEYS, LONG_WIDTH = [300, 530], 400  # more keys, and longer sums, than one task takes
KINDS = ["normal", "normal", "tiny", "huge", "offset", "spike", "equal"]
ACTIVATIONS = [None, "gelu", "gelu_tanh", "relu", "silu"]
CALLS: dict[str, Callable[..., Call]] = {}
# which input each cotangent belongs to
GRADIENTS = {
    "attention": ("query", "key", "value", "bias"),
    "linear": ("x", "weight", "bias", "residual"),
    "feed_forward": ("x", "weight_in", "weight_out", "bias_in", "bias_out", "residual"),
    "layer_norm": ("x", "weight", "bias"),
    "rms_norm": ("x", "weight"),
    "gelu": ("x",),
    "silu_mul": ("gate", "up"),
    "softmax_cross_entropy": ("logits",),
    "rotary": ("x",),
    "bias_residual_dropout": ("x", "bias", "residual"),
}


class Call(NamedTuple):
    kernel: str
    arrays: dict[str, np.ndarray]  # float64, by the argument's name
    options: dict[str, Any]  # masks, targets and numbers


def run(kernels: Any, call: Call, arrays: dict[str, np.ndarray], dy: np.ndarray | None) -> dict[str, np.ndarray]:
    """Forward and, given the cotangent dy, backward: {"result": …, "query": its gradient, …}, for the gradients there are."""
    forward = getattr(kernels, call.kernel)
    if call.kernel == "rotary":
        results = {"result": forward(**arrays)}
        if dy is not None:
            results["x"] = kernels.rotary_backward(dy, arrays["cos"], arrays["sin"])
        return results
    result, residuals = forward(**arrays, **call.options)
    results = {"result": result}
    if dy is not None:
        gradients = getattr(kernels, f"{call.kernel}_backward")(dy, residuals)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        named = zip(GRADIENTS[call.kernel], gradients, strict=True)
        results |= {name: gradient for name, gradient in named if gradient is not None}
    return results


def call_of(*kernels: str) -> Callable[[Callable[..., Call]], Callable[..., Call]]:
    """Register a builder(draw, size) of calls; size is "tiles" or "small"."""

    def register(build: Callable[..., Call]) -> Callable[..., Call]:
        CALLS.update(dict.fromkeys(kernels, build))
        return build

    return register


def values(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Numbers of a kind: 10⁻²⁰ ("tiny"), ±10⁴ ("huge"), 10³ ± 1 ("offset"), outliers ("spike"), all the same ("equal")."""
    a = rng.standard_normal(shape)
    if kind == "tiny":
        return a * 1e-20
    if kind == "huge":
        return a * 1e4
    if kind == "offset":
        return a + 1e3
    if kind == "equal":
        return np.full(shape, 0.7)
    if kind == "spike" and a.size and a.ndim:
        a[..., rng.integers(shape[-1])] *= 1e4
    return a


class Shapes:
    """What the builders draw from: lengths and widths up to `size`, one source of randomness, kinds of values."""

    def __init__(self, draw: Draw, size: str):
        self.draw = draw
        self.size = size
        self.small = size == "small"
        self.lengths = {"small": [1, 2, 3, 4], "medium": MEDIUM_LENGTHS, "tiles": LENGTHS}[size]
        self.widths = {"small": [1, 2, 3, 4], "medium": MEDIUM_WIDTHS, "tiles": WIDTHS}[size]
        self.rng = np.random.default_rng(draw(SEEDS))

    def length(self) -> int:
        return self.draw(st.sampled_from(self.lengths))

    def width(self) -> int:
        return self.draw(st.sampled_from(self.widths))

    def keys(self) -> int:
        """How many keys: a length, and now and then one that is cut into chunks."""
        long = self.size == "tiles" and self.draw(st.integers(0, 7)) == 0
        return self.draw(st.sampled_from(LONG_KEYS)) if long else self.length()

    def summed(self) -> int:
        """How many products a sum of linear has: a width, and now and then one that is cut into blocks."""
        return LONG_WIDTH if not self.small and self.draw(st.integers(0, 7)) == 0 else self.width()

    def few(self) -> int:
        return self.draw(st.integers(1, 2 if self.small else 3))

    def maybe(self) -> bool:
        return self.draw(st.booleans())

    def kind(self) -> str:
        return "normal" if self.small else self.draw(st.sampled_from(KINDS))

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape)

    def lead(self) -> tuple[int, ...]:
        """The axes before the features: none, one or two."""
        number = self.draw(st.integers(0, 2))
        return (self.few(), self.length())[2 - number :]


@call_of("attention")
def attention_call(draw: Draw, size: str) -> Call:
    s = Shapes(draw, size)
    B, H_kv, groups, Tq, Tk, D = (
        s.few(),
        draw(st.integers(1, 2)),
        draw(st.integers(1, 3)),
        s.length(),
        s.keys(),
        s.width(),
    )
    Dv = D if s.maybe() else s.width()
    kind = draw(st.sampled_from(["normal"] if s.small else ["normal", "normal", "tiny", "huge", "spike", "equal"]))
    query = values(s.rng, (B, H_kv * groups, Tq, D), kind)
    arrays = {"query": query, "key": s.normal(B, H_kv, Tk, D), "value": s.normal(B, H_kv, Tk, Dv)}
    options: dict[str, Any] = {"causal": s.maybe()}
    if s.maybe():
        options["key_padding_mask"] = s.rng.random((B, Tk)) < 0.7
    shape = tuple(1 if s.rng.random() < 0.4 else n for n in (B, H_kv * groups, Tq, Tk))[draw(st.integers(0, 4)) :]
    bias = draw(st.sampled_from(["none", "none", "float", "infinite", "bool"]))
    if bias == "bool":
        options["bias"] = np.asarray(s.rng.random(shape) < 0.7)
    elif bias != "none":
        arrays["bias"] = np.asarray(s.normal(*shape))
        if bias == "infinite":
            arrays["bias"] = np.where(s.rng.random(shape) < 0.3, -np.inf, arrays["bias"])
    if s.maybe():
        options["scale"] = draw(st.sampled_from([0.05, 0.3, 1.0]))
    if draw(st.integers(0, 3)) == 0:
        options |= {"dropout": draw(st.sampled_from([0.1, 0.5])), "seed": draw(st.integers(0, 2**64 - 1))}
    return Call("attention", arrays, options)


@call_of("linear")
def linear_call(draw: Draw, size: str) -> Call:
    s = Shapes(draw, size)
    lead, n, out = s.lead(), s.summed(), s.width()
    activation = draw(st.sampled_from(ACTIVATIONS))
    x = values(s.rng, (*lead, n), s.kind())
    arrays = {"x": x, "weight": s.normal(out, n) / np.sqrt(n)}
    if s.maybe():
        arrays["bias"] = s.normal(out)
    if s.maybe():
        arrays["residual"] = s.normal(*lead, out)
    return Call("linear", arrays, {"activation": activation})


@call_of("feed_forward")
def feed_forward_call(draw: Draw, size: str) -> Call:
    s = Shapes(draw, size)
    return feed_forward_of(s, s.lead(), s.summed(), s.width(), s.width())


def feed_forward_of(s: Shapes, lead: tuple[int, ...], n: int, hidden: int, out: int) -> Call:
    arrays = {
        "x": values(s.rng, (*lead, n), s.kind()),
        "weight_in": s.normal(hidden, n) / np.sqrt(n),
        "weight_out": s.normal(out, hidden) / np.sqrt(hidden),
    }
    if s.maybe():
        arrays["bias_in"] = s.normal(hidden)
    if s.maybe():
        arrays["bias_out"] = s.normal(out)
    if s.maybe():
        arrays["residual"] = s.normal(*lead, out)
    return Call("feed_forward", arrays, {"activation": s.draw(st.sampled_from(ACTIVATIONS[1:]))})


@call_of("layer_norm", "rms_norm")
def norm_call(draw: Draw, size: str, kernel: str) -> Call:
    s = Shapes(draw, size)
    lead, n = s.lead(), s.width()
    # without a weight nothing but ε keeps one feature's, or equal features', slope finite
    kind = s.kind()
    arrays = {"x": values(s.rng, (*lead, n), kind)}
    if s.maybe():
        arrays["weight"] = s.normal(n)
        if kernel == "layer_norm" and s.maybe():
            arrays["bias"] = s.normal(n)
    return Call(kernel, arrays, {"eps": draw(st.sampled_from([1e-5, 1e-3]))})


@call_of("gelu")
def gelu_call(draw: Draw, size: str) -> Call:
    s = Shapes(draw, size)
    return Call(
        "gelu",
        {"x": values(s.rng, (*s.lead(), s.width()), s.kind())},
        {"approximate": draw(st.sampled_from(["none", "tanh"]))},
    )


@call_of("silu_mul")
def silu_mul_call(draw: Draw, size: str) -> Call:
    s = Shapes(draw, size)
    shape = (*s.lead(), s.width())
    return Call("silu_mul", {"gate": values(s.rng, shape, s.kind()), "up": s.normal(*shape)}, {})


@call_of("softmax_cross_entropy")
def loss_call(draw: Draw, size: str) -> Call:
    s = Shapes(draw, size)
    N, C = s.length(), draw(st.sampled_from([1, 2, 3, 5] if s.small else [1, 2, 3, 17, 64, 65, 129, 513, 1000, 1500]))
    targets = s.rng.integers(0, C, N)
    if s.maybe():
        targets[s.rng.random(N) < 0.3] = draw(st.sampled_from([-100, 0]))
    options = {
        "targets": targets.astype(draw(st.sampled_from([np.int64, np.int32]))),
        "ignore_index": draw(st.sampled_from([-100, 0])) if targets.min() >= 0 and targets.max() > 0 else -100,
        "label_smoothing": draw(st.sampled_from([0.0, 0.0, 0.1])),
        "reduction": draw(st.sampled_from(["mean", "sum", "none"])),
    }
    if (options["targets"] == options["ignore_index"]).all():
        options["reduction"] = "sum"  # the mean of nothing is no number
    return Call("softmax_cross_entropy", {"logits": values(s.rng, (N, C), s.kind())}, options)


@call_of("rotary")
def rotary_call(draw: Draw, size: str) -> Call:
    s = Shapes(draw, size)
    T, half = s.length(), s.width()
    angles = s.rng.uniform(0, 6, (T, half))
    x = values(s.rng, (*s.lead()[:1], s.few(), T, 2 * half), s.kind())
    return Call("rotary", {"x": x, "cos": np.cos(angles), "sin": np.sin(angles)}, {})


@call_of("bias_residual_dropout")
def bias_residual_dropout_call(draw: Draw, size: str) -> Call:
    s = Shapes(draw, size)
    shape = (*s.lead(), s.width())
    arrays = {"x": values(s.rng, shape, s.kind())}
    if s.maybe():
        arrays["bias"] = s.normal(shape[-1])
    if s.maybe():
        arrays["residual"] = s.normal(*shape)
    options = {}
    if s.maybe():
        options = {"dropout": draw(st.sampled_from([0.1, 0.5])), "seed": draw(st.integers(0, 2**64 - 1))}
    return Call("bias_residual_dropout", arrays, options)


def draw_call(draw: Draw, kernel: str, size: str = "tiles") -> Call:
    build = CALLS[kernel]
    return build(draw, size, kernel) if kernel.endswith("_norm") else build(draw, size)


def layout(draw: Draw, a: np.ndarray) -> np.ndarray:
    """An array equal to `a` in another memory layout: transposed, stepped, reversed, a broadcast view's copy, or read-only."""
    kind = draw(st.sampled_from(["plain", "plain", "fortran", "stepped", "reversed", "readonly"]))
    if kind == "fortran":
        return np.array(a, order="F")
    if kind == "stepped" and a.ndim:
        wide = np.full([2 * n + 1 for n in a.shape], np.nan, a.dtype)
        view = wide[tuple(slice(1, None, 2) for _ in a.shape)]
        view[...] = a
        return view
    if kind == "reversed" and a.ndim:
        flip = (slice(None, None, -1),) * a.ndim
        return a[flip].copy()[flip]
    result = a.copy()
    result.flags.writeable = kind != "readonly"
    return result
