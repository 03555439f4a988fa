"""Where the elements of a matrix lie in the registers of a warp: our tables against what NVIDIA's own tools do.

The simulator's mma.sync follows tables in the PTX manual, as the kernels do, so a misread table would go unnoticed between the
two. Three checks that do not rest on that reading:

1.  Machine code. wmma.load, wmma.mma and wmma.store (what the wmma functions of the CUDA headers compile to) say only "the
    row-major matrix at this address"; which lane holds what is left to the assembler. NVIDIA's assembler turns them into plain
    loads by each lane, HMMA (the hardware's instruction) and plain stores. We disassemble that, evaluate the addresses, and put
    the simulator's function of fragments in HMMA's place. If the result is A B, that function has HMMA's layout, up to an order
    of k that A and B share, which changes no result. This proves that the assembler's loads and our fragments together are the
    product, for sm_75 (HMMA.1688), sm_80 and sm_86 (HMMA.16816). It proves nothing about how hardware rounds.
2.  The same for mma.sync: a kernel that loads each register of each lane from a numbered place compiles to HMMA
    with these registers in this order, so that PTX's operands are HMMA's.
3.  CUTLASS's CuTe describes the instruction by numbers of its own (layout algebra), which its users run on hardware: an
    account of the layout by other hands, though of the same company.
"""

from __future__ import annotations

import numpy as np
import pytest
from sass import Warp, disassemble, nvdisasm

from minilm_kernels.gpu import nvrtc
from minilm_kernels.gpu.simulate import Module, empty
from minilm_kernels.gpu.simulator.numbers import from_bfloat16, to_bfloat16
from minilm_kernels.gpu.simulator.opcodes import tensor

needs_nvrtc = pytest.mark.skipif(
    nvrtc.find() is None, reason="NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12"
)
needs_disassembler = pytest.mark.skipif(
    nvdisasm() is None, reason="nvdisasm is not installed: pip install nvidia-cuda-nvdisasm"
)
RNG = np.random.default_rng(11)


def machine_code(source: str, arch: str) -> list[tuple[str, list[str]]]:
    """What NVIDIA's assembler makes of a kernel."""
    compiler = nvrtc.find()
    assert compiler is not None
    return disassemble(compiler.compile(source, (), arch, ("-std=c++17",)).code)


def with_our_fragments(a, b, c, K, bfloat16):
    """HMMA, by the simulator's tables."""
    kind = "bf16" if bfloat16 else "f16"
    A, B = (tensor.as_floats([np.ascontiguousarray(w) for w in words.T], kind) for words in (a, b))
    return tensor.multiply_fragments(A, B, c.reshape(1, 32, 4).astype(np.float64), K)[0]


def numbers(shape, bfloat16=False):
    x = RNG.standard_normal(shape).astype(np.float32)
    return to_bfloat16(x) if bfloat16 else x.astype(np.float16)


def values(x):
    return (from_bfloat16(x) if x.dtype == np.uint16 else x).astype(np.float64)


SOURCE = """
extern "C" __global__ void product(const void* a, const void* b, float* c) {{
  unsigned x[{a}], y[{b}];
  float d[8] = {{}};
  asm volatile("wmma.load.a.sync.aligned.row.m16n16k16.global.{type} {{{ra}}}, [%{na}], %{nl};" : {oa} : "l"(a), "r"(16));
  asm volatile("wmma.load.b.sync.aligned.{order}.m16n16k16.global.{type} {{{rb}}}, [%{nb}], %{nm};" : {ob} : "l"(b), "r"(16));
  asm volatile("wmma.mma.sync.aligned.row.{order}.m16n16k16.f32{types} "
    "{{%0,%1,%2,%3,%4,%5,%6,%7}}, {{{ma}}}, {{{mb}}}, {{%0,%1,%2,%3,%4,%5,%6,%7}};"
    : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]) : {ix}, {iy});
  asm volatile("wmma.store.d.sync.aligned.row.m16n16k16.global.f32 [%0], {{%1,%2,%3,%4,%5,%6,%7,%8}}, %9;"
    :: "l"(c), "f"(d[0]), "f"(d[1]), "f"(d[2]), "f"(d[3]), "f"(d[4]), "f"(d[5]), "f"(d[6]), "f"(d[7]), "r"(16));
}}
"""


def wmma_source(order: str, bfloat16: bool) -> str:
    """C = A B by wmma: A (16, 16) row-major; B (16, 16), order "row" or "col"; C (16, 16) row-major."""
    n = 4 if bfloat16 else 8  # registers of a fragment
    listed = lambda first: ",".join(f"%{first + i}" for i in range(n))  # noqa: E731
    out = lambda name: ", ".join(f'"=r"({name}[{i}])' for i in range(n))  # noqa: E731
    into = lambda name: ", ".join(f'"r"({name}[{i}])' for i in range(n))  # noqa: E731
    return SOURCE.format(
        a=n, b=n, order=order, type="bf16" if bfloat16 else "f16", types=".bf16.bf16.f32" if bfloat16 else ".f32",
        ra=listed(0), rb=listed(0), na=n, nl=n + 1, nb=n, nm=n + 1, oa=out("x"), ob=out("y"),
        ma=listed(8), mb=listed(8 + n), ix=into("x"), iy=into("y"),
    )  # fmt: skip


