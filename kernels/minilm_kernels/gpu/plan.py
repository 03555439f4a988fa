"""How a kernel is launched: pure Python, from shapes, dtype and compute capability to blocks, tiles and shared memory.

A tile must fit into the shared memory that one block may have, which differs by a factor of four between architectures. So
the tiles of a kernel stand in a list, the best first, and the first that fits is taken. Nothing here needs a device.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

KIB = 1024


remembered = functools.lru_cache(4096)  # a training has the same shapes in every step


class Limits(NamedTuple):
    """What one block may have on an architecture, and how much shared memory all blocks of a multiprocessor have together."""

    block_shared: int  # bytes, when a kernel asks for it (48 KiB without asking)
    processor_shared: int
    threads: int = 1024
    registers: int = 65536
    thread_registers: int = 255


# by compute capability, as 10 · major + minor    [CUDA C++ Programming Guide, technical specifications]
LIMITS = {
    75: Limits(64 * KIB, 64 * KIB),  # Turing
    80: Limits(163 * KIB, 164 * KIB),  # Ampere, A100
    86: Limits(99 * KIB, 100 * KIB),  # Ampere, RTX 30
    87: Limits(163 * KIB, 164 * KIB),  # Ampere, Orin
    89: Limits(99 * KIB, 100 * KIB),  # Ada
    90: Limits(227 * KIB, 228 * KIB),  # Hopper
    100: Limits(227 * KIB, 228 * KIB),  # Blackwell, B200
    103: Limits(227 * KIB, 228 * KIB),  # Blackwell, B300
    120: Limits(99 * KIB, 100 * KIB),  # Blackwell, RTX 50
    121: Limits(99 * KIB, 100 * KIB),  # Blackwell, GB10
}
ASKED_ABOVE = 48 * KIB  # a kernel that wants more shared memory must set an attribute
MOST_BLOCKS = 2**31 - 1  # along x: all grids here are lines

HEAD_DIMS = (16, 32, 64, 96, 128)  # a head's features are filled up with zeros to one of these
THREADS = 256
ROW = 4  # numbers behind each row of a tile: rows then begin in different banks, still on 16 bytes
HALF_ROW = 8  # the same for tiles of 16-bit numbers
SIZES = {"float": 4, "double": 8, "f16": 2, "bf16": 2}


class Plan(NamedTuple):
    """One launch: a template's arguments, blocks and threads in a line, bytes of shared memory."""

    kernel: str
    arguments: tuple[Any, ...]
    blocks: int
    threads: int = THREADS
    shared: int = 0

    @property
    def expression(self) -> str:
        """The kernel's name in C++: attention_forward<float, 64, 64, 32>."""
        return f"{self.kernel}<{', '.join(map(str, self.arguments))}>"


def limits(capability: int) -> Limits:
    """Those of the newest architecture in the table that is not newer. Raises ValueError for one that is too old."""
    known = [number for number in LIMITS if number <= capability]
    if not known:
        raise ValueError(
            f"the GPU has compute capability {capability / 10}; minilm's kernels need 7.5 (Turing, 2018) or newer: "
            f"use_kernels('reference') computes with CuPy's own"
        )
    # a newer one of an unknown family gets what all of them have
    return LIMITS[capability] if capability in LIMITS else LIMITS[max(known)]._replace(block_shared=64 * KIB)


def head_dim(widest: int) -> int | None:
    """The template's head_dim for `widest` features, or None if there are too many."""
    return next((size for size in HEAD_DIMS if widest <= size), None)


def has_tensor_cores(dtype: str, capability: int) -> bool:
    """Whether attention in this dtype runs on tensor cores: float16 from Turing on, bfloat16 from Ampere on."""
    return (dtype == "f16" and capability >= 75) or (dtype == "bf16" and capability >= 80)


# --- attention on CUDA cores: tiles of queries (BM) and keys (BN), the best first --------------------------------------

TILES = ((64, 64), (64, 32), (32, 32), (32, 16), (16, 16))


def _real(dtype: str) -> int:
    return 8 if dtype == "double" else 4


