"""Random numbers that are computed, not stored: element (r, j) of a dropout mask depends on the seed, r and j alone.

A kernel that meets the same element again, in the backward pass or in another thread, draws the same number again. So no mask
is kept, and every backend gives the same one. This NumPy version is the specification.    [Salmon et al. 2011]
"""

from __future__ import annotations

import math
from typing import Any

from minilm_kernels.namespace import array_namespace

Array = Any

GOLDEN = 0x9E3779B97F4A7C15  # 2⁶⁴/φ: the step of splitmix64
BITS = 24  # of each 32-bit draw the upper 24 decide, as many as a float32 holds exactly


def row_keys(seed: int, rows: Array) -> tuple[Array, Array]:
    """The two key words of each row: the low and the high half of splitmix64's output number r.    [Steele et al. 2014]

    x = seed + (r + 1)·GOLDEN;  x ^= x ≫ 30;  x *= 0xBF58476D1CE4E5B9;  x ^= x ≫ 27;  x *= 0x94D049BB133111EB;  x ^= x ≫ 31,
    all mod 2⁶⁴.

    seed: 0 ≤ seed < 2⁶⁴; rows: (n,) row numbers r.  Returns k₀ and k₁, each (n,) uint32.
    """
    xp = array_namespace(rows)
    uint64 = xp.uint64
    x = xp.atleast_1d(rows).astype(uint64) + uint64(1)
    x *= uint64(GOLDEN)
    x += uint64(seed)
    x ^= x >> uint64(30)
    x *= uint64(0xBF58476D1CE4E5B9)
    x ^= x >> uint64(27)
    x *= uint64(0x94D049BB133111EB)
    x ^= x >> uint64(31)
    return x.astype(xp.uint32), (x >> uint64(32)).astype(xp.uint32)


def draws(seed: int, rows: Array, columns: int) -> Array:
    """One 32-bit number for each element (r, j): two rounds of multiply and xor-shift, with a key word before each.

    z = j·0x9E3779B9 + k₀;  z ^= z ≫ 16;  z *= 0x7FEB352D;  z ^= z ≫ 15;  z += k₁;  z *= 0x846CA68B;  z ^= z ≫ 16,
    all mod 2³².

    rows: (n,) row numbers; columns: how many numbers a row has.  Returns (n, columns) uint32.
    """
    xp = array_namespace(rows)
    uint32 = xp.uint32
    k0, k1 = (k[:, None] for k in row_keys(seed, rows))
    z = xp.arange(columns, dtype=uint32) * uint32(0x9E3779B9) + k0
    z ^= z >> uint32(16)
    z *= uint32(0x7FEB352D)
    z ^= z >> uint32(15)
    z += k1
    z *= uint32(0x846CA68B)
    z ^= z >> uint32(16)
    return z


def threshold(dropout: float) -> int:
    """An element stays if the upper 24 bits of its draw are at least this: round(dropout · 2²⁴)."""
    return round(dropout * (1 << BITS))


def kept_scale(dropout: float) -> float:
    """What an element that stays is multiplied with, so that the mean stays: 1/(1 − dropout); 0 if none stays."""
    return 1 / (1 - dropout) if dropout < 1 else 0.0


def dropout_mask(like: Array, shape: tuple[int, ...], dropout: float, seed: int) -> Array:
    """0 where an element is dropped, 1/(1 − dropout) where it stays: an array of `shape` in the dtype (and home) of `like`.

    The last axis holds the columns j; the axes before it, flattened, the rows r.
    """
    xp = array_namespace(like)
    drawn = draws(seed, xp.arange(math.prod(shape[:-1])), shape[-1]) >> xp.uint32(32 - BITS)
    kept = (drawn >= xp.uint32(threshold(dropout))).reshape(shape)
    return kept * like.dtype.type(kept_scale(dropout))
