"""NVIDIA's runtime compiler, called directly: CUDA C++ to PTX or to a program for one architecture, without a device.

CuPy uses the same library, but only where there is a GPU. The tests and the simulator need it where there is none; it comes
with `pip install nvidia-cuda-nvrtc-cu12` (CUDA 12) or `nvidia-cuda-nvrtc` (CUDA 13).
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

LIBRARIES = {12: "libnvrtc.so.12", 13: "libnvrtc.so.13"}


class Compiled(NamedTuple):
    """What the compiler made: PTX text or a cubin, the kernels' names in it by expression, and its report."""

    code: bytes
    names: dict[str, str]
    log: str


class Nvrtc:
    """One version of the compiler."""

    def __init__(self, path: str):
        self._library = ctypes.CDLL(path)
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        self.version = (major.value, minor.value)

    def compile(self, source: str, expressions: Sequence[str], arch: str, options: Sequence[str] = ()) -> Compiled:
        """arch: "compute_80" for PTX, "sm_80" for a program. Raises RuntimeError with the compiler's words."""
        program = ctypes.c_void_p()
        self._call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
        try:
            for expression in expressions:
                self._call("nvrtcAddNameExpression", program, expression.encode())
            words = [f"--gpu-architecture={arch}".encode(), *(option.encode() for option in options)]
            failed = self._library.nvrtcCompileProgram(program, len(words), (ctypes.c_char_p * len(words))(*words))
            log = self._bytes("ProgramLog", program).rstrip(b"\0").decode(errors="replace")
            if failed:
                raise RuntimeError(f"NVRTC {self.version[0]}.{self.version[1]} for {arch}: {log[:4000]}")
            names = {}
            for expression in expressions:
                name = ctypes.c_char_p()
                self._call("nvrtcGetLoweredName", program, expression.encode(), ctypes.byref(name))
                names[expression] = (name.value or b"").decode()
            return Compiled(self._bytes("PTX" if arch.startswith("compute") else "CUBIN", program), names, log)
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _bytes(self, what: str, program: ctypes.c_void_p) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", program, text)
        return text.raw

    def _call(self, name: str, *arguments: object) -> None:
        result = getattr(self._library, name)(*arguments)
        if result:
            raise RuntimeError(f"{name}: {self._library.nvrtcGetErrorString(result).decode()}")


@functools.cache
def find(major: int | None = None) -> Nvrtc | None:
    """The compiler of CUDA 12 or 13 (or the newest there is): that of the NVIDIA wheels, else the system's; None if missing."""
    for version in (major,) if major else sorted(LIBRARIES, reverse=True):
        for path in (*_in_wheels(LIBRARIES[version]), LIBRARIES[version]):
            try:
                return Nvrtc(path)
            except (OSError, RuntimeError):
                continue
    return None


def _in_wheels(name: str) -> list[str]:
    found = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in found.submodule_search_locations or ()] if found else []
    return [str(path) for folder in folders for path in sorted(folder.glob(f"*/lib/{name}"))]
