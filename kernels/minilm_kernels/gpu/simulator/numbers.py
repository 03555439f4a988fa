"""Arithmetic that NumPy lacks: bfloat16, directed rounding, subnormals flushed to zero, the fused multiply-add.

Everything here is on arrays. "Exact" below means: computed in float64 and rounded once to the narrower format.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm_kernels.gpu.simulator.types import PtxType

Array = Any

TINY = {2: np.float16(2**-14), 4: np.float32(2**-126), 8: np.float64(2**-1022)}  # the smallest normal number
SPLITTER = 2.0**27 + 1  # Veltkamp's: cuts a float64 into two halves of 26 bits


# --- bfloat16: the upper half of a float32 ----------------------------------------------------------------------------


def from_bfloat16(bits: Array) -> Array:
    """16 bits → float32; exact."""
    return np.asarray(np.asarray(bits).astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_bfloat16(x: Array, mode: str = "rn") -> Array:
    """float32 → 16 bits, to nearest even (rn) or towards zero (rz). Every NaN becomes 0x7fff."""
    x = np.asarray(x, np.float32)
    bits = x.view(np.uint32)
    upper = bits >> np.uint32(16)
    if mode == "rn":
        upper = (bits + np.uint32(0x7FFF) + (upper & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(x), np.uint16(0x7FFF), upper.astype(np.uint16))


def to_odd(x: Array) -> Array:
    """float64 → float32 that keeps, in its last bit, whether something was cut off: a second rounding is then harmless."""
    x = np.asarray(x, np.float64)
    r = x.astype(np.float32)
    r = np.where((np.abs(r) > np.abs(x)) & np.isfinite(x), np.nextafter(r, np.float32(0)), r)
    inexact = (r != x) & np.isfinite(x)
    return (r.view(np.uint32) | inexact.astype(np.uint32)).view(np.float32)


# --- packed pairs -----------------------------------------------------------------------------------------------------


def halves(word: Array) -> tuple[Array, Array]:
    """32 bits → the lower and the upper 16."""
    return np.asarray(word).astype(np.uint16), np.asarray(np.asarray(word) >> np.uint32(16)).astype(np.uint16)


def join(low: Array, high: Array) -> Array:
    """Two values of 16 bits → 32 bits."""
    low, high = np.asarray(low).view(np.uint16), np.asarray(high).view(np.uint16)
    return low.astype(np.uint32) | high.astype(np.uint32) << np.uint32(16)


# --- rounding ---------------------------------------------------------------------------------------------------------


def flush(x: Array) -> Array:
    """.ftz: a subnormal number becomes a zero of its sign."""
    return np.where(np.abs(x) < TINY[x.dtype.itemsize], np.copysign(x.dtype.type(0), x), x)


def round_to(x: Array, kind: PtxType, mode: str) -> Array:
    """float64 → kind: to nearest even (rn), towards zero (rz), −∞ (rm) or +∞ (rp)."""
    if kind.name == "bf16":
        if mode in ("rn", "rz"):
            return to_bfloat16(to_odd(x), mode)
        raise NotImplementedError(f"bf16 rounds with .rn and .rz only, not .{mode}")
    x = np.asarray(x, np.float64)
    r = x.astype(kind.dtype)
    if mode == "rn" or kind.bits == 64:
        return r
    up, down = np.array(np.inf, kind.dtype), np.array(-np.inf, kind.dtype)
    too_high, too_low = r > x, r < x
    if mode == "rz":
        too_high, too_low = too_high & (x > 0), too_low & (x < 0)
    if mode in ("rm", "rz"):
        r = np.where(too_high, np.nextafter(r, down), r)
    if mode in ("rp", "rz"):
        r = np.where(too_low, np.nextafter(r, up), r)
    return r


def saturate(x: Array) -> Array:
    """.sat of floats: into [0, 1]; NaN becomes 0."""
    return np.where(x > 0, np.minimum(x, x.dtype.type(1)), x.dtype.type(0))


# --- the fused multiply-add -------------------------------------------------------------------------------------------


def fma32(a: Array, b: Array, c: Array) -> Array:
    """a b + c of float32 through float64: the product is exact, the sum is rounded to 53 bits and then to 24.

    The two roundings differ from one only where the 53-bit sum is inexact and lies exactly between two float32
    numbers: about one in 2²⁹ sums of random numbers, then by one unit in the last place.
    """
    s = np.multiply(a, b, dtype=np.float64)
    return (s + c).astype(np.float32)


def fma64(a: Array, b: Array, c: Array) -> Array:
    """a b + c of float64 with the product's and the sum's errors kept (Dekker 1971, Knuth's two-sum).

    Equal to the fused result except for rare last bits, and where a or b exceeds 2⁹⁹⁶ or the product is subnormal.
    """
    p = a * b
    a1 = a * SPLITTER
    a1 = a1 - (a1 - a)
    b1 = b * SPLITTER
    b1 = b1 - (b1 - b)
    a2, b2 = a - a1, b - b1
    e = ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2  # p + e = a b
    s = p + c
    v = s - p
    t = (p - (s - v)) + (c - v)  # s + t = p + c
    r = s + (t + e)
    return np.where(np.isfinite(r), r, s)
