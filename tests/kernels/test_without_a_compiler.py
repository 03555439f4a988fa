"""NUMBA_DISABLE_JIT=1: every kernel runs as ordinary Python, for pdb, and gives what the reference gives."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

PROGRAM = """
import copy, sys
import numpy as np
import minilm_kernels as kernels
from minilm_kernels import use_kernels

rng = np.random.default_rng(0)
dtype = np.dtype(sys.argv[1])
tolerance = 2e-5 if dtype == np.float32 else 1e-11

def draw(*shape):
    return rng.standard_normal(shape).astype(dtype)

def flat(value):
    if value is None:
        return []
    return [np.asarray(value)] if not isinstance(value, tuple) else [a for part in value for a in flat(part)]

def run(name, args, options):
    args = copy.deepcopy(args)
    result = getattr(kernels, name)(*args, **options)
    if hasattr(kernels, name + "_backward") and name not in ("rotary", "embedding"):
        y, residuals = result
        gradients = getattr(kernels, name + "_backward")(np.cos(np.arange(y.size)).reshape(y.shape).astype(dtype), residuals)
        return flat(y) + flat(gradients)
    return flat(result) + [a for arg in args for a in (arg if isinstance(arg, list) else [arg]) if isinstance(a, np.ndarray)]

q, k, v = draw(1, 4, 5, 9), draw(1, 2, 19, 9), draw(1, 2, 19, 6)
x, w, b = draw(7, 21), draw(13, 21), draw(13)
flat_arrays = [np.abs(draw(37)) for _ in range(4)]
CALLS = [
    ("attention", (q, k, v), dict(causal=True, key_padding_mask=rng.random((1, 19)) < 0.8)),
    ("attention", (q, k, v), dict(bias=draw(4, 5, 19), dropout=0.3, seed=5)),
    ("attention_decode", (q[:, :, :1], k, v), {}),
    *[("linear", (x, w, b), dict(activation=a, residual=draw(7, 13))) for a in (None, "gelu", "gelu_tanh", "relu", "silu")],
    ("linear", (x[:1], w, b), {}),
    *[("feed_forward", (x, w, draw(5, 13), b), dict(activation=a, residual=draw(7, 5))) for a in ("gelu", "gelu_tanh", "relu")],
    ("feed_forward", (x, w, draw(5, 13)), dict(activation="silu")),
    ("matmul", (x.T, draw(7, 5)), {}),
    ("layer_norm", (x, draw(21), draw(21)), {}),
    ("rms_norm", (x, draw(21)), {}),
    ("gelu", (x,), {}),
    ("gelu", (x,), dict(approximate="tanh")),
    ("silu_mul", (x, draw(7, 21)), {}),
    ("softmax_cross_entropy", (x, rng.integers(0, 21, 7)), dict(label_smoothing=0.1, reduction="none")),
    ("rotary", (q[..., :8], draw(5, 4), draw(5, 4)), {}),
    ("bias_residual_dropout", (x, draw(21), draw(7, 21)), dict(dropout=0.4, seed=3)),
    ("embedding_backward", (x, rng.integers(0, 4, 7), draw(4, 21)), {}),
    ("adamw_step", flat_arrays, dict(lr=0.1, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1, step=3)),
    ("clip_by_norm", ([draw(11), draw(3, 3)], 0.5), {}),
]
for name, args, options in CALLS:
    results = []
    for backend in ("reference", "numba"):
        with use_kernels(backend):
            results.append(run(name, args, options))
    for want, got in zip(*results, strict=True):
        assert want.shape == got.shape, (name, want.shape, got.shape)
        scale = np.abs(want).max(initial=1e-3)
        assert np.abs(want - got).max(initial=0) <= tolerance * scale, (name, options, np.abs(want - got).max() / scale)
print("all", len(CALLS))
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "compiled", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["without_a_compiler", "numba"]
)
def test_every_kernel_agrees_with_the_reference(dtype, compiled):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("NUMBA_DISABLE_JIT", None)
    if not compiled:
        environment["NUMBA_DISABLE_JIT"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, dtype], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.stdout.startswith("all"), done.stderr[-2000:]
