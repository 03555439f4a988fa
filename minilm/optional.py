"""Libraries that load on first use: `import minilm` needs NumPy alone."""

from __future__ import annotations

import importlib
from types import ModuleType

from minilm.errors import MissingDependencyError

# module -> what to type when it is missing
INSTALL_HINTS = {
    "numba": "pip install numba",
    "cupy": 'pip install "minilm[cuda12]" or "minilm[cuda13]", whichever fits your driver',
    "matplotlib": "pip install matplotlib",
    "matplotlib.pyplot": "pip install matplotlib",
    "safetensors": "pip install safetensors",
    "safetensors.numpy": "pip install safetensors",
    "sklearn": "pip install scikit-learn",
    "tqdm": "pip install tqdm",
    "yaml": "pip install PyYAML",
    "jsonargparse": "pip install jsonargparse",
}


def require(module: str, purpose: str) -> ModuleType:
    """Import `module`, or raise one sentence that says what it is needed for and how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        hint = INSTALL_HINTS.get(module, f"pip install {module.partition('.')[0]}")
        raise MissingDependencyError(
            f"{purpose} needs {module.partition('.')[0]}, which cannot be imported ({error}); install it: {hint}"
        ) from error
