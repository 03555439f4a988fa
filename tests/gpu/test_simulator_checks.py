"""Each check of the simulator catches a kernel that is wrong, and says where; the right kernel beside it passes in silence."""

from __future__ import annotations

import numpy as np
import pytest
from simulator_ptx import function, kernel_text

from minilm_kernels.gpu.simulate import Checks, Module, empty, uninitialized, unwritten
from minilm_kernels.gpu.simulator import (
    Divergence,
    Endless,
    LaunchError,
    Misaligned,
    OutOfBounds,
    Race,
    SimulationError,
    Uninitialized,
    UnknownInstruction,
    launch,
)

TILE = ".shared .align 16 .b8 tile[256];"
ADDRESS = """
ld.param.u64 %a1, [x]; ld.param.u64 %a2, [y];
mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mad.lo.s32 %r4, %r2, %r3, %r1;
mul.wide.s32 %a3, %r4, 4; add.s64 %a4, %a1, %a3; add.s64 %a5, %a2, %a3;
mov.u32 %r5, tile; shl.b32 %r6, %r1, 2; add.s32 %r7, %r5, %r6;
"""


def tile_kernel(body: str, **options):
    """x, y arrays; %a4 and %a5: this thread's element of them, %r7: of the tile."""
    return function("x y", ADDRESS + body, TILE, **options)


def arrays(n: int = 128) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(n, dtype=np.float32), empty(n)


# --- bounds and alignment ---------------------------------------------------------------------------------------------


def test_a_copy_runs_over_blocks_that_do_not_fill_their_warps():
    x, y = arrays(100)
    tile_kernel("ld.global.f32 %f1, [%a4]; st.global.f32 [%a5], %f1;")((5,), (20,), (x, y))
    np.testing.assert_array_equal(x, y)


def test_global_bounds_are_exact_to_the_byte():
    x, y = arrays(127)
    kernel = tile_kernel("ld.global.f32 %f1, [%a4]; st.global.f32 [%a5], %f1;")
    where = (
        r"kernel k, block 1, thread 63, PTX line \d+: `ld.global.f32 %f1, \[%a4\]`: 4 bytes at byte 508 of argument 0"
    )
    with pytest.raises(OutOfBounds, match=where):
        kernel((2,), (64,), (x, y))
    with pytest.raises(OutOfBounds, match="byte -4 of argument 0"):
        tile_kernel("ld.global.f32 %f1, [%a4+-4]; st.global.f32 [%a5], %f1;")((1,), (64,), (x, y))
    with pytest.raises(OutOfBounds, match=r"st\.global.*argument 1"):
        tile_kernel("ld.global.f32 %f1, [%a4]; st.global.f32 [%a5+300], %f1;")((1,), (64,), (x, y))


def test_null_and_wild_pointers():
    kernel = tile_kernel("ld.global.f32 %f1, [%a4];")
    with pytest.raises(OutOfBounds, match="null pointer"):
        kernel((1,), (32,), (np.uintp(0), np.zeros(4, np.float32)))
    with pytest.raises(OutOfBounds, match="in no buffer"):
        kernel((1,), (32,), (np.uint64(1 << 50), np.zeros(4, np.float32)))


def test_a_strided_view_ends_where_its_elements_end():
    whole = np.arange(64, dtype=np.float32).reshape(8, 8)
    view, y = whole[:, :3], empty(8)
    row = "mul.wide.s32 %a6, %r1, 32; add.s64 %a6, %a6, %a1; ld.global.f32 %f1, [%a6+{byte}]; st.global.f32 [%a5], %f1;"
    tile_kernel(row.format(byte=8))((1,), (8,), (view, y))
    np.testing.assert_array_equal(y, whole[:, 2])
    with pytest.raises(OutOfBounds, match="between the view's elements"):
        tile_kernel(row.format(byte=12))((1,), (7,), (view, empty(8)))


def test_arguments_may_be_views_of_one_array():
    whole = np.arange(40, dtype=np.float32)
    kernel = tile_kernel("ld.global.f32 %f1, [%a4]; st.global.f32 [%a5], %f1;")
    kernel((1,), (20,), (whole[:20], whole[20:]))
    np.testing.assert_array_equal(whole[20:], whole[:20])
    kernel((1,), (20,), (whole[5:25], whole[5:25]))  # in place
    with pytest.raises(OutOfBounds):
        kernel((1,), (21,), (whole[:20], whole[20:]))


