"""vector.py without a compiler: a vector is a NumPy array, a pointer an address with an element type.

Used with NUMBA_DISABLE_JIT=1, so that kernels run as ordinary Python under pdb. Results agree with the compiled kernels up to
rounding (a·b + c is rounded twice here).
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from minilm_kernels.cpu.target import lanes_of

__all__ = [
    "Pointer", "absolute", "address_of", "as_words", "bytes_at", "floats_of", "fma", "lanes", "load", "load_first", "load_like",
    "maximum", "minimum", "pointer", "pointer_at", "prefetch", "prefetch_far", "reduce_add", "reduce_max", "splat", "sqrt",
    "store", "store_first", "store_past_caches", "where_first", "where_less", "words_at",
]  # fmt: skip


class Pointer:
    """An address that knows its element type."""

    def __init__(self, address: int, dtype: np.dtype):
        self.address, self.dtype = address, dtype

    def __add__(self, i: int) -> Pointer:
        return Pointer(self.address + int(i) * self.dtype.itemsize, self.dtype)

    def view(self, n: int, start: int = 0) -> np.ndarray:
        """n elements as an array over this memory."""
        size = self.dtype.itemsize
        memory: Any = (ctypes.c_char * (n * size)).from_address(self.address + int(start) * size)
        return np.frombuffer(memory, self.dtype)

    def __getitem__(self, i: int) -> Any:
        return self.view(1, i)[0]

    def __setitem__(self, i: int, value: Any) -> None:
        self.view(1, i)[0] = value


def pointer(array: np.ndarray) -> Pointer:
    return Pointer(array.ctypes.data, array.dtype)


def pointer_at(address: int, like: Any) -> Pointer:
    return Pointer(address, like.dtype)


def address_of(p: Pointer) -> int:
    return p.address


def bytes_at(address: int) -> Pointer:
    return Pointer(address, np.dtype(np.uint8))


def words_at(address: int) -> Pointer:
    return Pointer(address, np.dtype(np.uint32))


def lanes(x: Any) -> int:
    return lanes_of(x.dtype.itemsize)


class Lanes(np.ndarray):
    """A vector. `a += b` makes a new one, as in a compiled kernel: another name for the old vector keeps it."""

    __iadd__ = np.ndarray.__add__  # type: ignore[assignment]
    __isub__ = np.ndarray.__sub__  # type: ignore[assignment]
    __imul__ = np.ndarray.__mul__  # type: ignore[assignment]
    __itruediv__ = np.ndarray.__truediv__  # type: ignore[assignment]
    __ixor__ = np.ndarray.__xor__  # type: ignore[assignment]
    __iand__ = np.ndarray.__and__  # type: ignore[assignment]


def load(p: Pointer) -> Lanes:
    return p.view(lanes(p)).copy().view(Lanes)


def load_like(p: Pointer, like: np.ndarray) -> Lanes:
    return p.view(len(like)).copy().view(Lanes)


def load_first(p: Pointer, n: int) -> Lanes:
    v = np.zeros(lanes(p), p.dtype)
    n = max(0, min(int(n), len(v)))
    v[:n] = p.view(n)
    return v.view(Lanes)


def store(p: Pointer, v: np.ndarray) -> None:
    p.view(len(v))[:] = v


store_past_caches = store


def store_first(p: Pointer, v: np.ndarray, n: int) -> None:
    n = max(0, min(int(n), len(v)))
    p.view(n)[:] = v[:n]


def prefetch(p: Pointer) -> None:
    pass


prefetch_far = prefetch


def splat(like: Any, x: Any) -> Lanes:
    return np.full(lanes(like) if isinstance(like, Pointer) else len(like), x, like.dtype).view(Lanes)


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    return a * b + c


def maximum(a: np.ndarray, b: np.ndarray) -> Lanes:
    return np.where(~(a < b), a, b).view(Lanes)


def minimum(a: np.ndarray, b: np.ndarray) -> Lanes:
    return np.where(~(a > b), a, b).view(Lanes)


def where_less(a: np.ndarray, b: np.ndarray, x: np.ndarray, y: np.ndarray) -> Lanes:
    return np.where(a < b, x, y).view(Lanes)


def where_first(n: int, x: np.ndarray, y: np.ndarray) -> Lanes:
    return np.where(np.arange(len(x)) < n, x, y).view(Lanes)


def sqrt(a: np.ndarray) -> np.ndarray:
    return np.sqrt(a)


def absolute(a: np.ndarray) -> np.ndarray:
    return np.abs(a)


def as_words(a: np.ndarray) -> Lanes:
    return a.view(np.uint32).view(Lanes)


def floats_of(words: np.ndarray) -> Lanes:
    return words.view(np.float32).view(Lanes)


def reduce_add(a: np.ndarray) -> Any:
    while len(a) > 1:
        half = len(a) // 2
        a = a[:half] + a[half:]
    return a[0]


def reduce_max(a: np.ndarray) -> Any:
    return np.fmax.reduce(a)


def exp2(v: np.ndarray) -> Lanes:
    return np.where(v <= (-127 if v.dtype == np.float32 else -1023), v.dtype.type(0), np.exp2(v)).view(Lanes)


def exp2_of_product(v: np.ndarray, factor: float) -> Lanes:
    least = v.dtype.type(-254 if v.dtype == np.float32 else -2046)  # far below what counts as 0, far above an overflow
    return exp2(np.maximum(v, least / factor) * v.dtype.type(factor))


def strided(p: Pointer, rows: int, columns: int, row: int, column: int) -> np.ndarray:
    """The matrix at p with these strides, in elements, as an array over the same memory."""
    size = p.dtype.itemsize
    if rows <= 0 or columns <= 0:
        return np.zeros((max(rows, 0), max(columns, 0)), p.dtype)
    down, right = (rows - 1) * row, (columns - 1) * column  # from the first element to the last row and column
    low = min(0, down) + min(0, right)
    flat = (p + low).view(abs(down) + abs(right) + 1)[-low:]
    return np.lib.stride_tricks.as_strided(flat, (rows, columns), (row * size, column * size))


def transpose_block(source: Pointer, source_row: int, target: Pointer, target_row: int, factor: Any) -> None:
    n = lanes(source)
    strided(target, n, n, target_row, 1)[:] = strided(source, n, n, source_row, 1).T * factor
