"""The ladder: attention and the matrix product, from the naive loop to the fastest, one idea per rung.

    from minilm_kernels.ladder import ATTENTION, PRODUCT
    for rung in ATTENTION:
        print(rung.number, rung.title, rung.traffic((1, 12, 1024, 64)))
    output = ATTENTION[4].function(query, key, value, causal=True)

Each rung is a file of at most 120 lines that is read from top to bottom: its idea, the memory traffic the idea removes,
how it compares with the rung before. All rungs of a ladder take and give the same (contiguous float32 arrays):

    attention(query, key, value, causal=False) -> output                                   (B, H, T, D)
    attention_backward(grad_output, query, key, value, output, log_sum_exp, causal=False) -> (dQ, dK, dV)
    matmul(a, b) -> c                                                                       (M, K) (K, N) → (M, N)
    layer(a, b, bias, residual) -> gelu(a b + bias) + residual

Bytes. `traffic` counts what a rung reads and writes in arrays, given what it keeps near by itself: numbers in local
variables, a row or a tile in its own scratch memory. What a cache happens to hold besides is not counted, so a rung may be
faster than the memory's bandwidth would let it be. `extra_bytes` is memory beyond inputs and outputs.
Operations. Multiplications and additions of the products alone, dense; the softmax is not counted.

Files are imported, and Numba with them, when a rung is first used. `minilm bench ladder` times all of them.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Rung:
    """One rung: where it is, what it is called, and what it costs."""

    number: str  # "7"; the partner that a rung is compared with has a letter after the number
    title: str
    idea: str  # one line
    module: str  # below minilm_kernels.ladder
    call: str  # the name of its function
    operations: int  # per B·H·T²·D of attention, per M·N·K of a product
    threads: bool = False  # whether it uses all threads
    numba: bool = True

    def load(self) -> ModuleType:
        """The rung's module; ModuleNotFoundError where it needs Numba and there is none."""
        return importlib.import_module(f"{__name__}.{self.module}")

    @property
    def name(self) -> str:
        """The module's own name: rung7_vectors."""
        return self.module.partition(".")[2]

    @property
    def function(self) -> Callable[..., Any]:
        """What the rung computes with: see the signatures above."""
        return getattr(self.load(), self.call)

    def flops(self, shape: tuple[int, ...]) -> int:
        """Multiplications and additions for a shape: (B, H, T, D), where B·H·T²·D, or (M, N, K), where M·N·K count."""
        T = shape[2] if len(shape) == 4 else 1
        return self.operations * math.prod(shape) * T

    def traffic(self, shape: tuple[int, ...]) -> int:
        """Bytes read and written in arrays beyond what the rung keeps near."""
        return self.load().traffic(shape)

    def extra_bytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of memory beyond inputs and outputs."""
        return self.load().extra_bytes(shape)


def _attention(number: str, title: str, idea: str, module: str, call: str = "attention", **facts: Any) -> Rung:
    return Rung(number, title, idea, f"attention.{module}", call, 4 if call == "attention" else 10, **facts)


def _product(number: str, title: str, idea: str, module: str, call: str = "matmul", **facts: Any) -> Rung:
    return Rung(number, title, idea, f"product.{module}", call, 2, **facts)


ATTENTION = (
    _attention("1", "Python loops", "the formula, number by number", "rung1_python_loops", numba=False),
    _attention("2", "NumPy", "the formula on whole arrays, compiled loops", "rung2_numpy", numba=False),
    _attention("3", "Numba loops", "the loops of rung 1, compiled", "rung3_numba_loops"),
    _attention("4", "fused rows", "finish a query before the next: no score matrix", "rung4_fused_rows"),
    _attention("5", "tiles", "64 queries share each key; online softmax", "rung5_tiles"),
    _attention("6", "exp2", "the exponential as a polynomial on vectors", "rung6_exp2"),
    _attention("7", "vectors", "explicit vectors, sums stay in registers", "rung7_vectors"),
    _attention("8", "threads", "a tile of queries is a task", "rung8_threads", threads=True),
    _attention(
        "9a",
        "NumPy backward",
        "the formulas on whole arrays",
        "rung9_numpy_backward",
        "attention_backward",
        numba=False,
    ),
    _attention(
        "9",
        "backward",
        "weights are computed again, tile by tile",
        "rung9_backward",
        "attention_backward",
        threads=True,
    ),
)

PRODUCT = (
    _product("1", "loops", "the definition, compiled", "rung1_loops"),
    _product("2", "blocks", "blocks that fit the cache", "rung2_blocks"),
    _product("3", "packed panels", "copy blocks into the order of reading", "rung3_packed_panels"),
    _product("4", "register tile", "sums stay in registers", "rung4_register_tile"),
    _product("5", "threads", "a block of rows is a task", "rung5_threads", threads=True),
    _product(
        "6a", "three passes", "then bias, GELU, residual, one by one", "rung6_three_passes", "layer", threads=True
    ),
    _product(
        "6", "fused end", "bias, GELU, residual before a tile is stored", "rung6_fused_end", "layer", threads=True
    ),
)
