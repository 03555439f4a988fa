"""What must hold for every kernel with a derivative, whatever its backend. A law is `law(kernels, name, draw)`.

On rounding: errors against float64 are measured in units of what the plain formula errs in the same dtype, or of what
rounding the inputs alone does, whichever is larger (on a few numbers either may be exact by luck). Single examples
fluctuate, so the law here allows WIDE times that, which no bug fits into; test_kernel_accuracy.py holds the kernels to
FlashAttention's rule, twice the error of the plain formula, on larger arrays and several of them together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from properties.gradcheck import LARGE, SEEDS, expect
from properties.kernel_cases import Call, draw_call, layout, run

from minilm_kernels import reference

LAWS: dict[str, Callable[..., None]] = {}


class Oracle:
    """The reference as a backend: its functions take and give raw residuals."""

    def __getattr__(self, name: str) -> Any:
        return getattr(reference, name)


ORACLE = Oracle()


def law(function: Callable[..., None]) -> Callable[..., None]:
    LAWS[function.__name__] = function
    return function


def rms(a: Any) -> float:
    a = np.asarray(a, np.float64)
    return float(np.sqrt((a * a).mean())) if a.size else 0.0


WIDE = 8.0


def allowed(plain: list[np.ndarray]) -> float:
    """WIDE times the rms of the largest of some plain errors (arrays), and as much again where one number outweighs all.

    The rms of n independent errors fluctuates by 1/√(2n) of itself. Here n is how many errors count, (Σ e²)²/Σ e⁴.
    """
    squares = [np.asarray(e, np.float64) ** 2 for e in plain]
    largest = max(squares, key=lambda e: float(e.sum()))
    largest = largest / max(float(largest.max(initial=0)), 1e-300)
    n = max(1.0, float(largest.sum()) ** 2 / max(float((largest**2).sum()), 1e-300))
    return WIDE * (1 + 1 / (2 * n) ** 0.5) * max(rms(e) for e in plain)


def size_of(kernels: Any) -> str:
    return getattr(kernels, "size", "tiles")


def magnitudes(call: Call, arrays: dict[str, np.ndarray], dy: np.ndarray) -> dict[str, float]:
    """How large the terms are that cancel in a gradient, where they cancel completely: dS of a single key is dW − dW."""
    if call.kernel == "attention":
        Q, K, V = (arrays[name] for name in ("query", "key", "value"))
        groups = Q.shape[1] // K.shape[1]
        terms = np.abs(dy) @ np.abs(V.repeat(groups, 1)).swapaxes(-1, -2)
        dS = rms(terms.max(-1, initial=0)) / (1 - call.options.get("dropout", 0))
        scale = call.options.get("scale", Q.shape[-1] ** -0.5)
        shared = max(1, Q.shape[2] * groups) / max(1, K.shape[2])
        result = {"query": scale * dS * rms(K), "key": scale * dS * rms(Q) * shared**0.5}
        if "bias" in arrays:
            scores = Q.shape[0] * Q.shape[1] * Q.shape[2] * K.shape[2]
            result["bias"] = dS * (scores / max(1, arrays["bias"].size)) ** 0.5
        return result
    if call.kernel.endswith("_norm"):
        x = arrays["x"]
        centred = x - x.mean(-1, keepdims=True) if call.kernel == "layer_norm" else x
        rstd = ((centred**2).mean(-1) + call.options["eps"]) ** -0.5
        steep, g = float(rstd.max(initial=0)), arrays.get("weight", np.ones(1))
        cancelled = rms(x) * steep if call.kernel == "layer_norm" else 1.0  # of x − μ, in units of x̂
        return {
            "result": cancelled * rms(g),
            "x": rms(dy * g) * steep * (1 + cancelled),
            "weight": rms(dy) * cancelled * (x.size / x.shape[-1]) ** 0.5,
        }
    if call.kernel == "softmax_cross_entropy":
        return {"logits": float(np.abs(dy).max(initial=0)) / (dy.size if dy.ndim else 1)}
    return {}


def compare(kernels: Any, call: Call, dtype: Any, seed: int, arrange: Callable = lambda a: a) -> None:
    """Forward and backward in `dtype` against the reference in float64, by the rule above; `arrange` lays out each array."""
    arrays = {name: a.astype(dtype) for name, a in call.arrays.items()}
    exact_arrays = {name: a.astype(np.float64) for name, a in arrays.items()}
    rng = np.random.default_rng(seed)
    shape = run(ORACLE, call, exact_arrays, None)["result"].shape
    dy = np.asarray(rng.standard_normal(shape)).astype(dtype)
    exact_dy = dy.astype(np.float64)
    eps = float(np.finfo(dtype).eps)

    def rounded(a: np.ndarray) -> np.ndarray:
        return a * (1 + eps * rng.uniform(-1, 1, a.shape))

    given = {name: arrange(a) for name, a in arrays.items()}
    given_dy = arrange(dy)
    got = run(kernels, call, given, given_dy)
    for name, a in [*given.items(), ("the cotangent", given_dy)]:
        expect(np.array_equal(a, arrays.get(name, dy), equal_nan=True), f"{name} was written to")
    exact = run(ORACLE, call, exact_arrays, exact_dy)
    moved = [
        run(ORACLE, call, {name: rounded(a) for name, a in exact_arrays.items()}, rounded(exact_dy))
        for _ in range(3 if dy.size > 100 else 8)
    ]
    formulas = [
        run(ORACLE, call, arrays, dy),
        run(ORACLE, call, given, given_dy),
    ]  # the layout decides the order of a sum
    expect(got.keys() == exact.keys(), f"gradients of {sorted(got)}, expected {sorted(exact)}")
    sizes = magnitudes(call, exact_arrays, exact_dy)
    for name, value in exact.items():
        expect(got[name].dtype == dtype, f"{name} is {got[name].dtype}, the inputs {np.dtype(dtype)}")
        expect(got[name].shape == value.shape, f"{name} has shape {got[name].shape}, expected {value.shape}")
        expect(np.isfinite(got[name]).all() or not np.isfinite(value).all(), f"{name} is not finite")
        error = rms(got[name] - value)
        fair = allowed([other[name] - value for other in (*formulas, *moved)])
        units = 2 if dtype == np.float32 else 8  # in float64 the oracle rounds as well
        fair += units * eps * max(rms(value), sizes.get(name, 0)) + float(np.finfo(dtype).tiny)
        expect(error <= fair, f"{call.kernel}: {name} is off by {error:.3g}; {fair:.3g} would be fair")


@law
def equals_the_formula(kernels, name, draw):
    """float32 and float64, any shapes, values, masks and memory layouts; inputs are not written to."""
    call = draw_call(draw, name, size_of(kernels))
    dtype = draw(st.sampled_from([np.float32, np.float32, np.float64]))
    compare(kernels, call, dtype, draw(SEEDS), lambda a: layout(draw, a))


@law
def gradient_is_the_derivative(kernels, name, draw):
    """Each cotangent against central differences of the reference's forward function, contracted with a random cotangent."""
    call = draw_call(draw, name, "small")
    rng = np.random.default_rng(draw(SEEDS))
    arrays = {key: a.copy() for key, a in call.arrays.items()}
    if call.options.get("activation") == "relu":  # away from the kink
        for key in {"x", "weight", "weight_in"} & arrays.keys():
            arrays[key] = np.abs(arrays[key]) + 0.1
        for key in {"bias", "bias_in"} & arrays.keys():
            arrays[key] = np.abs(arrays[key])
    if name == "layer_norm" and arrays["x"].shape[-1] < 3:  # one or two features: the slope lives in ε alone
        arrays["x"] *= 1e-2
    dy = np.asarray(rng.standard_normal(run(ORACLE, call, arrays, None)["result"].shape))
    got = run(kernels, call, arrays, dy)
    step = 1e-6 * (1e-2 if name == "layer_norm" else 1)

    def loss() -> float:
        return float(np.vdot(dy, run(ORACLE, call, arrays, None)["result"]))

    for key, gradient in got.items():
        if key == "result":
            continue
        array = arrays[key]
        if array.size <= LARGE:
            places = [tuple(i) for i in np.argwhere(np.isfinite(array))]
        else:
            places = [tuple(rng.integers(0, n) for n in array.shape) for _ in range(24)]
        for i in places:
            saved, sides = array[i], []
            if not np.isfinite(saved):
                continue
            for sign in (1, -1):
                array[i] = saved + sign * step
                sides.append(loss())
            array[i] = saved
            numeric = (sides[0] - sides[1]) / (2 * step)
            tolerance = 1e-5 * max(1, abs(numeric)) + 1e-9 * (1 + abs(sides[0])) * (1e-6 / step)
            expect(
                abs(gradient[i] - numeric) <= tolerance,
                f"{name}: the gradient of {key}[{i}] is {gradient[i]}, central differences say {numeric}",
            )


