"""minilm: a language-model engine that people can read.

    from minilm import Tensor, nn, functional as F, optim

Importing it loads NumPy and nothing else; plots, progress bars, checkpoints and kernels load what they need on first use.
"""

from minilm import functional, nn, optim
from minilm.errors import CheckpointError, InputError, MissingDependencyError
from minilm.tape import no_grad
from minilm.tensor import Parameter, Tensor, tensor

__version__ = "0.1.0"

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
