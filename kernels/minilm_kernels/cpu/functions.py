"""exp, the logistic function, the normal distribution and the activations made of them, on vectors of vector.py.

A slope is the derivative of the function it stands under. Each keeps NaN visible and is right at ±∞: gelu(−∞) = 0,
gelu′(+∞) = 1. Errors are a few units in the last place, also far out on the small sides of Φ and σ.

A constant has two values here, one for vectors of float32 and one for float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

from minilm_kernels.cpu.compile import inlined
from minilm_kernels.cpu.vector import absolute, fma, maximum, minimum, splat, where_less
from minilm_kernels.cpu.vector_types import constant, multiply_add
from minilm_kernels.formulas.activations import ERFC, SQRT_HALF, C, K

LN2 = math.log(2)
DENSITY = 1 / math.sqrt(2 * math.pi)  # of the normal distribution at 0


def fit(function: Callable[[np.ndarray], np.ndarray], degree: int) -> list[float]:
    """Coefficients of the polynomial in t that meets function(t) at Chebyshev's degree + 1 points of −1 … 1."""
    n = degree + 1
    angles = 4 * np.arctan(np.longdouble(1)) * (np.arange(n) + 0.5) / n  # more than double precision where there is any
    # c_j = 2/n Σ_k f(cos θ_k) cos(j θ_k); the first counts half
    series = (np.cos(np.arange(n)[:, None] * angles) * function(np.cos(angles))).sum(axis=1) * 2 / n
    series[0] /= 2
    return [float(c) for c in np.polynomial.chebyshev.cheb2poly(series)]


def make_polynomial(single: Sequence[float], double: Sequence[float]) -> Any:
    """A function of a vector x: Σ c_k x^k. One coefficient alone makes a constant."""

    @intrinsic
    def polynomial(typingctx, x):
        coefficients = single if x.element == types.float32 else double

        def generate(context, builder, sig, args):
            y = constant(args[0].type, coefficients[-1])
            for c in reversed(coefficients[:-1]):
                y = multiply_add(builder, y, args[0], constant(args[0].type, c))
            return y

        return x(x), generate

    def plain_polynomial(x: np.ndarray) -> np.ndarray:
        *lower, highest = single if x.dtype == np.float32 else double
        y = np.full_like(x, highest)
        for c in reversed(lower):
            y = y * x + x.dtype.type(c)
        return y

    return plain_polynomial if config.DISABLE_JIT else polynomial


# --- e^x --------------------------------------------------------------------------------------------------------------

HALF = LN2 / 2
exp_polynomial = make_polynomial(
    *([c / HALF**k for k, c in enumerate(fit(lambda t: np.exp(t * HALF), degree))] for degree in (6, 12))
)
exp_lowest = make_polynomial([-127 * LN2], [-1023 * LN2])
exp_highest = make_polynomial([128 * LN2], [1024 * LN2])
# Adding 1.5·2^23 (2^52) rounds to a whole number n and leaves n in the low bits of the sum, as in exponential.py.
magic = make_polynomial([1.5 * 2.0**23], [1.5 * 2.0**52])
# ln 2 in two parts; n · high is exact for every exponent n, so that x − n ln 2 loses nothing, with or without fma
minus_ln2_high = make_polynomial([-0.693359375], [-0.6931471803691238])
minus_ln2_low = make_polynomial([2.1219444005469057e-4], [-1.9082149292705877e-10])


@intrinsic
def times_power(typingctx, y, shifted):
    """y · 2^n for the n in the low bits of `shifted`; 0 for the least exponent, ∞ for the one beyond the largest."""
    bits = y.element.bitwidth
    mantissa, bias = (23, 127) if bits == 32 else (52, 1023)

    def generate(context, builder, sig, args):
        whole = ir.VectorType(ir.IntType(bits), args[0].type.count)
        exponent = builder.shl(builder.bitcast(args[1], whole), constant(whole, mantissa))
        power = builder.bitcast(builder.add(exponent, constant(whole, bias << mantissa)), args[0].type)
        return builder.fmul(args[0], power)

    return y(y, shifted), generate


def plain_times_power(y: np.ndarray, shifted: np.ndarray) -> np.ndarray:
    bits: Any
    bits, mantissa, bias = (np.int32, 23, 127) if y.dtype == np.float32 else (np.int64, 52, 1023)
    with np.errstate(over="ignore"):
        return y * ((shifted.view(bits) << mantissa) + (bias << mantissa)).view(y.dtype)


if config.DISABLE_JIT:
    times_power = plain_times_power


@inlined
def exp_inside(x):
    """exp for arguments between exp_lowest and exp_highest, without a look at them."""
    shifted = fma(x, splat(x, 1 / LN2), magic(x))
    n = shifted - magic(x)
    r = fma(n, minus_ln2_low(x), fma(n, minus_ln2_high(x), x))
    return times_power(exp_polynomial(r), shifted)


@inlined
def exp(x):
    """e^x, to about one unit in the last place; 0 below 2^−126.5 (2^−1022.5), ∞ from 2^127.5 (2^1023.5) on.

    x = n ln 2 + r with n whole and |r| ≤ ½ ln 2, so e^x = 2^n e^r. exp2(x log₂e) would be an instruction shorter, and wrong by
    |x| units in the last place.
    """
    return exp_inside(minimum(maximum(x, exp_lowest(x)), exp_highest(x)))


