"""minilm: a language-model engine that people can read.

    from minilm import Tensor, nn, functional as F, optim

Importing it loads NumPy and nothing else; plots, progress bars, checkpoints and kernels load what they need on first use.
The rooms above the engine are imported when one of their names is asked for:

    from minilm import AutoModelForCausalLM, AutoTokenizer
"""

import importlib
from typing import Any

from minilm import functional, nn, optim
from minilm.errors import CheckpointError, InputError, MissingDependencyError
from minilm.tape import no_grad
from minilm.tensor import Parameter, Tensor, tensor

__version__ = "0.1.0"

# rooms whose names `from minilm import ...` finds; each has MODULES, a table of its names
LAZY_ROOMS = ("minilm.hub", "minilm.data.collators", "minilm.pipelines", "minilm.training")

__all__ = [
    "CheckpointError",
    "InputError",
    "MissingDependencyError",
    "Parameter",
    "Tensor",
    "functional",
    "nn",
    "no_grad",
    "optim",
    "tensor",
]


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        for room in map(importlib.import_module, LAZY_ROOMS):
            if name in room.MODULES:
                return getattr(room, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    lazy = [name for room in LAZY_ROOMS for name in importlib.import_module(room).MODULES]
    return sorted([*globals(), *lazy])
