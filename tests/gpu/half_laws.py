"""Laws of the kernels in float16 and bfloat16: the error is at most twice that of the plain formula in the same type.

The plain formula rounds to the type after every step, as unfused operations do; sums are exact, so it is a strict rule.
A law is `law(kernels, dtype, draw)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from properties.gradcheck import SEEDS, expect
from properties.kernel_cases import CALLS, Call, draw_call, layout, run
from properties.kernel_laws import ORACLE, magnitudes, rms

from minilm_kernels import reference
from minilm_kernels.random import dropout_mask

HALF_LAWS: dict[str, Callable[..., None]] = {}
LENGTHS = [1, 2, 7, 8, 16, 17, 31, 33, 64, 65, 70, 130]
HEAD_DIMS = [1, 3, 8, 16, 24, 32, 33, 64, 80, 96, 128]


def law(function: Callable[..., None]) -> Callable[..., None]:
    HALF_LAWS[function.__name__] = function
    return function


def epsilon(dtype: np.dtype) -> float:
    """One unit in the last place of 1."""
    return 2.0**-10 if np.dtype(dtype) == np.float16 else 2.0**-7


def rounder(dtype: np.dtype) -> Callable[[Any], np.ndarray]:
    return lambda a: np.asarray(a).astype(dtype).astype(np.float64)


def plain_attention(
    arrays: dict[str, np.ndarray], dO: np.ndarray, options: dict[str, Any], dtype: np.dtype
) -> dict[str, Any]:
    """Attention and its gradients, every result rounded to `dtype`."""
    r = rounder(dtype)
    Q, K, V = (arrays[name].astype(np.float64) for name in ("query", "key", "value"))
    B, H, Tq, D = Q.shape
    H_kv, Tk = K.shape[1:3]
    group = H // H_kv
    K, V = K.repeat(group, 1), V.repeat(group, 1)
    scale = options.get("scale", D**-0.5)
    S = r(r(Q @ K.swapaxes(-1, -2)) * scale)
    if "bias" in arrays:
        S = r(S + arrays["bias"].astype(np.float64))
    hidden = np.zeros(S.shape, bool)
    if options.get("causal"):
        hidden |= np.arange(Tk) > np.arange(Tq)[:, None] + (Tk - Tq)
    if "key_padding_mask" in options:
        hidden |= ~options["key_padding_mask"][:, None, None]
    if "bias" in options:
        hidden |= ~options["bias"]
    S = np.where(hidden, -np.inf, S)
    m = S.max(-1, keepdims=True, initial=-np.inf)
    e = r(np.exp(S - np.where(np.isfinite(m), m, 0)))
    total = r(e.sum(-1, keepdims=True))
    W = r(e / np.where(total == 0, 1, total))
    keep = dropout_mask(W, W.shape, options["dropout"], options["seed"]) if options.get("dropout") else 1.0
    P, dO = r(W * keep), dO.astype(np.float64)
    O = r(P @ V)
    dW = r(r(dO @ V.swapaxes(-1, -2)) * keep)
    dS = r(W * r(dW - r((dO * O).sum(-1, keepdims=True))))

    def gathered(a: np.ndarray) -> np.ndarray:
        return a.reshape(B, H_kv, group, *a.shape[2:]).sum(2)

    result = {"result": O, "query": r(r(dS @ K) * scale), "key": r(gathered(r(dS.swapaxes(-1, -2) @ Q)) * scale)}
    result["value"] = r(gathered(P.swapaxes(-1, -2) @ dO))
    if "bias" in arrays:
        result["bias"] = r(reference._sum_to(dS, arrays["bias"].shape))
    return result


@law
def half_attention_is_as_exact_as_the_plain_formula(kernels, dtype, draw):
    """Forward and backward, any shape, mask, bias, dropout and layout, on tensor cores where there are some."""
    rng = np.random.default_rng(draw(SEEDS))

    def one_of(values: list[int]) -> int:
        return draw(st.sampled_from(values))

    B, H_kv, group = one_of([1, 2]), one_of([1, 2]), one_of([1, 2, 3])
    Tq, Tk, D = one_of(LENGTHS), one_of(LENGTHS), one_of(HEAD_DIMS)
    Dv = D if draw(st.booleans()) else one_of(HEAD_DIMS)
    shapes = {"query": (B, H_kv * group, Tq, D), "key": (B, H_kv, Tk, D), "value": (B, H_kv, Tk, Dv)}
    arrays = {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
    options: dict[str, Any] = {"causal": draw(st.booleans())}
    if draw(st.booleans()):
        options["key_padding_mask"] = rng.random((B, Tk)) < 0.7
    shape = tuple(1 if rng.random() < 0.4 else n for n in (B, H_kv * group, Tq, Tk))[draw(st.integers(0, 4)) :]
    bias = draw(st.sampled_from(["none", "float", "bool"]))
    if bias == "bool":
        options["bias"] = np.asarray(rng.random(shape) < 0.7)
    elif bias == "float":
        arrays["bias"] = np.asarray(rng.standard_normal(shape)).astype(dtype)
    if draw(st.booleans()):
        options |= {"dropout": draw(st.sampled_from([0.1, 0.5])), "seed": draw(st.integers(0, 2**64 - 1))}
    call = Call("attention", arrays, options)
    dy = rng.standard_normal((B, H_kv * group, Tq, Dv)).astype(dtype)
    got = run(kernels, call, {name: layout(draw, a) for name, a in arrays.items()}, layout(draw, dy))
    wide, wide_dy = {name: a.astype(np.float64) for name, a in arrays.items()}, dy.astype(np.float64)
    exact = run(ORACLE, call, wide, wide_dy)
    plain = plain_attention(arrays, dy, options, dtype)
    judge(call.kernel, got, exact, plain, dtype, magnitudes(call, wide, wide_dy))


@law
def half_rows_are_as_exact_as_their_type(kernels, dtype, draw):
    """All kernels that work on rows or elements: a few units in the last place of the result's size, element by element."""
    names = sorted(set(CALLS) - {"attention", "linear", "feed_forward"})
    call = draw_call(draw, draw(st.sampled_from(names)), "medium")
    rng = np.random.default_rng(draw(SEEDS))
    arrays = {name: np.clip(a, -100, 100).astype(dtype) for name, a in call.arrays.items()}
    wide = {name: a.astype(np.float64) for name, a in arrays.items()}
    dy = np.asarray(rng.standard_normal(run(ORACLE, call, wide, None)["result"].shape)).astype(dtype)
    got = run(kernels, call, {name: layout(draw, a) for name, a in arrays.items()}, layout(draw, dy))
    exact = run(ORACLE, call, wide, dy.astype(np.float64))
    eps = epsilon(dtype)
    for name, value in exact.items():
        expect(got[name].dtype == dtype, f"{name} is {got[name].dtype}, the inputs {dtype}")
        expect(got[name].shape == value.shape, f"{name} has shape {got[name].shape}, expected {value.shape}")
        # norms' residuals and gradients of constant rows are differences of nearly equal numbers, in float32
        most = eps * (np.abs(value) + 4 * rms(value)) + 1e-4 * (1 + np.abs(value).max(initial=0)) + 1e-6
        wrong = ~(np.abs(got[name].astype(np.float64) - value) <= most) & (np.abs(value) < 6e4)
        if call.kernel == "layer_norm" and name in ("x", "weight"):
            wrong &= rms(wide["x"] - wide["x"].mean(-1, keepdims=True)) > 1e-3  # a row of equal numbers has no slope
        expect(not wrong.any(), f"{call.kernel}: {int(wrong.sum())} numbers of {name} are off by more than {eps}")


