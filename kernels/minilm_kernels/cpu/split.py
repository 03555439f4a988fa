"""A float32 matrix as three of bfloat16, in the order in which the matrix unit (matrix_unit.py) reads them.

    x = h + m + l,   h = bf16(x),   m = the upper 8 bits of x − h,   l = the rest        (exact: 8 + 8 + 8 bits are 24)

A panel holds 32 rows of A, or 32 columns of B. Of every 32 k it holds six tiles: two halves of 16 rows for each of h, m, l.
A tile is 16 × 16 words; a word is the pair of numbers at k and k + 16, which the unit multiplies and adds in one step:

    A tile: word[row, j] = (A[row, k + j], A[row, k + 16 + j])         B tile: word[j, column] = (B[k + j, column], …)

Where memory's neighbours are not those of the words, 16 × 16 numbers are transposed first.
"""

from __future__ import annotations

from minilm_kernels.cpu.compile import inlined, part
from minilm_kernels.cpu.packing import transpose_edge
from minilm_kernels.cpu.vector import (
    as_words,
    floats_of,
    load,
    load_first,
    prefetch_far,
    splat,
    store,
    store_first,
    where_less,
    words_at,
)

PANEL = 32  # rows of A or columns of B
K_TILE = 32  # k's of a tile
TILE_WORDS = 256
TILE_BYTES = 4 * TILE_WORDS
STEP_BYTES = 6 * TILE_BYTES  # of a panel, for K_TILE k's
AHEAD = 2  # tiles of k: how long before its use a row's part is asked for
WORDS = 16  # in a row of a tile: one vector of AVX-512, which every processor with the unit has

UPPER = 0xFFFF0000
VELTKAMP = 65537.0  # 2^16 + 1: c = x·(2^16 + 1), c − (c − x) is x rounded to its upper 8 bits


@inlined
def split(x):
    """The bits of h, m and l; in each the lower half of the word is 0, unless the number is subnormal."""
    c = x * VELTKAMP
    h = c - (c - x)
    rest = x - h
    m = as_words(rest) & UPPER
    return as_words(h), m, as_words(rest - floats_of(m))


@inlined
def store_pairs(x, y, target):
    """The words of x (k's lower half) and y (the upper), 16 of them, into the tiles of h, m and l."""
    h, m, l = split(x)
    h2, m2, l2 = split(y)
    store(target, (h >> 16) ^ (h2 & UPPER))
    store(target + 2 * TILE_WORDS, (m >> 16) ^ m2)
    store(target + 4 * TILE_WORDS, (l >> 16) ^ (l2 & UPPER))


@inlined
def larger(largest, x):
    """The larger of each lane, as bits without their sign: so ∞ and NaN are the largest."""
    bits = as_words(x) & 0x7FFFFFFF
    return where_less(largest, bits, bits, largest)


@part
def split_rows(x, step, rows, ks, target, largest):
    """A tile of A for h, m and l: up to 16 rows of up to K_TILE k's, which are neighbours.

    largest: WORDS words for each row, brought up to date with the bits of its numbers.
    """
    zero = splat(x, 0.0)
    whole = rows >= WORDS and ks >= K_TILE
    for r in range(WORDS):
        low, high = zero, zero
        prefetch_far(x + (r * step + AHEAD * K_TILE))
        prefetch_far(x + (r * step + AHEAD * K_TILE + WORDS))
        if whole:
            low, high = load(x + r * step), load(x + (r * step + WORDS))
        elif r < rows:
            low, high = load_first(x + r * step, ks), load_first(x + (r * step + WORDS), ks - WORDS)
        store(largest + r * WORDS, larger(larger(load(largest + r * WORDS), low), high))
        store_pairs(low, high, target + r * WORDS)


@part
def split_columns(x, step, columns, ks, target, largest):
    """A tile of B: up to 16 columns, which are neighbours, of up to K_TILE k's, `step` apart. largest: a word for each."""
    zero = splat(x, 0.0)
    whole = columns >= WORDS and ks >= K_TILE
    most = load(largest)
    for j in range(WORDS):
        low, high = zero, zero
        prefetch_far(x + (j + K_TILE) * step)
        prefetch_far(x + (j + K_TILE + WORDS) * step)
        if whole:
            low, high = load(x + j * step), load(x + (j + WORDS) * step)
        else:
            if j < ks:
                low = load_first(x + j * step, columns)
            if j + WORDS < ks:
                high = load_first(x + (j + WORDS) * step, columns)
        most = larger(larger(most, low), high)
        store_pairs(low, high, target + j * WORDS)
    store(largest, most)


