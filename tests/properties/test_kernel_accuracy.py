"""FlashAttention's rule: the error against float64 is at most twice that of the plain formula in float32.

For every kernel, forward and backward, on normal, tiny, huge and adversarial values; root mean squares over arrays of
thousands of numbers, and the median of several seeds, as a near tie between two huge logits makes either side lucky. The
seeds are fixed: the same numbers in every run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from properties.kernel_backends import NAMES, backend_or_skip
from properties.kernel_cases import Call, run, values
from properties.kernel_laws import ORACLE, magnitudes, rms

SEEDS = range(7)
KINDS = ["normal", "tiny", "huge", "offset", "spike", "equal"]
EPS, TINY = float(np.finfo(np.float32).eps), float(np.finfo(np.float32).tiny)


def attention(rng: np.random.Generator, kind: str, **options: Any) -> Call:
    shape = (2, 4, 65, 48)
    query, key, value = (
        values(rng, shape, kind),
        rng.standard_normal((2, 2, 130, 48)),
        rng.standard_normal((2, 2, 130, 32)),
    )
    if kind == "huge":  # logits of ±10⁴
        query /= np.sqrt(48)
    return Call("attention", {"query": query, "key": key, "value": value}, options)


def masked(rng: np.random.Generator, kind: str) -> Call:
    call = attention(rng, kind, causal=True, key_padding_mask=rng.random((2, 130)) < 0.8, dropout=0.2, seed=3)
    call.arrays["bias"] = rng.standard_normal((4, 65, 130))
    return call


def linear(activation: str | None) -> Any:
    def build(rng: np.random.Generator, kind: str) -> Call:
        x, W = values(rng, (3, 50, 200), kind), rng.standard_normal((70, 200)) / 14
        return Call(
            "linear",
            {"x": x, "weight": W, "bias": rng.standard_normal(70), "residual": rng.standard_normal((3, 50, 70))},
            {"activation": activation},
        )

    return build


def feed_forward(activation: str) -> Any:
    def build(rng: np.random.Generator, kind: str) -> Call:
        arrays = {
            "x": values(rng, (3, 100, 96), kind),  # so many that a matrix unit takes them, where there is one
            "weight_in": rng.standard_normal((160, 96)) / 10,
            "weight_out": rng.standard_normal((64, 160)) / 13,
            "bias_in": rng.standard_normal(160),
            "bias_out": rng.standard_normal(64),
            "residual": rng.standard_normal((3, 100, 64)),
        }
        return Call("feed_forward", arrays, {"activation": activation})

    return build


def norm(kernel: str) -> Any:
    def build(rng: np.random.Generator, kind: str) -> Call:
        arrays = {"x": values(rng, (3, 50, 130), kind), "weight": rng.standard_normal(130)}
        if kernel == "layer_norm":
            arrays["bias"] = rng.standard_normal(130)
        return Call(kernel, arrays, {"eps": 1e-5})

    return build


def gelu(approximate: str) -> Any:
    return lambda rng, kind: Call("gelu", {"x": values(rng, (50, 130), kind) * 3}, {"approximate": approximate})


def silu_mul(rng: np.random.Generator, kind: str) -> Call:
    return Call("silu_mul", {"gate": values(rng, (50, 130), kind) * 3, "up": rng.standard_normal((50, 130))}, {})


def loss(C: int) -> Any:
    def build(rng: np.random.Generator, kind: str) -> Call:
        options = {"targets": rng.integers(0, C, 90), "reduction": "none", "label_smoothing": 0.1}
        return Call("softmax_cross_entropy", {"logits": values(rng, (90, C), kind)}, options)

    return build


def rotary(rng: np.random.Generator, kind: str) -> Call:
    angles = rng.uniform(0, 6, (65, 24))
    x = values(rng, (2, 3, 65, 48), kind)
    return Call("rotary", {"x": x, "cos": np.cos(angles), "sin": np.sin(angles)}, {})


def bias_residual_dropout(rng: np.random.Generator, kind: str) -> Call:
    x, bias, residual = values(rng, (3, 50, 130), kind), rng.standard_normal(130), rng.standard_normal((3, 50, 130))
    options = {"dropout": 0.2, "seed": 3}
    return Call("bias_residual_dropout", {"x": x, "bias": bias, "residual": residual}, options)


CASES = {
    "attention": attention, "attention, masked": masked, "linear": linear(None), "linear with gelu": linear("gelu"),
    "linear with tanh": linear("gelu_tanh"), "linear with relu": linear("relu"), "linear with silu": linear("silu"),
    "feed_forward with gelu": feed_forward("gelu"), "feed_forward with tanh": feed_forward("gelu_tanh"),
    "feed_forward with relu": feed_forward("relu"), "feed_forward with silu": feed_forward("silu"),
    "layer_norm": norm("layer_norm"), "rms_norm": norm("rms_norm"), "gelu": gelu("none"), "gelu tanh": gelu("tanh"),
    "silu_mul": silu_mul, "65 classes": loss(65), "5,000 classes": loss(5000), "rotary": rotary,
    "bias_residual_dropout": bias_residual_dropout,
}  # fmt: skip


def errors(kernels: Any, build: Any, kind: str, number: int) -> dict[str, tuple[float, float, float]]:
    """For the result and each gradient: error, that of the plain formula, and one unit in the last place of what is summed."""
    rng = np.random.default_rng([number, len(kind)])
    call = build(rng, kind)
    arrays = {name: a.astype(np.float32) for name, a in call.arrays.items()}
    exact_arrays = {name: a.astype(np.float64) for name, a in arrays.items()}
    dy = np.asarray(rng.standard_normal(run(ORACLE, call, exact_arrays, None)["result"].shape)).astype(np.float32)
    exact = run(ORACLE, call, exact_arrays, dy.astype(np.float64))
    plain, got = run(ORACLE, call, arrays, dy), run(kernels, call, arrays, dy)
    sizes = magnitudes(call, exact_arrays, dy.astype(np.float64))
    return {
        name: (rms(got[name] - value), rms(plain[name] - value), EPS * max(rms(value), sizes.get(name, 0)))
        for name, value in exact.items()
    }


@pytest.mark.parametrize("backend", [name for name in NAMES if name != "reference"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_error_is_at_most_twice_that_of_the_formula(case, kind, backend):
    kernels = backend_or_skip(backend)
    with np.errstate(all="ignore"):
        measured = [errors(kernels, CASES[case], kind, number) for number in SEEDS]
    for name in measured[0]:
        ratios = sorted(error / (2 * plain + unit / 2 + TINY) for error, plain, unit in (m[name] for m in measured))
        median = ratios[len(ratios) // 2]
        assert median <= 1, f"{name}: {2 * median:.2f} times the error of the formula, {measured[0][name]}"
