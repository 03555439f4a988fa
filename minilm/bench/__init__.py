"""Benchmarks: minilm beside PyTorch eager. Never part of the tests: a timed test fails on a busy machine.

    python -m minilm.bench train --recipe char     # one training step of ours and of PyTorch, and where ours goes
    python -m minilm.bench recipe --seeds 3        # nanoGPT's whole CPU recipe on tinyshakespeare
    python -m minilm.bench memory                  # peak memory of a training step
    python -m minilm.bench startup                 # how long `import minilm` takes, and what it loads
    python -m minilm.bench decode                  # tokens per second
    python -m minilm.bench gpu                     # the CUDA kernels beside PyTorch's, where there is a GPU

Each subcommand is the module of that name with main(argv) -> exit code. PyTorch is a partner here, never a dependency.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from minilm.errors import InputError, MissingDependencyError

SUBCOMMANDS = {
    "train": "time one training step beside PyTorch's, after checking that both compute the same",
    "recipe": "train nanoGPT's CPU recipe on tinyshakespeare and measure the whole validation split",
    "decode": "time generation with the key/value cache beside transformers",
    "startup": "time `import minilm` in fresh processes and list what it loads",
    "memory": "measure the peak memory of a training step beside PyTorch's",
    "tasks": "fine-tune for seven tasks beside transformers and bags of words",
    "kernels": "time every kernel beside PyTorch's",
    "gpu": "time every CUDA kernel beside PyTorch's on a GPU",
    "ladder": "time every rung of the ladder, and draw this machine's roofline",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `argv[0]`, one of SUBCOMMANDS, with the rest as its options; returns its exit code.

    0 all well, 1 a comparison failed, 2 something the user can mend (said in one sentence).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    name = arguments[0]
    if name not in SUBCOMMANDS:
        print(f"there is no benchmark {name!r}; choose one of {', '.join(SUBCOMMANDS)}", file=sys.stderr)
        return 2
    try:
        return importlib.import_module(f"minilm.bench.{name}").main(arguments[1:])
    except (InputError, MissingDependencyError) as error:
        print(error, file=sys.stderr)
        return 2


def usage() -> str:
    lines = [f"  {name:<9}{text}" for name, text in SUBCOMMANDS.items()]
    return "\n".join(
        [
            "usage: python -m minilm.bench NAME [options]",
            "",
            "Measure minilm beside PyTorch on this machine. NAME is one of",
            *lines,
            "",
            "`python -m minilm.bench NAME --help` explains what is measured and how.",
        ]
    )