@part
def add_columns(x, step, columns, ks, sums, add):
    """sums[c] = Σ_k x[k·step + c] for up to 16 columns c and K_TILE k's; added to what is there with `add`."""
    even, odd = splat(x, 0.0), splat(x, 0.0)  # two sums, as an addition takes longer than a load
    ks = min(ks, K_TILE)
    for k in range(0, ks - 1, 2):
        even += load_first(x + k * step, columns)
        odd += load_first(x + (k + 1) * step, columns)
    if ks % 2:
        even += load_first(x + (ks - 1) * step, columns)
    even += odd
    if add:
        even += load_first(sums, columns)
    store_first(sums, even, columns)


@part
def pack_rows(a, step, along_k, panel, M, K, target, place, turned, largest, sums, add):
    """Pack rows 32·panel … of A (M, K) as panel number `place` at an address.

    along_k: whether neighbours in memory are neighbours along k, else along m; turned: room for a tile. largest: 32 · WORDS
    words, of which the first 32 become the largest bits of each row. sums: where Σ_k A[m, k] goes, if neighbours lie along m:
    add = 0 writes it, 1 adds it to what is there, −1 leaves it.
    """
    for i in range(PANEL * WORDS):
        largest[i] = 0
    steps = -(-K // K_TILE)
    for k in range(steps):
        words = target + (place * steps + k) * STEP_BYTES
        ks = K - k * K_TILE
        for half in range(2):
            m = panel * PANEL + half * WORDS
            rows = max(0, min(WORDS, M - m))
            tile, own = words_at(words + half * TILE_BYTES), largest + half * TILE_WORDS
            if along_k:
                split_rows(a + (m * step + k * K_TILE), step, rows, ks, tile, own)
            elif rows > 0:
                at = a + (k * K_TILE * step + m)
                for r in range(K_TILE, 2 * K_TILE):
                    prefetch_far(at + r * step)
                for first in range(0, K_TILE, WORDS):
                    if first < ks:
                        transpose_edge(at + first * step, step, turned + first, K_TILE, min(WORDS, ks - first), rows)
                    else:
                        for r in range(WORDS):
                            store(turned + (r * K_TILE + first), splat(a, 0.0))
                if add >= 0:
                    add_columns(at, step, rows, ks, sums + m, add > 0 or k > 0)
                split_rows(turned, K_TILE, WORDS, K_TILE, tile, own)
    for r in range(PANEL):
        most = largest[r * WORDS]
        for j in range(1, WORDS):
            most = max(most, largest[r * WORDS + j])
        largest[r] = most


@part
def pack_columns(b, step, along_k, panel, N, K, target, turned, largest):
    """Pack columns 32·panel … of B (K, N) in the same way, among the panels of all columns; largest: 32 words."""
    for i in range(PANEL):
        largest[i] = 0
    steps = -(-K // K_TILE)
    for k in range(steps):
        words = target + (panel * steps + k) * STEP_BYTES
        ks = K - k * K_TILE
        for half in range(2):
            n = panel * PANEL + half * WORDS
            columns = max(0, min(WORDS, N - n))
            tile, own = words_at(words + half * TILE_BYTES), largest + half * WORDS
            if not along_k:
                split_columns(b + (k * K_TILE * step + n), step, columns, ks, tile, own)
            elif columns > 0:
                at = b + (n * step + k * K_TILE)
                for c in range(columns):
                    prefetch_far(at + (c * step + AHEAD * K_TILE))
                    prefetch_far(at + (c * step + AHEAD * K_TILE + WORDS))
                for first in range(0, K_TILE, WORDS):
                    transpose_edge(at + first, step, turned + first * WORDS, WORDS, columns, ks - first)
                split_columns(turned, WORDS, WORDS, K_TILE, tile, own)
