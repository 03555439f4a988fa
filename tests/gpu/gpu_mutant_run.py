"""Run as a program: `python -m gpu.gpu_mutant_run 0 1 2` tries the seeded bugs with these numbers.

"none" instead of numbers runs all checks on the kernels as they are. Prints one line of JSON each: number, check, what it said.
A process of its own, because a kernel with a bug in it may write anywhere.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from gpu.gpu_backends import OnHost, emulated, simulated
from gpu.gpu_mutants import MUTANTS, Mutant
from gpu.half_laws import HALF_LAWS
from gpu.simulator_calls import try_all, try_half_tiles
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from properties.kernel_attention_laws import ATTENTION_LAWS
from properties.kernel_laws import LAWS
from properties.kernel_more_laws import MORE_LAWS

from minilm_kernels.gpu import compile as compiling

EXAMPLES = 60


@contextmanager
def mutated(mutant: Mutant | None) -> Iterator[None]:
    """Inside `with`, kernels are compiled from a copy of the sources that has the bug in it."""
    whole = compiling.FOLDER
    with tempfile.TemporaryDirectory() as folder:
        for file in (*whole.glob("*.cu"), *whole.glob("*.cuh")):
            shutil.copy(file, folder)
        if mutant:
            (Path(folder) / mutant.file).write_text(mutant.source(), encoding="utf-8")
        compiling.FOLDER = Path(folder)
        forget()
        try:
            yield
        finally:
            compiling.FOLDER = whole
            forget()


def forget() -> None:
    """What was compiled stands in devices; the next call gets new ones."""
    for cached in (compiling.source, emulated, simulated):
        cached.cache_clear()


def examine(check: str, kernels: OnHost, draw: st.DataObject.draw) -> None:
    _short, _, kernel = check.partition(":")
    if kernel:
        LAWS["equals_the_formula"](kernels, kernel, draw)
    elif check == "half":
        HALF_LAWS["half_attention_is_as_exact_as_the_plain_formula"](kernels, np.dtype(np.float16), draw)
    elif check == "half_sums":
        HALF_LAWS["half_sums_are_rounded_to_the_nearest"](kernels, np.dtype(bfloat16()), draw)
    elif check in ATTENTION_LAWS:
        ATTENTION_LAWS[check](kernels, draw)
    else:
        MORE_LAWS[check][1](kernels, draw)


def bfloat16() -> type:
    import ml_dtypes

    return ml_dtypes.bfloat16


def complaint(check: str, examples: int = EXAMPLES) -> str | None:
    """What a check says about the kernels as they are now; None if it finds nothing."""

    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(data=st.data(), order=st.sampled_from([0, 1, 2]))
    def run(data, order):
        examine(check, emulated(order), data.draw)

    try:
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            if check == "simulator":
                try_all(simulated())
            elif check == "simulator_half":
                try_half_tiles(simulated())
            else:
                run()
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def main(numbers: list[str]) -> None:
    for number in numbers:
        if number == "none":
            with mutated(None):
                for check in sorted({mutant.check for mutant in MUTANTS}):
                    print(json.dumps([number, check, complaint(check, 4)]), flush=True)
        else:
            mutant = MUTANTS[int(number)]
            with mutated(mutant):
                print(json.dumps([int(number), mutant.check, complaint(mutant.check)]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
