"""A kernel's program on a GPU: compiled by CuPy's NVRTC with our options and no others, kept on disk, loaded by CuPy.

CuPy's own RawModule(code=...) adds -ftz=true to whatever options it gets: numbers below 2⁻¹²⁶ would become 0 on the GPU, and
the GPU would not run what the simulator runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minilm_kernels.caches import cache_folder
from minilm_kernels.gpu.plan import LIMITS


class GpuModule:
    """Like cupy.RawModule(code=..., options=..., name_expressions=...), for one kernel on the current GPU."""

    def __init__(self, code: str, options: Sequence[str], name_expressions: Sequence[str]):
        import cupy

        (self.expression,) = name_expressions
        capability = int(cupy.cuda.Device().compute_capability)
        key = repr((code, tuple(options), self.expression, capability, cupy.cuda.nvrtc.getVersion()))
        path = cache_folder() / "gpu" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.cubin"
        try:
            self.module, self.name = self._read(path)
        except (OSError, cupy.cuda.driver.CUDADriverError):  # not there, or damaged
            program, self.name = compile_program(cupy.cuda.nvrtc, code, options, self.expression, capability)
            self.module = self._write(path, program, self.name)

    def get_function(self, expression: str) -> Any:
        """The kernel, to be called with grid, block and arguments."""
        if expression != self.expression:
            raise ValueError(f"this module holds {self.expression}, not {expression}")
        return self.module.get_function(self.name)

    @staticmethod
    def _read(path: Path) -> tuple[Any, str]:
        """The module of a program on disk, and the kernel's name in it."""
        import cupy

        name = path.with_suffix(".name").read_text(encoding="utf-8")
        module = cupy.RawModule(path=str(path))
        module.get_function(name).num_regs  # noqa: B018  (asked for, so that CuPy reads the file now)
        return module, name

    @classmethod
    def _write(cls, path: Path, program: bytes, name: str) -> Any:
        """Keep a program and load it; where nothing can be kept, from a file that goes away."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path.with_suffix(".name"), name.encode())
            write(path, program)  # last: where it is, its name is as well
            return cls._read(path)[0]
        except OSError:
            with tempfile.TemporaryDirectory() as folder:
                here = Path(folder) / "kernel.cubin"
                here.write_bytes(program)
                here.with_suffix(".name").write_text(name, encoding="utf-8")
                return cls._read(here)[0]


def write(path: Path, content: bytes) -> None:
    """To a temporary name first: another process must not read half a file."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    try:
        os.replace(file.name, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(file.name)
        raise


def compile_program(
    nvrtc: Any, code: str, options: Sequence[str], expression: str, capability: int
) -> tuple[bytes, str]:
    """The program for an architecture, and the kernel's name in it.

    nvrtc: cupy.cuda.nvrtc. One that is older than the GPU gets PTX of an older architecture, which the driver compiles.
    Raises RuntimeError with the compiler's words.
    """
    older = [f"compute_{number}" for number in sorted(LIMITS, reverse=True) if number < capability]
    log = ""
    for arch in (f"sm_{capability}", *older):
        program = nvrtc.createProgram(code, "kernel.cu", (), ())
        try:
            nvrtc.addNameExpression(program, expression)
            nvrtc.compileProgram(program, (*options, f"--gpu-architecture={arch}"))
            made = (nvrtc.getCUBIN if arch.startswith("sm_") else nvrtc.getPTX)(program)
            return made.encode() if isinstance(made, str) else made, nvrtc.getLoweredName(program, expression)
        except nvrtc.NVRTCError:
            log = nvrtc.getProgramLog(program)
            if "gpu-architecture" not in log:
                break
        finally:
            nvrtc.destroyProgram(program)
    raise RuntimeError(f"NVRTC {nvrtc.getVersion()} cannot compile {expression}: {log[:4000]}")
