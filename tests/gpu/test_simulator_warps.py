"""Threads together: shuffles, votes, matrices, divergence, atomics, barriers that count; and what the counters say."""

from __future__ import annotations

import numpy as np
import pytest
from simulator_ptx import function, kernel_text

from minilm_kernels.gpu.simulate import Module, counting, empty
from minilm_kernels.gpu.simulator.numbers import to_bfloat16

RNG = np.random.default_rng(3)
LANE = np.arange(32)
START = """
ld.param.u64 %a1, [x]; ld.param.u64 %a2, [y];
mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mad.lo.s32 %r4, %r2, %r3, %r1;
mul.wide.s32 %a3, %r4, 4; add.s64 %a4, %a1, %a3; add.s64 %a5, %a2, %a3; ld.global.u32 %r5, [%a4];
"""


def per_thread(body: str, x: np.ndarray, block: int = 64) -> np.ndarray:
    """y of a kernel in which %r5 is the thread's x and %r6 becomes its y."""
    y = empty(x.size, np.uint32)
    kernel = function("x y", START + body + "st.global.u32 [%a5], %r6;")
    kernel((x.size // block,), (block,), (x, y))
    return y


def words(n: int = 192) -> np.ndarray:
    return RNG.integers(0, 2**32, n, dtype=np.uint32)


@pytest.mark.parametrize(
    ("mode", "source"),
    [
        ("bfly.b32 %r6, %r5, 5, 31", LANE ^ 5),
        ("bfly.b32 %r6, %r5, 3, 0x1c1f", LANE ^ 3),  # segments of 4
        ("up.b32 %r6, %r5, 3, 0", np.where(LANE < 3, LANE, LANE - 3)),
        ("down.b32 %r6, %r5, 3, 31", np.where(LANE > 28, LANE, LANE + 3)),
        ("down.b32 %r6, %r5, 3, 0x181f", np.where(LANE % 8 > 4, LANE, LANE + 3)),  # segments of 8
        ("up.b32 %r6, %r5, 2, 0x1800", np.where(LANE % 8 < 2, LANE, LANE - 2)),
        ("idx.b32 %r6, %r5, 7, 31", np.full(32, 7)),
        ("idx.b32 %r6, %r5, 2, 0x181f", LANE // 8 * 8 + 2),
    ],
)
def test_shuffles(mode, source):
    x = words()
    np.testing.assert_array_equal(per_thread(f"shfl.sync.{mode}, -1;", x), x.reshape(-1, 32)[:, source].ravel())


def test_votes_and_reductions_of_a_warp():
    x = words()
    rows = x.reshape(-1, 32)
    small = rows < 2**30
    ballot = (small * (np.uint64(1) << LANE.astype(np.uint64))).sum(1)
    test = "setp.lt.u32 %p1, %r5, 0x40000000; "
    spread = lambda v: np.repeat(v.astype(np.uint32), 32)  # noqa: E731
    np.testing.assert_array_equal(per_thread(test + "vote.sync.ballot.b32 %r6, %p1, -1;", x), spread(ballot))
    flag = "selp.b32 %r6, 1, 0, %p2;"
    np.testing.assert_array_equal(per_thread(test + "vote.sync.any.pred %p2, %p1, -1;" + flag, x), spread(small.any(1)))
    np.testing.assert_array_equal(
        per_thread(test + "vote.sync.all.pred %p2, !%p1, -1;" + flag, x), spread(~small.any(1))
    )
    for name, reduce in (
        ("add", lambda v: v.sum(1, dtype=np.uint32)),
        ("max", lambda v: v.max(1)),
        ("min", lambda v: v.min(1)),
    ):
        np.testing.assert_array_equal(per_thread(f"redux.sync.{name}.u32 %r6, %r5, -1;", x), spread(reduce(rows)))
    few = x % 3
    equal = (few.reshape(-1, 32)[:, :, None] == few.reshape(-1, 32)[:, None]) * (np.uint64(1) << LANE.astype(np.uint64))
    np.testing.assert_array_equal(per_thread("match.any.sync.b32 %r6, %r5, -1;", few), equal.sum(2).ravel())


def test_a_barrier_that_counts():
    x = words(192)
    y = empty(192, np.uint32)
    body = "setp.lt.u32 %p1, %r5, 0x80000000; bar.red.popc.u32 %r6, 0, %p1;"
    kernel = function("x y", START + body + "st.global.u32 [%a5], %r6;")
    kernel((2,), (96,), (x, y))
    np.testing.assert_array_equal(y, np.repeat((x.reshape(2, 96) < 2**31).sum(1), 96))


def test_nested_divergence_and_loops():
    """Collatz: every thread loops as often as its number asks, with branches inside."""
    x = np.arange(1, 193, dtype=np.uint32)
    body = """
mov.u32 %r6, 0;
LOOP: setp.eq.u32 %p1, %r5, 1; @%p1 bra OUT;
and.b32 %r7, %r5, 1; setp.eq.u32 %p2, %r7, 0; @%p2 bra EVEN;
mad.lo.u32 %r5, %r5, 3, 1; bra NEXT;
EVEN: shr.u32 %r5, %r5, 1;
NEXT: add.u32 %r6, %r6, 1; bra LOOP;
OUT:
"""

    def steps(n):
        count = 0
        while n != 1:
            n, count = (n // 2 if n % 2 == 0 else 3 * n + 1), count + 1
        return count

    np.testing.assert_array_equal(per_thread(body, x), [steps(int(n)) for n in x])


def test_jump_tables():
    x = words() % 4
    body = """
T: .branchtargets A, B, C, D;
brx.idx %r5, T;
A: mov.u32 %r6, 10; bra OUT; B: mov.u32 %r6, 11; bra OUT; C: mov.u32 %r6, 12; bra OUT; D: mov.u32 %r6, 13;
OUT:
"""
    np.testing.assert_array_equal(per_thread(body, x), x + 10)


def test_atomics_add_up_whatever_the_order():
    x = words(256)
    y = np.zeros(8, np.uint32)
    kernel = function(
        "x y",
        START
        + "and.b32 %r7, %r5, 7; mul.wide.u32 %a6, %r7, 4; add.s64 %a6, %a6, %a2; atom.global.add.u32 %r8, [%a6], %r5;",
    )
    kernel((4,), (64,), (x, y))
    expected = np.zeros(8, np.uint32)
    np.add.at(expected, x & 7, x)
    np.testing.assert_array_equal(y, expected)
    ticket = np.zeros(1, np.uint32)
    given = empty(256, np.uint32)
    kernel = function(
        "x y t", START + "ld.param.u64 %a7, [t]; atom.global.add.u32 %r6, [%a7], 1; st.global.u32 [%a5], %r6;"
    )
    kernel((4,), (64,), (x, given, ticket))
    np.testing.assert_array_equal(np.sort(given), np.arange(256))


# --- matrices ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transposed", [False, True])
def test_ldmatrix_brings_fragments_of_a(transposed):
    """ldmatrix and plain loads by the fragment's table agree; so mma may be fed by either."""
    x = RNG.integers(0, 2**16, (16, 16)).astype(np.uint16)
    y = empty((4, 32), np.uint32)
    trans = ".trans" if transposed else ""
    body = f"""
ld.param.u64 %a1, [x]; ld.param.u64 %a2, [y]; mov.u32 %r1, %tid.x; mov.u32 %r5, tile;
mul.wide.u32 %a3, %r1, 16; add.s64 %a4, %a1, %a3; ld.global.v4.u32 {{%r10, %r11, %r12, %r13}}, [%a4];
shl.b32 %r6, %r1, 4; add.s32 %r7, %r5, %r6; st.shared.v4.u32 [%r7], {{%r10, %r11, %r12, %r13}};
bar.sync 0;
and.b32 %r8, %r1, 15; shl.b32 %r8, %r8, 5; shr.u32 %r9, %r1, 4; shl.b32 %r9, %r9, 4;
add.s32 %r8, %r8, %r9; add.s32 %r8, %r8, %r5;
ldmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 {{%r20, %r21, %r22, %r23}}, [%r8];
mul.wide.u32 %a5, %r1, 4; add.s64 %a5, %a5, %a2;
st.global.u32 [%a5], %r20; st.global.u32 [%a5+128], %r21; st.global.u32 [%a5+256], %r22; st.global.u32 [%a5+384], %r23;
"""
    function("x y", body, ".shared .align 16 .b8 tile[512];")((1,), (32,), (x, y))
    got = y.view(np.uint16).reshape(4, 32, 2)
    for m, (row, column) in enumerate(((0, 0), (8, 0), (0, 8), (8, 8))):
        part = x[row : row + 8, column : column + 8]
        np.testing.assert_array_equal(got[m].reshape(8, 8), part.T if transposed else part)


@pytest.mark.parametrize(("kind", "K"), [("f16", 16), ("bf16", 16), ("f16", 8), ("bf16", 8)])
def test_mma_multiplies_what_the_fragments_hold(kind, K):
    A, B = RNG.standard_normal((16, K)).astype(np.float32), RNG.standard_normal((K, 8)).astype(np.float32)
    C = RNG.standard_normal((16, 8)).astype(np.float32)
    narrow = (lambda v: v.astype(np.float16).view(np.uint16)) if kind == "f16" else to_bfloat16
    wide = (lambda v: v.view(np.float16).astype(np.float64)) if kind == "f16" else (
        lambda v: (v.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    )  # fmt: skip
    a, b = narrow(A), narrow(B)
    g, t = LANE // 4, LANE % 4
    registers = [np.stack([a[g + 8 * (r % 2), 2 * t + e + 8 * (r // 2)] for e in (0, 1)], 1) for r in range(K // 4)]
    registers += [np.stack([b[2 * t + e + 8 * r, g] for e in (0, 1)], 1) for r in range(K // 8)]
    registers += [C[g + 8 * (i // 2), 2 * t + i % 2].view(np.uint16).reshape(32, 2) for i in range(4)]
    x = np.ascontiguousarray(np.stack(registers)).view(np.uint32).reshape(len(registers), 32)
    y = empty((4, 32))
    n = K // 4 + K // 8
    loads = "".join(f"ld.global.u32 %r{20 + i}, [%a4+{128 * i}];" for i in range(n))
    loads += "".join(f"ld.global.f32 %f{i}, [%a4+{128 * (n + i)}];" for i in range(4))
    listed = lambda first, count: ", ".join(f"%r{first + i}" for i in range(count))  # noqa: E731
    body = f"""
ld.param.u64 %a1, [x]; ld.param.u64 %a2, [y]; mov.u32 %r1, %tid.x; mul.wide.u32 %a3, %r1, 4; add.s64 %a4, %a1, %a3;
{loads} add.s64 %a5, %a2, %a3;
mma.sync.aligned.m16n8k{K}.row.col.f32.{kind}.{kind}.f32 {{%f4, %f5, %f6, %f7}},
  {{{listed(20, K // 4)}}}, {{{listed(20 + K // 4, K // 8)}}}, {{%f0, %f1, %f2, %f3}};
st.global.f32 [%a5], %f4; st.global.f32 [%a5+128], %f5; st.global.f32 [%a5+256], %f6; st.global.f32 [%a5+384], %f7;
"""
    function("x y", body)((1,), (32,), (x, y))
    D = np.zeros((16, 8))
    for i in range(4):
        D[g + 8 * (i // 2), 2 * t + i % 2] = y[i]
    np.testing.assert_allclose(D, wide(a) @ wide(b) + C, rtol=1e-6, atol=1e-6)


def test_variables_of_the_module_have_their_first_values():
    table = ".global .align 4 .b8 bytes[8] = {1, 0, 0, 0, 0xfe, 255, 255, 255};\n"
    table += ".const .align 8 .f64 half = 0d3FE0000000000000;\n"
    body = """
ld.param.u64 %a2, [y]; mov.u32 %r1, %tid.x; mul.wide.u32 %a3, %r1, 4; add.s64 %a5, %a2, %a3; mov.u64 %a6, bytes;
ld.global.u32 %r2, [bytes+4]; ld.global.u32 %r3, [%a6]; ld.const.u32 %r4, [half+4];
add.s32 %r2, %r2, %r3; add.s32 %r2, %r2, %r4; st.global.u32 [%a5], %r2;
"""
    y = empty(32, np.uint32)
    text = kernel_text("y", body)
    at = text.index(".visible")
    Module(ptx=text[:at] + table + text[at:]).get_function("k")((1,), (32,), (y,))
    assert (y == 0x3FE00000 - 1).all()


# --- counters ---------------------------------------------------------------------------------------------------------


def counts_of(body: str, block: int = 32, grid: int = 1):
    """The counters of a kernel with %r1 the thread, %a1 = x (64 KiB), %r5 = a tile of 16 KiB that has been written."""
    x = np.zeros(1 << 14, np.float32)
    begin = "ld.param.u64 %a1, [x]; mov.u32 %r1, %tid.x; mov.u32 %r5, tile; mov.u32 %r6, 0;"
    kernel = function("x", begin + body, ".shared .align 16 .b8 tile[16384];")
    with counting() as launches:
        kernel((grid,), (block,), (x,))
    return launches[0]


@pytest.mark.parametrize(("stride", "sectors"), [(4, 4), (8, 8), (12, 12), (32, 32), (128, 32), (0, 1)])
def test_sectors_of_global_loads(stride, sectors):
    c = counts_of(f"mul.wide.u32 %a2, %r1, {stride}; add.s64 %a2, %a2, %a1; ld.global.f32 %f1, [%a2];")
    s = c.traffic["global", "read"]
    assert (s.requests, s.bytes, s.turns, s.fewest) == (1, 128, sectors, 1 if stride == 0 else 4)
    assert c.sector_bytes == 32 * sectors


@pytest.mark.parametrize(("stride", "turns"), [(4, 1), (8, 2), (16, 4), (20, 1), (128, 32), (132, 1), (0, 1)])
def test_bank_conflicts(stride, turns):
    c = counts_of(f"mad.lo.u32 %r7, %r1, {stride}, %r5; st.shared.u32 [%r7], %r6;" if stride else "")
    if stride:
        s = c.traffic["shared", "write"]
        assert (s.requests, s.bytes, s.turns, s.fewest) == (1, 128, turns, 1)
    c = counts_of("shl.b32 %r8, %r1, 4; add.s32 %r7, %r8, %r5; st.shared.v4.u32 [%r7], {%r6, %r6, %r6, %r6};")
    assert c.traffic["shared", "write"].turns == c.traffic["shared", "write"].fewest == 4


def test_instructions_and_arithmetic_are_counted():
    c = counts_of(
        "mov.u32 %r9, 0; L: fma.rn.f32 %f1, %f2, %f3, %f1; add.u32 %r9, %r9, 1; setp.lt.u32 %p1, %r9, 10; @%p1 bra L;",
        48,
        3,
    )
    assert c.flops == 2 * 10 * 48 * 3
    assert c.issued["float arithmetic"] == 10 * 2 * 3  # two warps a block, the second half full
    assert c.issued["branches"] == 10 * 2 * 3 + 2 * 3
    assert c.global_bytes == 0
    half = counts_of("setp.lt.u32 %p1, %r1, 8; @%p1 bra OUT; add.f32 %f1, %f1, %f2; OUT:")
    assert half.flops == 24