@needs_nvrtc
@needs_disassembler
@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_86"])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_the_assembler_lays_matrices_out_as_our_tables_say(arch, bfloat16):
    if bfloat16 and arch == "sm_75":
        pytest.skip("Turing's tensor cores have no bfloat16")
    code = machine_code(wmma_source("col", bfloat16), arch)
    a, b, c = numbers((16, 16), bfloat16), numbers((16, 16), bfloat16), np.full((16, 16), np.nan, np.float32)
    assert any(name.startswith("HMMA") for name, _ in code)
    Warp(arch, [a, b, c], with_our_fragments).run(code)
    np.testing.assert_allclose(c, values(a) @ values(b).T, rtol=1e-5, atol=1e-5)  # "col": b holds the columns of B


@needs_nvrtc
@needs_disassembler
def test_a_wrong_table_would_be_seen(monkeypatch):
    code = machine_code(wmma_source("col", False), "sm_80")
    a, b = numbers((16, 16)), numbers((16, 16))
    rows, columns = tensor.a_fragment(16)
    wrong = {
        "a_fragment": [(columns, rows), (rows, columns[:, ::-1]), (rows[:, ::-1], columns), (rows[::-1], columns)],
        "b_fragment": [
            tuple(reversed(tensor.b_fragment(16))),
            (tensor.b_fragment(16)[0][:, ::-1], tensor.b_fragment(16)[1]),
        ],
        "c_fragment": [
            (tensor.c_fragment()[0][:, ::-1], tensor.c_fragment()[1]),
            (tensor.c_fragment()[0], tensor.c_fragment()[1][:, ::-1]),
        ],
    }
    for name, tables in wrong.items():
        for table in tables:
            with monkeypatch.context() as patch:
                patch.setattr(tensor, name, lambda *_, t=table: t)
                c = np.zeros((16, 16), np.float32)
                try:
                    Warp("sm_80", [a, b, c], with_our_fragments).run(code)
                except IndexError:
                    continue
                assert not np.allclose(c, values(a) @ values(b).T, atol=1e-2), (name, table)


MMA = """
extern "C" __global__ void k(const unsigned* a, const unsigned* b, const float* c, float* d) {
  const int t = threadIdx.x;
  float x[4];
  for (int i = 0; i < 4; i++) x[i] = c[i * 32 + t];
  asm volatile("mma.sync.aligned.m16n8kKK.row.col.f32.TYPE.TYPE.f32 {%0,%1,%2,%3}, {AREGS}, {BREGS}, {%0,%1,%2,%3};"
    : "+f"(x[0]), "+f"(x[1]), "+f"(x[2]), "+f"(x[3]) : INPUTS);
  for (int i = 0; i < 4; i++) d[i * 32 + t] = x[i];
}
"""


def mma_source(K: int, kind: str) -> str:
    na, nb = K // 4, K // 8
    inputs = [f'"r"(a[{i} * 32 + t])' for i in range(na)] + [f'"r"(b[{i} * 32 + t])' for i in range(nb)]
    listed = lambda first, n: ",".join(f"%{first + i}" for i in range(n))  # noqa: E731
    text = MMA.replace("KK", str(K)).replace("TYPE", kind).replace("INPUTS", ", ".join(inputs))
    return text.replace("AREGS", listed(4, na)).replace("BREGS", listed(4 + na, nb))


@needs_nvrtc
@needs_disassembler
@pytest.mark.parametrize(("K", "kind"), [(16, "f16"), (16, "bf16"), (8, "f16"), (8, "bf16")])
def test_operands_of_mma_are_those_of_the_machine_instruction(K, kind):
    source = mma_source(K, kind)
    a = numbers((K // 4, 32, 2), kind == "bf16").view(np.uint32).reshape(K // 4, 32)
    b = numbers((K // 8, 32, 2), kind == "bf16").view(np.uint32).reshape(K // 8, 32)
    c = RNG.standard_normal((4, 32)).astype(np.float32)
    machine, simulated = np.zeros((4, 32), np.float32), empty((4, 32))
    Warp("sm_80", [a, b, c, machine], with_our_fragments).run(machine_code(source, "sm_80"))
    Module(code=source).get_function("k")((1,), (32,), (a, b, c, simulated))
    np.testing.assert_array_equal(machine, simulated)


# --- CuTe -------------------------------------------------------------------------------------------------------------


def layout(shape, stride):
    """A CuTe layout ((threads…), (values…)) : strides, as an array [thread, value] of offsets; the first mode runs fastest."""

    def modes(sizes, steps):
        offsets = np.zeros(1, int)
        for size, step in zip(sizes, steps):
            offsets = (offsets[None] + step * np.arange(size)[:, None]).ravel()
        return offsets

    return modes(shape[0], stride[0])[:, None] + modes(shape[1], stride[1])[None]


@pytest.mark.parametrize("K", [8, 16])
def test_cute_numbers_the_same_layout(K):
    """CUTLASS, include/cute/atom/mma_traits_sm80.hpp: SM80_16x8x8, SM80_16x8x16; column-major in (M, K), (N, K), (M, N)."""
    a = {8: layout(((4, 8), (2, 2)), ((32, 1), (16, 8))), 16: layout(((4, 8), (2, 2, 2)), ((32, 1), (16, 8, 128)))}[K]
    b = {8: layout(((4, 8), (2,)), ((16, 1), (8,))), 16: layout(((4, 8), (2, 2)), ((16, 1), (8, 64)))}[K]
    c = layout(((4, 8), (2, 2)), ((32, 1), (16, 8)))
    row, column = tensor.a_fragment(K)
    np.testing.assert_array_equal((row + 16 * column).reshape(32, -1), a)
    row, column = tensor.b_fragment(K)
    np.testing.assert_array_equal((column + 8 * row).reshape(32, -1), b)
    row, column = tensor.c_fragment()
    np.testing.assert_array_equal(row + 16 * column, c)
