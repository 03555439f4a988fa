"""The counter-based generator: known values, uniformity, and no visible relation between rows, columns and seeds."""

from __future__ import annotations

import numpy as np
import pytest

from minilm_kernels.random import draws, dropout_mask, kept_scale, row_keys, threshold

GOLDEN = 0x9E3779B97F4A7C15
M64, M32 = (1 << 64) - 1, (1 << 32) - 1


def splitmix64(x):
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & M64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & M64
    return x ^ (x >> 31)


def one_draw(seed, r, j):
    """The specification again, in Python's integers."""
    word = splitmix64((seed + (r + 1) * GOLDEN) & M64)
    z = (j * 0x9E3779B9 + (word & M32)) & M32
    z ^= z >> 16
    z = z * 0x7FEB352D & M32
    z ^= z >> 15
    z = (z + (word >> 32)) & M32
    z = z * 0x846CA68B & M32
    return z ^ (z >> 16)


def test_row_keys_are_splitmix64():
    """Its published first outputs for the seed 1234567."""
    k0, k1 = row_keys(1234567, np.arange(5))
    words = [(int(high) << 32) | int(low) for low, high in zip(k0, k1)]
    assert words == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1])
def test_draws_in_integers(seed):
    rows = np.array([0, 1, 7, 2**31, 2**40])
    got = draws(seed, rows, 9)
    assert got.dtype == np.uint32
    assert got.tolist() == [[one_draw(seed, int(r), j) for j in range(9)] for r in rows]


def test_known_values():
    """These numbers must never change: checkpoints of runs that go on rely on them."""
    assert draws(42, np.array([3]), 4).tolist() == [[3919146019, 3528567073, 1379693638, 1212273113]]


def chi_square(counts, expected):
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("seed", [0, 1, 20240229, 2**64 - 1])
def test_uniform_in_every_byte(seed):
    """χ² with 255 degrees of freedom has mean 255 and deviation 22.6; six deviations are allowed."""
    z = draws(seed, np.arange(300), 300).ravel()
    for shift in (0, 8, 16, 24):
        counts = np.bincount((z >> np.uint32(shift)) & np.uint32(255), minlength=256)
        assert abs(chi_square(counts, z.size / 256) - 255) < 6 * 22.6


@pytest.mark.parametrize("seed", [0, 7])
def test_bits_do_not_know_their_neighbours(seed):
    """Rows, columns, both diagonals, and the next seed: each of 32 bits agrees with that of a neighbour half the time."""
    z, other = draws(seed, np.arange(400), 400), draws(seed + 1, np.arange(400), 400)
    pairs = {
        "rows": (z[1:], z[:-1]), "columns": (z[:, 1:], z[:, :-1]), "diagonal": (z[1:, 1:], z[:-1, :-1]),
        "antidiagonal": (z[1:, :-1], z[:-1, 1:]), "seeds": (z, other), "far columns": (z[:, 256:], z[:, :-256]),
        "transpose": (z, z.T),
    }  # fmt: skip
    for name, (a, b) in pairs.items():
        differing = a ^ b
        for bit in range(32):
            share = ((differing >> np.uint32(bit)) & np.uint32(1)).mean()
            deviation = 0.5 / np.sqrt(a.size / (2 if name == "transpose" else 1))
            assert abs(share - 0.5) < 6 * deviation + (0.5 / 400 if name == "transpose" else 0), (name, bit)


def test_rows_and_columns_keep_their_share():
    """In a mask with dropout 0.1 the number dropped in a row, and in a column, is binomial; also jointly in 2 × 2 blocks."""
    n, p = 1000, 0.1
    dropped = dropout_mask(np.zeros(1), (n, n), p, 5) == 0
    deviation = np.sqrt(n * p * (1 - p))
    for axis in (0, 1):
        counts = dropped.sum(axis=axis)
        assert np.abs(counts - n * p).max() < 5 * deviation
        assert abs(counts.var() / (n * p * (1 - p)) - 1) < 6 * np.sqrt(2 / n)
    blocks = dropped.reshape(n // 2, 2, n // 2, 2).sum(axis=(1, 3)).ravel()
    expected = np.array([(1 - p) ** 4, 4 * p * (1 - p) ** 3, 6 * p**2 * (1 - p) ** 2, 4 * p**3 * (1 - p), p**4])
    assert chi_square(np.bincount(blocks, minlength=5), expected * blocks.size) < 30


@pytest.mark.parametrize("p", [0.0, 1e-3, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_mask(p, dtype):
    mask = dropout_mask(np.zeros(1, dtype), (3, 200, 200), p, 11)
    assert mask.dtype == dtype
    assert mask.shape == (3, 200, 200)
    assert set(np.unique(mask)) <= {0, dtype(kept_scale(p))}
    share = (mask == 0).mean()
    assert abs(share - p) <= 5 * np.sqrt(p * (1 - p) / mask.size)
    if p < 1:
        assert abs(mask.mean() - 1) < 0.05


def test_the_last_axis_is_the_column():
    """(2, 3, 5) is six rows of five."""
    flat = dropout_mask(np.zeros(1), (6, 5), 0.5, 3)
    np.testing.assert_array_equal(dropout_mask(np.zeros(1), (2, 3, 5), 0.5, 3), flat.reshape(2, 3, 5))
    assert dropout_mask(np.zeros(1), (5,), 0.5, 3).tolist() == flat[0].tolist()
    assert dropout_mask(np.zeros(1), (0, 5), 0.5, 3).shape == (0, 5)


def test_threshold():
    assert threshold(0.0) == 0
    assert threshold(0.5) == 1 << 23
    assert threshold(1.0) == 1 << 24
    assert kept_scale(1.0) == 0