def shared_bytes(kernel: str, D: int, BM: int, BN: int, dtype: str) -> int:
    """The shared memory of an attention kernel with these tiles, as the .cu file lays it out."""
    if kernel.startswith("tensor_"):
        # the rows that a block owns, of one matrix or two, and two pairs of tiles that it walks over
        rows = {
            "tensor_forward": BM + 4 * BN,
            "tensor_query_gradient": 2 * BM + 4 * BN,
            "tensor_key_gradient": 2 * BN + 4 * BM,
        }[kernel]
        return rows * (D + HALF_ROW) * 2
    if kernel == "attention_decode_few":
        return BM * _teams(D, dtype) * (D + 2) * 4
    rows, weights = {
        "attention_forward": (BM + 2 * BN, BM * (BN + ROW)),
        "attention_decode_part": (BM + 2 * BN, BM * (BN + ROW)),
        "attention_query_gradient": (2 * BM + 2 * BN, BM * (BN + ROW)),
        "attention_key_gradient": (2 * BM + 2 * BN, 2 * BN * (BM + ROW)),
        "attention_bias_gradient": (2 * BM + 2 * BN, 0),
    }[kernel]
    return (rows * (D + ROW) + weights) * _real(dtype)


@functools.cache
def fused(widest: int, dtype: str, capability: int) -> bool:
    """Whether there are attention kernels for this many features: up to 128, or 96 for float64 on Turing."""
    D = head_dim(widest)
    limit = limits(capability).block_shared
    kernels = ("attention_forward", "attention_query_gradient", "attention_key_gradient", "attention_bias_gradient")
    return D is not None and all(shared_bytes(kernel, D, *TILES[-1], dtype) <= limit for kernel in kernels)


def widest_fused(dtype: str, capability: int) -> int:
    """The most features for which there are attention kernels."""
    return max(size for size in HEAD_DIMS if fused(size, dtype, capability))


def tiles(kernel: str, D: int, dtype: str, capability: int, most_queries: int = 64) -> tuple[int, int]:
    """(BM, BN): the first of TILES that fits, if possible twice, so that one block computes while another loads."""
    limit = limits(capability)
    # more numbers in registers than this and they spill
    fitting = [(m, n) for m, n in TILES if m <= most_queries and _in_registers(kernel, D, m, n)]
    for share in (2, 1):
        for BM, BN in fitting:
            need = shared_bytes(kernel, D, BM, BN, dtype)
            if need <= limit.block_shared and share * (need + KIB) <= limit.processor_shared + KIB:
                return BM, BN
    raise ValueError(f"{kernel} has no tiles for head_dim {D} in {dtype} on compute capability {capability / 10}")


def _in_registers(kernel: str, D: int, BM: int, BN: int) -> bool:
    """Whether a thread's parts of the sums and of the tiles of scores are few enough."""
    sums = {"attention_key_gradient": 2 * BN * D, "attention_bias_gradient": BM * BN}.get(kernel, BM * D)
    scores = BM * BN * (1 if kernel in ("attention_forward", "attention_decode_part") else 2)
    return (sums + scores) / THREADS <= 64