def test_misaligned_accesses():
    x, y = arrays()
    with pytest.raises(Misaligned, match=r"16 bytes .* no multiple of 16"):
        tile_kernel("ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%a4];")((1,), (32,), (x, y))
    with pytest.raises(Misaligned, match="shared address 2"):
        tile_kernel("mov.u32 %r9, 7; st.shared.u32 [%r7+2], %r9;")((1,), (32,), (x, y))
    whole = np.arange(33, dtype=np.float32)[1:]
    with pytest.raises(Misaligned):  # a view that begins at an odd place is as misaligned as on the device
        tile_kernel(
            "shl.b32 %r8, %r1, 3; cvt.u64.u32 %a7, %r8; add.s64 %a8, %a1, %a7; ld.global.v2.f32 {%f1, %f2}, [%a8];"
        )((1,), (8,), (whole, y))


def test_shared_bounds():
    x, y = arrays()
    with pytest.raises(OutOfBounds, match=r"thread 64, .*: 4 bytes at shared address 256 of 256"):
        tile_kernel("mov.u32 %r9, 7; st.shared.u32 [%r7], %r9;")((1,), (96,), (x, y))
    with pytest.raises(OutOfBounds, match="shared address -4"):
        tile_kernel("mov.u32 %r9, 7; st.shared.u32 [%r7+-4], %r9;")((1,), (32,), (x, y))


def test_read_only_arrays():
    x, y = arrays()
    y.flags.writeable = False
    with pytest.raises(OutOfBounds, match="read-only"):
        tile_kernel("ld.global.f32 %f1, [%a4]; st.global.f32 [%a5], %f1;")((1,), (32,), (x, y))


# --- races ------------------------------------------------------------------------------------------------------------

EXCHANGE = """
ld.global.f32 %f1, [%a4]; st.shared.f32 [%r7], %f1;
{between}
xor.b32 %r8, %r6, {flip}; add.s32 %r9, %r5, %r8; ld.shared.f32 %f2, [%r9]; st.global.f32 [%a5], %f2;
"""


def test_a_missing_barrier_between_writing_and_reading_shared_memory():
    x, y = arrays(64)
    tile_kernel(EXCHANGE.format(between="bar.sync 0;", flip=128))((1,), (64,), (x, y))
    np.testing.assert_array_equal(y, x.reshape(2, 32)[::-1].ravel())
    message = (
        r"thread \d+, PTX line \d+: `st.shared.f32.*writes byte \d+ of shared memory, which thread \d+ reads at PTX"
    )
    with pytest.raises(Race, match=message):
        tile_kernel(EXCHANGE.format(between="", flip=128))((1,), (64,), (x, empty(64)))
    # a block that runs beside it does not hide it
    skip = "setp.ne.s32 %p1, %r2, 2; @%p1 bra SYNC; bra GO; SYNC: bar.sync 0; GO:"
    big, out = arrays(192)
    with pytest.raises(Race, match="block 2"):
        tile_kernel(EXCHANGE.format(between=skip, flip=128))((3,), (64,), (big, out))


def test_a_missing_barrier_before_the_next_write():
    loop = """
mov.u32 %r20, 0;
AGAIN: cvt.rn.f32.u32 %f1, %r20; st.shared.f32 [%r7], %f1; bar.sync 0;
xor.b32 %r8, %r6, 128; add.s32 %r9, %r5, %r8; ld.shared.f32 %f2, [%r9];
{last}
add.s32 %r20, %r20, 1; setp.lt.s32 %p1, %r20, 3; @%p1 bra AGAIN;
st.global.f32 [%a5], %f2;
"""
    x, y = arrays(64)
    tile_kernel(loop.format(last="bar.sync 0;"))((1,), (64,), (x, y))
    assert (y == 2).all()
    with pytest.raises(Race):
        tile_kernel(loop.format(last=""))((1,), (64,), (x, empty(64)))


