"""2^x on vectors: a polynomial and a shift of the exponent's bits.

x = n + f with n whole and |f| ≤ ½, so 2^x = 2^n · 2^f. 2^f is a polynomial: of degree 5 in float32, fitted below so that its
largest relative error is as small as it can be; Taylor's of degree 12 in float64. 2^n goes straight into the bits of the
exponent. Adding the number 1.5·2^23 (2^52 in float64) rounds x to n and leaves n in the low bits of the sum: no
conversion is needed. The C library's exp works on one number at a time; this takes a vector in about a dozen instructions.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import config
from numba.extending import intrinsic

from minilm_kernels.cpu import plain
from minilm_kernels.cpu.vector_types import constant, multiply_add, splat_value

LOG2E = math.log2(math.e)
LN2 = math.log(2)


def fit_exp2(degree: int) -> list[float]:
    """Coefficients c of Σ c_k f^k ≈ 2^f on [−½, ½] with nearly the least possible largest relative error, c_0 = 1.

    Least squares on Chebyshev's points, repeated with more weight where the error was large (Lawson's method). With c_0 = 1
    2^0 is exactly 1, so that a softmax which sees one key only gives it the weight 1.
    """
    f = 0.5 * np.cos(np.pi * (np.arange(800) + 0.5) / 800)
    powers = np.vander(f, degree + 1, increasing=True)[:, 1:] / 2.0 ** f[:, None]
    goal = 1 - 2.0**-f
    weight = np.ones_like(f)
    coefficients = np.linalg.lstsq(powers, goal, rcond=None)[0]
    for _ in range(40):
        error = np.abs(powers @ coefficients - goal)
        weight *= np.sqrt(error / error.max() + 1e-3)
        weight /= weight.max()
        coefficients = np.linalg.lstsq(powers * weight[:, None], goal * weight, rcond=None)[0]
    return [1.0, *(float(c) for c in coefficients)]


# Written out so that nothing is fitted at import; test_exponential.py fits them again.
FLOAT32 = [
    1.0,
    0.6931469775828404,
    0.24022242074725123,
    0.05550733766669958,
    0.009671513128151458,
    0.0013264720157681817,
]
FLOAT64 = [LN2**k / math.factorial(k) for k in range(13)]  # Taylor's is enough here: the next term is 1e-17

LOWEST32, LOWEST64 = -127.0, -1023.0  # 2^x is 0 from here on down


@intrinsic
def exp2(typingctx, v):
    """2^x in each lane, for x < 128 (1024 in float64); exactly 0 for x ≤ −127 (−1023); NaN stays NaN.

    Relative error below 2.5e-7 (float32), 3e-16 (float64).
    """

    def generate(context, builder, sig, args):
        return power_of_two(builder, args[0], constant(args[0].type, 1.0))

    return v(v), generate


@intrinsic
def exp2_of_product(typingctx, v, factor):
    """2^(factor · x) in each lane, for a number factor ≥ 1: the product is never rounded, and costs nothing beside exp2."""

    def generate(context, builder, sig, args):
        number = context.cast(builder, args[1], sig.args[1], v.element)
        return power_of_two(builder, args[0], splat_value(builder, number, args[0].type))

    return v(v, factor), generate


def power_of_two(builder: ir.IRBuilder, v: ir.Value, factor: ir.Value) -> ir.Value:
    """LLVM: 2^(factor · v)."""
    kind = v.type
    single = isinstance(kind.element, ir.FloatType)
    bits = ir.VectorType(ir.IntType(32 if single else 64), kind.count)
    lowest = builder.fdiv(constant(kind, LOWEST32 if single else LOWEST64), factor)
    magic = constant(kind, 1.5 * 2.0 ** (23 if single else 52))
    x = builder.select(builder.fcmp_unordered(">", v, lowest), v, lowest)
    shifted = multiply_add(builder, x, factor, magic)
    n = builder.fsub(shifted, magic)
    f = multiply_add(builder, x, factor, builder.fneg(n))
    coefficients = FLOAT32 if single else FLOAT64
    y = constant(kind, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        y = multiply_add(builder, y, f, constant(kind, c))
    exponent = builder.shl(builder.bitcast(shifted, bits), constant(bits, 23 if single else 52))
    exponent = builder.add(exponent, constant(bits, 0x3F800000 if single else 0x3FF0000000000000))
    return builder.fmul(y, builder.bitcast(exponent, kind))


if config.DISABLE_JIT:
    exp2, exp2_of_product = plain.exp2, plain.exp2_of_product
