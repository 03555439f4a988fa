"""CUDA C++ compiled by g++: `EmulatedModule` has the interface of cupy.RawModule and takes NumPy arrays.

It is stricter than CuPy where CuPy would go on with garbage: an argument must have exactly the type of its parameter.
Built libraries are kept in a folder of the system's temporary one, by a hash of all that goes into them.
"""

from __future__ import annotations

import ctypes
import functools
import getpass
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HEADERS = Path(__file__).parent / "emulator"
FLAGS = ("-std=c++17", "-O1", "-g", "-fPIC", "-shared", "-w", "-fno-strict-aliasing", "-fno-gnu-unique")


class EmulatorError(RuntimeError):
    """A launch that a device would not survive, or not notice."""


def missing() -> str | None:
    """Why this cannot run here, or None."""
    return None if shutil.which("g++") else "g++ is not installed"


@functools.cache
def _headers() -> str:
    return "".join(file.read_text() for file in sorted(HEADERS.glob("*.h")))


def folder() -> Path:
    path = Path(tempfile.gettempdir()) / f"minilm-emulator-{getpass.getuser()}"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


class EmulatedModule:
    """order: in which the threads of a block run (0 forward, 1 backward, 2 shuffled with `seed`); sanitize: of g++."""

    def __init__(
        self,
        code: str,
        options: Sequence[str] = (),
        name_expressions: Sequence[str] = (),
        *,
        order: int = 0,
        seed: int = 0,
        sanitize: str | None = None,
    ):
        self.order, self.seed = order, seed
        exports = "".join(f"EXPORT({i}, {name})\n" for i, name in enumerate(name_expressions))
        text = f'#include "cuda.h"\n{code}\n#line 1 "exports"\n{exports}'
        flags = [*FLAGS, *(option for option in options if option.startswith("-D"))]
        if sanitize:
            flags += [f"-fsanitize={sanitize}", "-fno-omit-frame-pointer"]
        digest = hashlib.sha256("\0".join([text, _headers(), *flags]).encode()).hexdigest()[:20]
        library = folder() / f"{digest}.so"
        if not library.exists():
            build = folder() / f"{digest}-{os.getpid()}.cpp"
            build.write_text(text)
            made = build.with_suffix(".tmp")
            command = ["g++", *flags, f"-I{HEADERS}", str(build), "-o", str(made)]
            environment = {
                name: value for name, value in os.environ.items() if name != "LD_PRELOAD"
            }  # a sanitizer's, for us
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise EmulatorError(done.stderr[:4000])
            made.replace(library)
            build.unlink()
        self.library = ctypes.CDLL(str(library))
        self.library.emulator_error.restype = ctypes.c_char_p
        self.numbers = {name: i for i, name in enumerate(name_expressions)}

    def get_function(self, name: str) -> EmulatedKernel:
        return EmulatedKernel(self, name)


class EmulatedKernel:
    max_dynamic_shared_size_bytes = 48 * 1024

    def __init__(self, module: EmulatedModule, name: str):
        number = module.numbers[name]
        self.module, self.name = module, name
        self.launch = getattr(module.library, f"launch_{number}")
        signature = getattr(module.library, f"signature_{number}")
        signature.restype = ctypes.c_char_p
        self.types = signature().decode().rstrip(",").split(",")

    def __call__(self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], *, shared_mem: int = 0) -> None:
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise EmulatorError(
                f"{self.name}: {shared_mem} bytes of shared memory without max_dynamic_shared_size_bytes"
            )
        if len(args) != len(self.types):
            raise EmulatorError(f"{self.name}: {len(args)} arguments for {len(self.types)} parameters")
        kept, values = [], (ctypes.c_void_p * len(args))()
        for i, (value, kind) in enumerate(zip(args, self.types)):
            memory = self._pointer(i, value, kind) if kind[0] == "*" else self._number(i, value, kind)
            kept.append(memory)
            values[i] = memory.ctypes.data
        sizes = [(ctypes.c_uint * 3)(*(*of, 1, 1)[:3]) for of in (grid, block)]
        if self.launch(*sizes, ctypes.c_size_t(shared_mem), self.module.order, self.module.seed, values):
            raise EmulatorError(self.module.library.emulator_error().decode())

    def _pointer(self, i: int, value: Any, kind: str) -> np.ndarray:
        if isinstance(value, np.ndarray):
            given = value.dtype.kind + str(value.dtype.itemsize)
            if given not in {"*f2": (), "*h2": ("f2", "u2"), "*u1": ("b1", "u1")}.get(kind, (kind[1:],)):
                raise EmulatorError(f"{self.name}: argument {i} is {value.dtype}, the parameter {kind}")
            if any(stride < 0 and n > 1 for stride, n in zip(value.strides, value.shape)):
                raise EmulatorError(f"{self.name}: argument {i} has a negative stride")
            return np.array([value.ctypes.data], np.uintp)
        if isinstance(value, np.uintp) and value == 0:
            return np.zeros(1, np.uintp)
        raise EmulatorError(f"{self.name}: argument {i} is {value!r}, the parameter a pointer")

    def _number(self, i: int, value: Any, kind: str) -> np.ndarray:
        if not isinstance(value, np.generic) or value.dtype.kind + str(value.dtype.itemsize) != kind:
            raise EmulatorError(
                f"{self.name}: argument {i} is {value!r}, the parameter {kind}: a NumPy number of that type"
            )
        return np.array([value])