def test_a_warp_barrier_orders_one_warp_only():
    x, y = arrays(64)
    warp = EXCHANGE.format(between="bar.warp.sync -1;", flip=4)
    tile_kernel(warp)((1,), (64,), (x, y))
    np.testing.assert_array_equal(y, x.reshape(-1, 2)[:, ::-1].ravel())
    with pytest.raises(Race):
        tile_kernel(EXCHANGE.format(between="", flip=4))((1,), (64,), (x, empty(64)))
    with pytest.raises(Race):
        tile_kernel(EXCHANGE.format(between="bar.warp.sync -1;", flip=128))((1,), (64,), (x, empty(64)))
    # a barrier of half a warp orders nothing with the other half
    part = "setp.lt.u32 %p1, %r1, 16; @!%p1 bra GO; bar.warp.sync 0xffff; GO:"
    with pytest.raises(Race):
        tile_kernel(EXCHANGE.format(between=part, flip=64))((1,), (32,), (x, empty(64)))
    # a shuffle orders nothing
    shuffle = "mov.u32 %r30, 0; shfl.sync.bfly.b32 %r31, %r30, 1, 31, -1;"
    with pytest.raises(Race):
        tile_kernel(EXCHANGE.format(between=shuffle, flip=4))((1,), (64,), (x, empty(64)))


def test_two_threads_that_write_one_address_in_one_instruction():
    x, y = arrays(64)
    with pytest.raises(Race, match=r"writes byte 0 of shared memory, which thread .* writes"):
        tile_kernel("st.shared.u32 [%r5], %r1;")((1,), (64,), (x, y))
    with pytest.raises(Race, match="of argument 1"):
        tile_kernel("st.global.u32 [%a2], %r1;")((1,), (64,), (x, y))
    # halves of one word are two addresses
    tile_kernel("shl.b32 %r8, %r1, 1; add.s32 %r8, %r8, %r5; cvt.u16.u32 %h1, %r1; st.shared.u16 [%r8], %h1;")(
        (1,), (64,), (x, y)
    )


def test_races_between_blocks():
    x, y = arrays(128)
    own = "ld.global.f32 %f1, [%a4]; st.global.f32 [%a5], %f1;"
    with pytest.raises(Race, match=r"writes byte \d+ of argument 1.*block . writes"):
        tile_kernel("mul.wide.s32 %a6, %r1, 4; add.s64 %a6, %a6, %a2; st.global.f32 [%a6], 0f3F800000;")(
            (2,), (64,), (x, y)
        )
    with pytest.raises(Race, match=r"reads byte .*block 0 writes"):  # the next block's first element
        tile_kernel(own + "ld.global.f32 %f2, [%a2];")((2,), (64,), (x, empty(128)))
    first = "ld.global.f32 %f2, [%a2]; setp.eq.s32 %p1, %r2, 0;"
    with pytest.raises(Race, match=r"writes byte .*block.* reads"):
        tile_kernel(first + "@%p1 st.global.f32 [%a5], %f2;")((2,), (64,), (x, np.zeros(128, np.float32)))
    relaxed = tile_kernel(
        own + "ld.global.f32 %f2, [%a2];", checks=Checks(races=False, block_races=False, uninitialized=False)
    )
    relaxed((2,), (64,), (x, empty(128)))


def test_blocks_that_do_not_run_side_by_side_race_all_the_same():
    x = np.zeros(1 << 15, np.float32)
    y = empty(1 << 15)
    with pytest.raises(Race):
        tile_kernel(
            "and.b32 %r10, %r4, 1023; mul.wide.s32 %a6, %r10, 4; add.s64 %a6, %a6, %a2; st.global.f32 [%a6], 0f00000000;"
        )((32,), (1024,), (x, y))


def test_atomics_do_not_race_with_each_other_but_with_reads():
    x, y = np.zeros(4, np.float32), np.zeros(4, np.float32)
    tile_kernel("atom.global.add.f32 %f1, [%a2], 0f3F800000;")((3,), (64,), (x, y))
    assert y[0] == 192
    with pytest.raises(Race):
        tile_kernel("red.global.add.f32 [%a2], 0f3F800000; ld.global.f32 %f2, [%a2];")((1,), (64,), (x, y))
    with pytest.raises(Race):
        tile_kernel("red.global.add.f32 [%a2], 0f3F800000; bar.sync 0; ld.global.f32 %f2, [%a2];")((2,), (64,), (x, y))


