"""Tensor cores: mma.sync and the loads that fit it ("Warp Level Matrix Multiply-Accumulate Instructions").

A fragment is a small matrix spread over the registers of the 32 lanes of a warp. With g = lane // 4 and t = lane % 4:

    A, 16 × K    register r holds A[g + 8 (r mod 2), 2t + e + 8 (r // 2)], e = 0 in its lower half, 1 in its upper
    B, K × 8     register r holds B[2t + e + 8 r, g]
    C, D, 16 × 8 register i holds C[g + 8 (i // 2), 2t + (i mod 2)]

for elements of 16 bits, K = 8 or 16. Products are exact; their sum is worked out in float64 and rounded once. Hardware keeps
fewer bits in between, and NVIDIA does not say how it rounds: last bits may differ.

How these tables are checked by something that does not come from the manual: tests/gpu/test_simulator_fragments.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minilm_kernels.gpu.simulator.numbers import from_bfloat16, halves, join
from minilm_kernels.gpu.simulator.opcodes.memory import at_lanes, load, spread, store
from minilm_kernels.gpu.simulator.opcodes.table import opcode
from minilm_kernels.gpu.simulator.types import TYPES

Array = Any
LANE = np.arange(32)
G, T = LANE // 4, LANE % 4


def a_fragment(K: int) -> tuple[Array, Array]:
    """Row and column of A in [lane, register, half]."""
    r, e = np.arange(K // 4), np.arange(2)
    row = G[:, None, None] + 8 * (r[:, None] % 2) + 0 * e
    column = 2 * T[:, None, None] + e + 8 * (r[:, None] // 2)
    return row, column


def b_fragment(K: int) -> tuple[Array, Array]:
    """Row and column of B in [lane, register, half]."""
    r, e = np.arange(K // 8), np.arange(2)
    row = 2 * T[:, None, None] + e + 8 * r[:, None]
    column = G[:, None, None] + 0 * r[:, None] + 0 * e
    return row, column


def c_fragment() -> tuple[Array, Array]:
    """Row and column of C and D in [lane, element]."""
    i = np.arange(4)
    return G[:, None] + 8 * (i // 2), 2 * T[:, None] + i % 2


def multiply_fragments(a: Array, b: Array, c: Array, K: int) -> Array:
    """D = A B + C by fragments: a (warps, 32, K/4, 2), b (warps, 32, K/8, 2), c (warps, 32, 4) of floats, as d."""
    A = np.empty((len(a), 16, K))
    B = np.empty((len(b), K, 8))
    A[:, *a_fragment(K)] = a
    B[:, *b_fragment(K)] = b
    row, column = c_fragment()
    return (A @ B)[:, row, column] + c


def as_floats(words: list[Array], kind: str) -> Array:
    """Registers (each an array over lanes) of packed pairs → (warps, 32, registers, 2) float32."""
    pairs = np.stack([np.stack(halves(w), axis=-1) for w in words], axis=1)
    values = pairs.view(np.float16).astype(np.float32) if kind == "f16" else from_bfloat16(pairs)
    return values.reshape(-1, 32, len(words), 2)


@opcode("mma", section="Warp Level Matrix")
def mma(d: Any) -> Any:
    """D = A B + C for the matrices that a warp holds: m16n8k8 and m16n8k16 of f16 and bf16."""
    shapes = {"m16n8k8": 8, "m16n8k16": 16}
    given = d.allow("sync", "aligned", "row", "col", *shapes)
    if len(d.types) != 4 or not given & set(shapes):
        raise d.unknown("only m16n8k8 and m16n8k16 are known")
    K = shapes[(given & set(shapes)).pop()]
    result, first, second, summand = (kind.name for kind in d.types)
    if first not in ("f16", "bf16") or first != second or summand != result or result not in ("f32", "f16"):
        raise d.unknown("only products of f16 or bf16 are known")
    names = [d.names(o) for o in d.operands]
    if [len(n) for n in names] != [4 if result == "f32" else 2, K // 4, K // 8, 4 if result == "f32" else 2]:
        raise d.unknown("the numbers of registers do not fit")
    u32, f32 = TYPES["u32"], TYPES["f32"]
    a, b = ([d.read(n, u32) for n in part] for part in names[1:3])
    c = [d.read(n, f32 if result == "f32" else u32) for n in names[3]]
    writes = [d.write(n) for n in names[0]]

    def step(machine: Any, group: Any) -> None:
        def whole(read: Any) -> Array:
            return np.broadcast_to(read(machine), machine.count)

        warps = group.mask.reshape(-1, 32).any(axis=1)
        A, B = (as_floats([whole(read) for read in part], first)[warps] for part in (a, b))
        if result == "f32":
            C = np.stack([whole(read) for read in c], axis=1).reshape(-1, 32, 4)[warps]
        else:
            C = as_floats([whole(read) for read in c], "f16").reshape(-1, 32, 4)[warps]
        fragments = np.zeros((len(warps), 32, 4))
        fragments[warps] = multiply_fragments(A, B, C.astype(np.float64), K)
        D = fragments.reshape(-1, 4).astype(np.float32 if result == "f32" else np.float16)
        if result == "f16":
            columns = [join(D[:, 0].copy(), D[:, 1].copy()), join(D[:, 2].copy(), D[:, 3].copy())]
        else:
            columns = list(np.ascontiguousarray(D.T))
        for write, column in zip(writes, columns):
            write(machine, column, group)

    return step


def matrix_lanes(machine: Any, group: Any, count: int) -> tuple[Array, Array]:
    """For 8 × 8 matrices: (warps that take part, the lanes that hold row addresses: lanes 8m … 8m + 7 for matrix m)."""
    warps = np.flatnonzero(group.mask.reshape(-1, 32).any(axis=1))
    return warps, (warps[:, None] * 32 + np.arange(8 * count)).ravel()


@opcode("ldmatrix", section="Warp Level Matrix")
def ldmatrix(d: Any) -> Any:
    """Load 1, 2 or 4 matrices of 8 × 8 elements of 16 bits: lane 8m + i gives the address of row i of matrix m.

    Register m of a lane gets elements 2t and 2t + 1 of row g; with .trans those of column g.
    """
    given = d.allow("sync", "aligned", "m8n8", "x1", "x2", "x4", "trans", "shared", "shared_cta")
    writes = [d.write(n) for n in d.names(d.operands[0])]
    address, _ = d.address(d.operands[1])
    count, number = len(writes), d.instruction.number
    if f"x{count}" not in given or "m8n8" not in given:
        raise d.unknown("the number of registers does not fit")

    def step(machine: Any, group: Any) -> None:
        warps, lanes = matrix_lanes(machine, group, count)
        rows = load(machine, "shared", at_lanes(machine, address(machine), lanes), 16, lanes, number)
        matrix = np.ascontiguousarray(rows).view(np.uint16).reshape(len(warps), count, 8, 8)
        if "trans" in given:
            matrix = matrix.swapaxes(2, 3)
        pairs = np.stack([matrix[:, :, G, 2 * T], matrix[:, :, G, 2 * T + 1]], axis=-1)  # (warps, matrices, lanes, 2)
        for m, write in enumerate(writes):
            words = np.ascontiguousarray(pairs[:, m]).view(np.uint32).ravel()
            write(machine, spread(machine, words, group), group)

    return step


@opcode("stmatrix", section="Warp Level Matrix")
def stmatrix(d: Any) -> Any:
    """Store matrices of 8 × 8 elements: what ldmatrix does, the other way."""
    given = d.allow("sync", "aligned", "m8n8", "x1", "x2", "x4", "trans", "shared", "shared_cta")
    address, _ = d.address(d.operands[0])
    reads = [d.read(n, TYPES["u32"]) for n in d.names(d.operands[1])]
    count, number = len(reads), d.instruction.number
    if f"x{count}" not in given or "m8n8" not in given:
        raise d.unknown("the number of registers does not fit")

    def step(machine: Any, group: Any) -> None:
        warps, lanes = matrix_lanes(machine, group, count)
        matrix = np.empty((len(warps), count, 8, 8), np.uint16)
        for m, read in enumerate(reads):
            words = np.broadcast_to(read(machine), machine.count).reshape(-1, 32)[warps]
            matrix[:, m, G, 2 * T], matrix[:, m, G, 2 * T + 1] = halves(words)
        if "trans" in given:
            matrix = matrix.swapaxes(2, 3)
        rows = np.ascontiguousarray(matrix).reshape(len(lanes), 8).view(np.uint8)
        store(machine, "shared", at_lanes(machine, address(machine), lanes), rows, lanes, number)

    return step


@opcode("movmatrix", section="Warp Level Matrix")
def movmatrix(d: Any) -> Any:
    """The transpose of an 8 × 8 matrix of 16-bit elements that a warp holds in one register."""
    d.allow("sync", "aligned", "m8n8", "trans")
    read, write = d.read(d.operands[1], TYPES["u32"]), d.write(d.operands[0])

    def step(machine: Any, group: Any) -> None:
        low, high = halves(np.broadcast_to(read(machine), machine.count).reshape(-1, 32))
        matrix = np.empty((len(low), 8, 8), np.uint16)
        matrix[:, G, 2 * T], matrix[:, G, 2 * T + 1] = low, high
        write(machine, join(matrix[:, 2 * T, G], matrix[:, 2 * T + 1, G]).ravel(), group)

    return step
