"""Compiling the kernels ahead of their first use, and saying so where it happens on the way."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

import minilm_kernels as kernels
from minilm.optional import require


def compile_kernels(dtypes: tuple[str, ...] = ("float32",), progress: bool = True) -> str:
    """Call every kernel once, so that a later run finds it compiled; returns a report of a few lines."""
    from minilm_kernels.warm import calls

    if kernels.active() != "numba":
        return f"the {kernels.active()} kernels serve here, and they need no compiler"
    from minilm_kernels.caches import cache_folder
    from minilm_kernels.cpu.compile import announced
    from minilm_kernels.cpu.target import MATRIX_UNIT, TARGET

    tqdm = require("tqdm", "the progress bar").tqdm
    compiled: list[str] = []
    started = time.perf_counter()
    work = [(name, call) for dtype in dtypes for name, call in calls(np.dtype(dtype))]
    with announced(compiled.append), tqdm(work, unit="kernel", disable=None if progress else True) as bar:
        for name, call in bar:
            bar.set_postfix_str(name)
            call()
    seconds = time.perf_counter() - started
    files = list(cache_folder().rglob("*.nbc"))
    size = sum(file.stat().st_size for file in files) / 1e6
    return "\n".join([
        f"processor   {TARGET.name}, vectors of {TARGET.vector_bytes} bytes{' and a matrix unit' if MATRIX_UNIT else ''}",
        f"compiled    {len(compiled)} of {len(work)} calls needed the compiler; {seconds:.1f} s",
        f"cache       {cache_folder()} ({len(files)} files, {size:.1f} MB)",
    ])  # fmt: skip


@contextlib.contextmanager
def compiling_is_said(say: Callable[[str], None] = lambda line: print(line, file=sys.stderr)) -> Iterator[None]:
    """Within this block the first kernel that has to be compiled is announced, so that nobody wonders about the pause."""
    if kernels.active() != "numba":
        yield
        return
    from minilm_kernels.cpu.compile import announced

    said = False

    def once(name: str) -> None:
        nonlocal said
        if not said:
            say("compiling kernels for this processor: half a minute, only this once (minilm kernels does it ahead)")
        said = True

    with announced(once):
        yield