def test_atomics_in_shared_memory():
    x, y = arrays(64)
    count = "setp.eq.s32 %p1, %r1, 0; @%p1 st.shared.u32 [%r5], 0; bar.sync 0; red.shared.add.u32 [%r5], 1; {between}"
    count += "ld.shared.u32 %r9, [%r5]; st.global.u32 [%a5], %r9;"
    tile_kernel(count.format(between="bar.sync 0;"))((2,), (32,), (x, y))
    assert (y.view(np.uint32) == 32).all()
    with pytest.raises(Race, match="changes atomically byte 0 of shared memory"):
        tile_kernel(count.format(between=""))((2,), (32,), (x, empty(64)))


# --- memory that nothing has written ----------------------------------------------------------------------------------


def test_reads_of_memory_that_nothing_wrote():
    x, y = arrays(64)
    with pytest.raises(Uninitialized, match=r"thread 0, .* shared address 0 have never been written"):
        tile_kernel("ld.shared.f32 %f1, [%r7];")((1,), (64,), (x, y))
    half = "setp.lt.s32 %p1, %r1, 32; @%p1 st.shared.f32 [%r7], 0f00000000; bar.sync 0; ld.shared.f32 %f1, [%r7];"
    with pytest.raises(Uninitialized, match="shared address 128"):
        tile_kernel(half)((1,), (64,), (x, y))
    with pytest.raises(Uninitialized, match="byte 0 of argument 1"):
        tile_kernel("ld.global.f32 %f1, [%a5];")((1,), (64,), (x, y))
    with pytest.raises(Uninitialized, match="local address 4"):
        function("x", "st.local.u32 [stack], 1; ld.local.u32 %r1, [stack+4];", ".local .align 8 .b8 stack[8];")(
            (1,), (32,), (x,)
        )


def test_what_a_kernel_wrote_is_remembered():
    x, y = arrays(64)
    assert unwritten(y) == 256
    copy = tile_kernel("ld.global.f32 %f1, [%a4]; st.global.f32 [%a5], %f1;")
    copy((1,), (48,), (x, y))
    assert unwritten(y) == 64
    assert unwritten(y[:48]) == 0
    copy((1,), (48,), (y, uninitialized(np.empty(64, np.float32))))
    with pytest.raises(Uninitialized):
        copy((1,), (49,), (y, empty(64)))


# --- divergence -------------------------------------------------------------------------------------------------------


def test_a_barrier_that_some_threads_never_reach():
    x, y = arrays(64)
    with pytest.raises(Divergence, match="waits for a barrier, but 24 of them never come: thread 40 has ended"):
        tile_kernel("setp.ge.s32 %p1, %r1, 40; @%p1 ret; bar.sync 0;")((1,), (64,), (x, y))
    two = "setp.ge.s32 %p1, %r1, 32; @%p1 bra OTHER; bar.sync 0; bra DONE; OTHER: bar.sync 0; DONE:"
    with pytest.raises(Divergence, match=r"thread 0 waits at PTX line|thread 32 waits at PTX line"):
        tile_kernel(two)((1,), (64,), (x, y))


def test_a_shuffle_that_some_threads_never_reach():
    x, y = arrays(64)
    shuffle = "shfl.sync.bfly.b32 %r31, %r1, 1, 31, {mask}; add.s32 %r31, %r31, 0; cvt.rn.f32.u32 %f1, %r31;"
    with pytest.raises(Divergence, match="waits for threads of its warp"):
        tile_kernel(
            "setp.ge.s32 %p1, %r1, 16; @%p1 bra OUT;" + shuffle.format(mask=-1) + "bra DONE; OUT: bar.sync 0; DONE:"
        )((1,), (64,), (x, y))
    # named in the mask are only those that come
    tile_kernel("setp.ge.s32 %p1, %r1, 16; @%p1 bra OUT;" + shuffle.format(mask=0xFFFF) + "OUT:")((1,), (32,), (x, y))
    with pytest.raises(Divergence, match="does not take part"):
        tile_kernel("setp.ge.s32 %p1, %r1, 15; @%p1 bra OUT;" + shuffle.format(mask=0x7FFF) + "OUT:")(
            (1,), (32,), (x, y)
        )