def _tiles_along(n: int, tile: int) -> int:
    return -(-n // tile)


@remembered
def attention(kernel: str, dtype: str, capability: int, B: int, heads: int, positions: int, widest: int) -> Plan:
    """attention_forward and attention_query_gradient over the queries, attention_key_gradient over the keys.

    heads and positions: of what the blocks own, queries or keys; widest: the larger head_dim of keys and values.
    """
    D = head_dim(widest)
    if D is None:
        raise ValueError(f"head_dim {widest} is larger than {HEAD_DIMS[-1]}")
    if has_tensor_cores(dtype, capability) and kernel != "attention_bias_gradient":
        return _tensor(kernel.replace("attention_", "tensor_"), dtype, capability, B, heads, positions, D)
    BM, BN = tiles(kernel, D, dtype, capability)
    own = BN if kernel == "attention_key_gradient" else BM
    blocks = _tiles_along(positions, own) * heads * B
    return Plan(kernel, (dtype, D, BM, BN), blocks, THREADS, shared_bytes(kernel, D, BM, BN, dtype))


@remembered
def bias_gradient(dtype: str, capability: int, B: int, H: int, Tq: int, Tk: int, widest: int) -> Plan:
    """One block for each tile of the result (B, H, Tq, Tk), where B and H are 1 where the bias is shared."""
    D = head_dim(widest)
    assert D is not None
    kernel = "attention_bias_gradient"
    BM, BN = tiles(kernel, D, dtype, capability)
    blocks = _tiles_along(Tq, BM) * _tiles_along(Tk, BN) * H * B
    return Plan(kernel, (dtype, D, BM, BN), blocks, THREADS, shared_bytes(kernel, D, BM, BN, dtype))


FEW_ROWS = 4  # that many queries walk over the keys without a tile


def _teams(D: int, dtype: str) -> int:
    """Of the lanes of a block, 16 bytes each, how often they hold a key's features."""
    return THREADS * 16 // SIZES[dtype] // (128 if D == 96 else D)


class DecodePlan(NamedTuple):
    """attention_decode: the parts that the keys are cut into, and the two launches."""

    parts: int
    part_keys: int
    part: Plan
    join: Plan


@remembered
def decode(
    dtype: str, capability: int, processors: int, B: int, H: int, H_kv: int, Tq: int, Tk: int, widest: int
) -> DecodePlan:
    """Enough parts to keep every multiprocessor busy twice, but not shorter than 64 keys."""
    D = head_dim(widest)
    assert D is not None
    rows = H // H_kv * Tq
    if rows <= FEW_ROWS and dtype != "double":
        kernel, BM = "attention_decode_few", 1 if rows <= 1 else 2 if rows == 2 else 4
        BN = min(128, (4 if BM < 4 else 2) * _teams(D, dtype))  # more keys at once would not stay in registers
    else:
        kernel = "attention_decode_part"
        BM, BN = tiles(kernel, D, dtype, capability, most_queries=16 if rows <= 16 else 32)
    owners = _tiles_along(rows, BM) * H_kv * B
    parts = max(1, min(_tiles_along(Tk, 64), _tiles_along(2 * processors, max(owners, 1))))
    part_keys = max(BN, _tiles_along(_tiles_along(Tk, parts), BN) * BN)
    parts = max(1, _tiles_along(Tk, part_keys))
    part = Plan(kernel, (dtype, D, BM, BN), parts * owners, THREADS, shared_bytes(kernel, D, BM, BN, dtype))
    return DecodePlan(parts, part_keys, part, rows_of_warps("attention_decode_join", dtype, B * H * Tq))


# --- attention on tensor cores: four warps, sixteen rows each -------------------------------------------------------

TENSOR_THREADS = 128
TENSOR_TILES = {  # (BM queries, BN keys), the best first
    "tensor_forward": ((64, 64), (64, 32)),
    "tensor_query_gradient": ((64, 32), (64, 16)),
    "tensor_key_gradient": ((32, 64), (16, 64)),
}


def _tensor(kernel: str, dtype: str, capability: int, B: int, heads: int, positions: int, D: int) -> Plan:
    limit = limits(capability)
    choices = TENSOR_TILES[kernel][1:] if D > 96 and kernel != "tensor_forward" else TENSOR_TILES[kernel]
    BM, BN = next(t for t in choices if shared_bytes(kernel, D, *t, dtype) <= limit.block_shared)
    blocks = _tiles_along(positions, BN if kernel == "tensor_key_gradient" else BM) * heads * B
    return Plan(kernel, (dtype, D, BM, BN), blocks, TENSOR_THREADS, shared_bytes(kernel, D, BM, BN, dtype))


# --- the others -----------------------------------------------------------------------------------------------------


@remembered
def rows_of_warps(kernel: str, dtype: str, rows: int, *more: Any) -> Plan:
    """One warp for each row, eight in a block."""
    return Plan(kernel, (dtype, *more), _tiles_along(rows, 8))


@remembered
def rows_of_blocks(kernel: str, dtype: str, rows: int, columns: int) -> Plan:
    """Rows cut into pieces of 256 columns, one block each."""
    return Plan(kernel, (dtype,), rows * _tiles_along(columns, 256))


@remembered
def elements(kernel: str, dtype: str, n: int, *more: Any, each: int = 256) -> Plan:
    """A line of elements, `each` of them in a block."""
    return Plan(kernel, (dtype, *more), _tiles_along(n, each))


@remembered
def reduction(kernel: str, dtype: str, blocks: int = 1) -> Plan:
    """Blocks that add something up, with a number of shared memory for each warp."""
    return Plan(kernel, (dtype,), blocks, THREADS, 8 * 8)


class ColumnPlan(NamedTuple):
    """Sums over the rows of a matrix: parts of part_rows rows each, added up by `add`."""

    parts: int
    part_rows: int
    sums: Plan
    add: Plan


@remembered
def column_sums(kernel: str, dtype: str, rows: int, columns: int, sums: int = 1) -> ColumnPlan:
    """At most 128 parts of at least 64 rows; they depend on the number of rows alone, and so do the bits of the result."""
    part_rows = max(64, 8 * math.ceil(rows / 128 / 8))
    parts = max(1, _tiles_along(rows, part_rows))
    shared = sums * 8 * 33 * _real(dtype)
    plan = Plan(kernel, (dtype,), parts * _tiles_along(columns, 32), THREADS, shared)
    return ColumnPlan(parts, part_rows, plan, elements("add_parts", dtype, columns))