@law
def half_sums_are_rounded_to_the_nearest(kernels, dtype, draw):
    """x + residual, worked out in float32 and rounded once: the bits of NumPy's own conversion, for numbers of any size."""
    rng = np.random.default_rng(draw(SEEDS))
    x, residual = rng.integers(0, 1 << 16, (2, 4096)).astype(np.uint16).view(dtype)
    got = kernels.bias_residual_dropout(x, None, residual)[0]
    want = (x.astype(np.float32) + residual.astype(np.float32)).astype(dtype)
    same = (got.view(np.uint16) == want.view(np.uint16)) | (np.isnan(got) & np.isnan(want))
    expect(same.all(), f"{int((~same).sum())} of 4096 sums are rounded otherwise")


@law
def half_linear_is_as_exact_as_its_type(kernels, dtype, draw):
    """Products with their activation and residual: rounded to the type once after the product and once at the end."""
    products_are_as_exact(kernels, dtype, draw, "linear", ("weight",), 4)


@law
def half_feed_forward_is_as_exact_as_its_type(kernels, dtype, draw):
    """Two products: rounded to the type after each, after the activation and at the end: twice as often as in linear."""
    products_are_as_exact(kernels, dtype, draw, "feed_forward", ("weight_in", "weight_out"), 8)


def products_are_as_exact(
    kernels: Any, dtype: np.dtype, draw: Any, kernel: str, weights: tuple[str, ...], allowed: float
) -> None:
    """allowed: units in the last place of 1, for results of about that size."""
    call = draw_call(draw, kernel, "medium")
    rng = np.random.default_rng(draw(SEEDS))
    arrays = {name: rng.standard_normal(a.shape).astype(dtype) for name, a in call.arrays.items()}
    for name in weights:
        inputs = arrays[name].shape[1]
        arrays[name] = (arrays[name].astype(np.float64) / np.sqrt(inputs)).astype(dtype)
    wide = {name: a.astype(np.float64) for name, a in arrays.items()}
    dy = np.asarray(rng.standard_normal(run(ORACLE, call, wide, None)["result"].shape)).astype(dtype)
    if call.options["activation"] == "relu":
        call.options["activation"] = "silu"  # at the kink a rounding changes the slope
    got = run(kernels, call, arrays, dy)
    exact = run(ORACLE, call, wide, dy.astype(np.float64))
    expect(got.keys() == exact.keys(), f"gradients of {sorted(got)}, expected {sorted(exact)}")
    for name, value in exact.items():
        expect(got[name].dtype == dtype, f"{name} is {got[name].dtype}, the inputs {dtype}")
        error = rms(got[name].astype(np.float64) - value)
        expect(error <= allowed * epsilon(dtype) * (rms(value) + 0.5), f"{kernel}: {name} is off by {error:.3g}")


def judge(kernel: str, got: dict, exact: dict, plain: dict, dtype: np.dtype, cancelled: dict[str, float]) -> None:
    """The rule: rms error at most twice the plain formula's, and two units in the last place, or one of what cancels."""
    expect(got.keys() == exact.keys(), f"gradients of {sorted(got)}, expected {sorted(exact)}")
    for name, value in exact.items():
        expect(got[name].dtype == dtype, f"{name} is {got[name].dtype}, the inputs {dtype}")
        expect(got[name].shape == value.shape, f"{name} has shape {got[name].shape}, expected {value.shape}")
        error = rms(got[name].astype(np.float64) - value)
        fair = 2 * rms(plain[name] - value) + epsilon(dtype) * max(2 * rms(value), 0.1, cancelled.get(name, 0))
        expect(error <= fair, f"{kernel}: {name} is off by {error:.3g}; {fair:.3g} would be fair")