@law
def runs_repeat_in_bits(kernels, name, draw):
    """The same call gives the same bits again, also with another number of threads."""
    call = draw_call(draw, name, size_of(kernels))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    arrays = {key: a.astype(dtype) for key, a in call.arrays.items()}
    shape = run(ORACLE, call, arrays, None)["result"].shape
    dy = np.asarray(np.random.default_rng(draw(SEEDS)).standard_normal(shape)).astype(dtype)
    first = run(kernels, call, arrays, dy)
    threads = getattr(kernels, "threads", None)
    for count in threads.counts if threads else (None,):
        if threads:
            threads.set(count)
        try:
            again = run(kernels, call, arrays, dy)
        finally:
            if threads:
                threads.restore()
        for key, value in first.items():
            expect(
                np.array_equal(value, again[key], equal_nan=True), f"{key} differs with {count or 'the same'} threads"
            )


@law
def a_nan_stays_visible(kernels, name, draw):
    """A NaN in an input makes NaN what the formula makes NaN, where nothing is masked; the rest stays finite."""
    call = draw_call(draw, name, size_of(kernels))
    masks = {"key_padding_mask", "bias", "dropout", "seed", "causal", "ignore_index"}
    call = Call(name, dict(call.arrays), {k: v for k, v in call.options.items() if k not in masks})
    if name == "attention":
        call.arrays.pop("bias", None)
    if "targets" in call.options:
        call.options["targets"] = np.maximum(call.options["targets"], 0)
    rng = np.random.default_rng(draw(SEEDS))
    arrays = {key: a.astype(np.float32) for key, a in call.arrays.items()}
    struck = arrays[draw(st.sampled_from(sorted(arrays)))]
    struck[tuple(rng.integers(0, n) for n in struck.shape)] = np.nan
    shape = run(ORACLE, call, arrays, None)["result"].shape
    dy = np.asarray(rng.standard_normal(shape)).astype(np.float32)
    got, want = run(kernels, call, arrays, dy), run(ORACLE, call, arrays, dy)
    for key, value in want.items():
        lost = np.isnan(value) & ~np.isnan(got[key])
        expect(not lost.any(), f"{key}: {int(lost.sum())} NaN of the formula's {int(np.isnan(value).sum())} were lost")
    spread = np.isnan(got["result"]) & ~np.isnan(want["result"])
    expect(not spread.any(), "a NaN reached results that do not depend on it")


@law
def a_nan_in_the_cotangent_stays_visible(kernels, name, draw):
    """The same for a NaN in dy."""
    call = draw_call(draw, name, size_of(kernels))
    for option in ("dropout", "seed", "key_padding_mask", "causal"):
        call.options.pop(option, None)
    if name == "attention":
        call.arrays.pop("bias", None)
        call.options.pop("bias", None)
    rng = np.random.default_rng(draw(SEEDS))
    arrays = {key: a.astype(np.float32) for key, a in call.arrays.items()}
    dy = np.asarray(rng.standard_normal(run(ORACLE, call, arrays, None)["result"].shape)).astype(np.float32)
    dy[tuple(rng.integers(0, n) for n in dy.shape)] = np.nan
    got, want = run(kernels, call, arrays, dy), run(ORACLE, call, arrays, dy)
    for key, value in want.items():
        expect(not (np.isnan(value) & ~np.isnan(got[key])).any(), f"{key}: a NaN of the cotangent was lost")