# --- the logistic function --------------------------------------------------------------------------------------------

# beyond ±1000 the logistic function is exactly 0 and 1; without a limit ∞ · 0 would be NaN
FAR_SIGMOID = 1000.0


@inlined
def sigmoid(x):
    """σ(x) = 1/(1 + e^−x). A power that overflows gives 1/∞ = 0."""
    return 1.0 / (1.0 + exp(x * -1.0))


@inlined
def sigmoid_and_slope(x):
    """σ(x) and σ′(x) = σ (1 − σ) = e/(1 + e)² with e = e^−|x|: 1 − σ itself would cancel where σ is near 1."""
    e = exp(absolute(x) * -1.0)
    s = 1.0 / (1.0 + e)
    small = e * s
    return where_less(splat(x, 0.0), x, s, small), small * s


@inlined
def within(x, limit):
    """x between −limit and limit; NaN stays NaN."""
    return minimum(maximum(x, splat(x, -limit)), splat(x, limit))


@inlined
def silu(x):
    """x σ(x)."""
    return maximum(x, splat(x, -FAR_SIGMOID)) * sigmoid(x)


@inlined
def silu_slope(x):
    """σ + x σ′."""
    near = within(x, FAR_SIGMOID)
    s, ds = sigmoid_and_slope(near)
    return fma(near, ds, s)


FAR_TANH = 40.0  # here z of gelu_tanh is beyond 1000


@inlined
def gelu_tanh(x):
    """x ½ (1 + tanh(z/2)) = x σ(z) with z = 2C (x + K x³), C = √(2/π), K = 0.044715."""
    near = within(x, FAR_TANH)
    z = near * fma(near * near, splat(x, 2 * C * K), splat(x, 2 * C))
    return maximum(x, splat(x, -FAR_TANH)) * sigmoid(z)


@inlined
def gelu_tanh_slope(x):
    """σ + x σ′(z) dz/dx with dz/dx = 2C (1 + 3K x²)."""
    near = within(x, FAR_TANH)
    square = near * near
    s, ds = sigmoid_and_slope(near * fma(square, splat(x, 2 * C * K), splat(x, 2 * C)))
    return fma(near * fma(square, splat(x, 6 * C * K), splat(x, 2 * C)), ds, s)


# --- the normal distribution ------------------------------------------------------------------------------------------

# Φ(−x) = e^(−x²/2) s Q(t) for x ≥ 0, with s = 1/(x + 4) and t = a s + b, which runs from 1 to −1 as x runs from 0 to FAR.
# Beyond, Φ(−x) counts as 0: it would soon be subnormal, and processors take a hundred times as long for such numbers.
# Q is a polynomial. One division and one power make Φ.
FAR = 12.9, 37.4
NEAR = 4.0


def tail_map(far: float) -> tuple[float, float]:
    """b and a of t = b + a s."""
    most, least = 1 / NEAR, 1 / (far + NEAR)
    return -(most + least) / (most - least), 2 / (most - least)


def fit_tail(degree: int, far: float) -> list[float]:
    """Coefficients of Q(t) = (x + 4) Φ(−x) e^(x²/2), which formulas/activations.py knows with u = x/√2."""
    b, a = tail_map(far)

    def q(t: np.ndarray) -> np.ndarray:
        x = a / (t - b) - NEAR
        u = x * SQRT_HALF
        return (x + NEAR) / (2 + 4 * u) * np.polynomial.chebyshev.chebval((u - 3) / (u + 3), ERFC)

    return fit(q, degree)


far = make_polynomial(*([x] for x in FAR))
tail_argument = make_polynomial(*(tail_map(x) for x in FAR))
tail_polynomial = make_polynomial(fit_tail(9, FAR[0]), fit_tail(20, FAR[1]))


@inlined
def normal_tail(x, power):
    """Φ(−x) for 0 ≤ x ≤ FAR, given power = e^(−x²/2).    [the mapping: Shepherd & Laframboise 1981]"""
    s = 1.0 / (x + NEAR)
    return power * s * tail_polynomial(tail_argument(s))


@inlined
def gelu_erf(x):
    """x Φ(x) = max(x, 0) − |x| Φ(−|x|)."""
    near = minimum(absolute(x), far(x))
    tail = normal_tail(near, exp_inside(near * near * -0.5))
    zero = splat(x, 0.0)
    return fma(near * -1.0, where_less(far(x), absolute(x), zero, tail), maximum(x, zero))


@inlined
def gelu_erf_slope(x):
    """Φ(x) + x φ(x) with the density φ(x) = e^(−x²/2)/√(2π): g = Φ(−|x|) − |x| φ(x) for x ≤ 0, and 1 − g for x > 0."""
    near = minimum(absolute(x), far(x))
    power = exp_inside(near * near * -0.5)
    zero = splat(x, 0.0)
    g = where_less(far(x), absolute(x), zero, fma(near * -DENSITY, power, normal_tail(near, power)))
    return where_less(zero, x, 1.0 - g, g)


# --- relu -------------------------------------------------------------------------------------------------------------


@inlined
def relu(x):
    """max(x, 0)."""
    return maximum(x, splat(x, 0.0))


@inlined
def relu_slope(x):
    """1 where x > 0, else 0; NaN where x is NaN."""
    zero, one = splat(x, 0.0), splat(x, 1.0)
    return where_less(zero, x, one, where_less(x, one, zero, x))
