"""Run as a program: `python -m gpu.sanitizer_run address|thread [mutant]` makes the small calls with a sanitizer.

The interpreter must have been started with the sanitizer's library in LD_PRELOAD (test_gpu_sanitizers.py does). A finding
ends the process with the sanitizer's own exit code.
"""

from __future__ import annotations

import sys

import numpy as np
from gpu import simulator_calls
from gpu.gpu_backends import emulated
from gpu.gpu_mutant_run import mutated
from gpu.gpu_mutants import MUTANTS


def main(sanitizer: str, number: str | None = None) -> None:
    mutant = None if number is None else MUTANTS[int(number)]
    with mutated(mutant), np.errstate(all="ignore"):
        kernels = emulated(0, sanitizer)
        for name, build in simulator_calls.CALLS.items():
            print(name, flush=True)
            simulator_calls.try_call(kernels, build())
        simulator_calls.try_updates(kernels)
        simulator_calls.try_call(kernels, simulator_calls.attention(20, 40, 16, causal=True), np.float16, 4e-3)
    print("nothing found", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
