"""PTX texts written by hand for the simulator's tests: one instruction on every element, or a small kernel."""

from __future__ import annotations

import numpy as np

from minilm_kernels.gpu.simulate import Module, uninitialized

HEAD = ".version 8.3\n.target sm_80\n.address_size 64\n"
WIDTHS = {"pred": 1, "8": 1, "16": 2, "32": 4, "64": 8, "f16x2": 4, "bf16x2": 4, "bf16": 2, "tf32": 4}


def bits_of(kind: str) -> int:
    if kind in ("f16x2", "bf16x2"):
        return 32
    return {"bf16": 16}.get(kind) or int(kind[1:])


def register_type(kind: str) -> str:
    return {"f32": ".f32", "f64": ".f64"}.get(kind, f".b{max(16, bits_of(kind))}")


def storage(kind: str) -> np.dtype:
    """The dtype of an array of this PTX type."""
    if kind.startswith("f") and kind != "f16x2":
        return np.dtype(f"f{bits_of(kind) // 8}")
    return np.dtype(f"{'i' if kind[0] == 's' else 'u'}{bits_of(kind) // 8}")


def memory_type(kind: str) -> str:
    return kind if kind in ("f32", "f64") or kind[0] in "us" else f"b{bits_of(kind)}"


def one_instruction(text: str, result: str, sources: list[str], constants: tuple[str, ...] = ()) -> str:
    """A kernel r[i] = instruction(a[i], b[i], …). text: 'add.s32 $0, $1, $2;' with $0 the result."""
    lines = [
        HEAD,
        ".visible .entry k(" + ", ".join(f".param .u64 p{i}" for i in range(len(sources) + 1)) + ", .param .u32 n)",
        "{",
        ".reg .pred %p<4>; .reg .b32 %t<9>; .reg .b64 %a<40>;",
    ]
    for i, kind in enumerate((result, *sources)):
        lines.append(f".reg {register_type(kind)} %x{i};")
        text = text.replace(f"${i}", f"%x{i}")
    lines += [
        "mov.u32 %t0, %tid.x; mov.u32 %t1, %ctaid.x; mov.u32 %t2, %ntid.x; mad.lo.s32 %t3, %t1, %t2, %t0;",
        "ld.param.u32 %t4, [n]; setp.ge.s32 %p0, %t3, %t4; @%p0 bra DONE;",
    ]
    for i, kind in enumerate(sources, 1):
        lines.append(
            f"ld.param.u64 %a{i}, [p{i}]; mul.wide.s32 %a20, %t3, {storage(kind).itemsize}; add.s64 %a{i}, %a{i}, %a20;"
            f"ld.global.{memory_type(kind)} %x{i}, [%a{i}];"
        )
    lines += [
        text,
        f"ld.param.u64 %a0, [p0]; mul.wide.s32 %a20, %t3, {storage(result).itemsize}; add.s64 %a0, %a0, %a20;",
        f"st.global.{memory_type(result)} [%a0], %x0;",
        "DONE: ret;",
        "}",
    ]
    return "\n".join(lines)


def execute(text: str, result: str, kinds: str, *arrays: np.ndarray) -> np.ndarray:
    """The results of an instruction on arrays. kinds: the sources' PTX types, with spaces between."""
    sources = kinds.split()
    arrays = tuple(np.ascontiguousarray(a, storage(k)) for a, k in zip(arrays, sources, strict=True))
    out = uninitialized(np.empty(arrays[0].shape, storage(result)))
    kernel = Module(ptx=one_instruction(text, result, sources)).get_function("k")
    n = out.size
    kernel((-(-n // 96),), (96,), (out, *arrays, np.uint32(n)))
    return out


def kernel_text(parameters: str, body: str, shared: str = "") -> str:
    """A kernel named k with plenty of registers; parameters: "x y n:u32" (u64 unless another type follows a colon)."""
    declared = []
    for parameter in parameters.split():
        name, _, kind = parameter.partition(":")
        declared.append(f".param .{kind or 'u64'} {name}")
    return (
        f"{HEAD}.visible .entry k({', '.join(declared)})\n{{\n"
        ".reg .pred %p<20>; .reg .b16 %h<20>; .reg .b32 %r<60>; .reg .f32 %f<60>; .reg .b64 %a<60>;\n"
        f"{shared}\n{body}\nret;\n}}\n"
    )


def function(parameters: str, body: str, shared: str = "", **options):
    """kernel_text() as a kernel to call."""
    return Module(ptx=kernel_text(parameters, body, shared), **options).get_function("k")
