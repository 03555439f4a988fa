"""The kernels in Numba, with the signatures and the results of `minilm_kernels.reference`.

From the bottom up: target.py (what the processor has), vector.py (vectors as a type), exponential.py, tile.py (a product kept
in registers), compile.py (cache on disk), pool.py (threads), then one file per family of kernels, which is loaded
when one of its kernels is first asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

HOMES = {
    "attention_forward": ("attention",),
    "attention_gradient": ("attention_backward",),
    "attention_decoding": ("attention_decode",),
    "gemm_linear": ("linear", "linear_backward"),
    "gemm_product": ("matmul",),
    "feed_forward_call": ("feed_forward", "feed_forward_backward"),
    "norms": ("layer_norm", "layer_norm_backward", "rms_norm", "rms_norm_backward"),
    "activations": ("gelu", "gelu_backward", "silu_mul", "silu_mul_backward"),
    "loss": ("softmax_cross_entropy", "softmax_cross_entropy_backward"),
    "positions": ("rotary", "rotary_backward"),
    "residual": ("bias_residual_dropout", "bias_residual_dropout_backward"),
    "update": ("embedding_backward", "adamw_step", "clip_by_norm"),
    "pool": ("get_num_threads", "set_num_threads"),
}
_FILES = {name: file for file, names in HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # a module and a function share a name here and there: the function wins, as it is what callers want
    function = getattr(importlib.import_module(f"{__name__}.{_FILES[name]}"), name)
    globals()[name] = function
    return function


def __dir__() -> list[str]:
    return sorted(_FILES)
