"""The kernels in CUDA C++, with the signatures and the results of `minilm_kernels.reference`, for CuPy arrays.

To read them, from the bottom up: types.cuh, lanes.cuh, tiles.cuh and scores.cuh are what the kernels share; each .cu file is
one idea. plan.py says how many threads and how much shared memory a launch has, compile.py turns a file into a kernel, and
the other Python files repeat the reference's functions, one launch or a few each.
"""

from __future__ import annotations

import importlib
from typing import Any

HOMES = {
    "flash": ("attention", "attention_backward"),
    "decoding": ("attention_decode",),
    "activations": ("linear", "linear_backward", "gelu", "gelu_backward", "silu_mul", "silu_mul_backward"),
    "products": ("matmul",),
    "layers": ("feed_forward", "feed_forward_backward"),
    "norms": ("layer_norm", "layer_norm_backward", "rms_norm", "rms_norm_backward"),
    "loss": ("softmax_cross_entropy", "softmax_cross_entropy_backward"),
    "residual": ("bias_residual_dropout", "bias_residual_dropout_backward", "rotary", "rotary_backward"),
    "update": ("embedding_backward", "adamw_step", "clip_by_norm"),
}
_FILES = {name: file for file, names in HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    function = getattr(importlib.import_module(f"{__name__}.{_FILES[name]}"), name)
    globals()[name] = function
    return function


def __dir__() -> list[str]:
    return sorted(_FILES)