def test_threads_that_arrive_late_are_waited_for():
    x, y = arrays(64)
    late = """
mov.u32 %r10, 0;
and.b32 %r11, %r1, 7;
LOOP: setp.ge.s32 %p1, %r10, %r11; @%p1 bra OUT; add.s32 %r10, %r10, 1; bra LOOP;
OUT: shfl.sync.bfly.b32 %r12, %r10, 1, 31, -1;
cvt.rn.f32.u32 %f1, %r12; st.global.f32 [%a5], %f1;
"""
    tile_kernel(late)((1,), (64,), (x, y))
    np.testing.assert_array_equal(y, np.arange(64) % 8 ^ 1)


def test_loops_without_an_end_and_traps():
    x, y = arrays(32)
    program = tile_kernel("LOOP: bra LOOP;").program
    with pytest.raises(Endless):
        launch(program, (1,), (32,), (x, y), limit=1000)
    with pytest.raises(SimulationError, match=r"thread 5, .*trap"):
        tile_kernel("setp.eq.s32 %p1, %r1, 5; @%p1 trap;")((1,), (32,), (x, y))


# --- asynchronous copies ----------------------------------------------------------------------------------------------

COPY = """
cp.async.ca.shared.global [%r7], [%a4], 4; cp.async.commit_group;
{wait}
xor.b32 %r8, %r6, 128; add.s32 %r9, %r5, %r8; ld.shared.f32 %f2, [%r9]; st.global.f32 [%a5], %f2;
cp.async.wait_all;
"""


def test_asynchronous_copies_are_late():
    x, y = arrays(64)
    tile_kernel(COPY.format(wait="cp.async.wait_group 0; bar.sync 0;"))((1,), (64,), (x, y))
    np.testing.assert_array_equal(y, x.reshape(2, 32)[::-1].ravel())
    for wait in ("bar.sync 0;", "cp.async.wait_group 1; bar.sync 0;"):
        with pytest.raises(Uninitialized):
            tile_kernel(COPY.format(wait=wait))((1,), (64,), (x, empty(64)))
    with pytest.raises(Race):
        tile_kernel(COPY.format(wait="cp.async.wait_group 0;"))((1,), (64,), (x, empty(64)))


# --- arguments --------------------------------------------------------------------------------------------------------


def test_arguments_that_cupy_would_pass_on_as_garbage():
    kernel = function("x n:u32 f:f32", "")
    x = np.zeros(4, np.float32)
    kernel((1,), (32,), (x, np.int32(3), np.float32(1)))
    for args, message in (
        ((x, 3, np.float32(1)), "argument 1 .* int; pass a NumPy scalar"),
        ((x, np.int64(3), np.float32(1)), "of 8 bytes; the parameter has 4"),
        ((x, np.int32(3), 1.0), "argument 2 .* float"),
        ((x, np.float32(3), np.float32(1)), "the parameter is an integer"),
        ((x, np.int32(3), np.int32(1)), r"the parameter is a \.f32"),
        ((None, np.int32(3), np.float32(1)), "NoneType"),
        ((x, np.int32(3)), "takes 3 arguments"),
        ((x[::-1], np.int32(3), np.float32(1)), "negative stride"),
    ):
        with pytest.raises(LaunchError, match=message):
            kernel((1,), (32,), args)
    for grid, block in (((0,), (32,)), ((1,), (2048,)), ((1, 1 << 17), (32,))):
        with pytest.raises(LaunchError):
            kernel(grid, block, (x, np.int32(3), np.float32(1)))
    with pytest.raises(LaunchError, match="max_dynamic_shared_size_bytes"):
        kernel((1,), (32,), (x, np.int32(3), np.float32(1)), shared_mem=50000)
    kernel.max_dynamic_shared_size_bytes = 50000
    kernel((1,), (32,), (x, np.int32(3), np.float32(1)), shared_mem=50000)


def test_modules_name_what_they_lack():
    with pytest.raises(LaunchError, match="there are: k"):
        Module(ptx=kernel_text("x", "")).get_function("other")
    with pytest.raises(LaunchError, match="one of them"):
        Module()
    with pytest.raises(UnknownInstruction, match="call"):
        function("x", "call.uni (retval0), f, (param0);")
