"""A few small calls of the kernels, which go through every barrier and every edge of a tile; results against the formula.

Small enough for the PTX simulator, which checks every access of every thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from properties.gradcheck import expect
from properties.kernel_cases import Call, run
from properties.kernel_laws import ORACLE


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(list(shape)).standard_normal(shape)


def heads(T: int, H: int, D: int) -> np.ndarray:
    """(1, H, T, D), lying in memory as a projection leaves it: the heads of one position side by side."""
    return normal(1, T, H, D).transpose(0, 2, 1, 3)


def attention(Tq: int, Tk: int, D: int, **options: Any) -> Call:
    """Four query heads share two key heads."""
    return Call(
        "attention", {"query": heads(Tq, 4, D), "key": heads(Tk, 2, D), "value": heads(Tk + 1, 2, D)[:, :, 1:]}, options
    )


def many_masks() -> Call:
    call = attention(20, 40, 13, key_padding_mask=normal(1, 40) < 1, dropout=0.3, seed=5)
    call.arrays["bias"] = normal(20, 1)
    return call


def linear() -> Call:
    arrays = {"x": normal(70, 5), "weight": normal(33, 5), "bias": normal(33), "residual": normal(70, 33)}
    return Call("linear", arrays, {"activation": "gelu_tanh"})


def feed_forward() -> Call:
    weights = {"weight_in": normal(33, 5), "weight_out": normal(6, 33), "bias_out": normal(6)}
    return Call("feed_forward", {"x": normal(70, 5), **weights, "residual": normal(70, 6)}, {"activation": "silu"})


def loss() -> Call:
    options = {"targets": np.arange(9) % 5, "ignore_index": 3, "label_smoothing": 0.1}
    return Call("softmax_cross_entropy", {"logits": normal(9, 300)}, options)


def dropout() -> Call:
    arrays = {"x": normal(5, 33), "bias": normal(33), "residual": normal(5, 34)[:, :33]}
    return Call("bias_residual_dropout", arrays, {"dropout": 0.3, "seed": 3})


CALLS: dict[str, Callable[[], Call]] = {
    "attention, two tiles of keys": lambda: attention(20, 70, 16),
    "attention, causal, two tiles of keys": lambda: attention(20, 70, 16, causal=True),
    "attention, causal, more queries than keys": lambda: attention(40, 20, 8, causal=True),
    "attention, rows that are not copied 16 bytes at a time": lambda: attention(20, 70, 13),
    "attention, all masks": many_masks,
    "layer_norm": lambda: Call("layer_norm", {"x": normal(9, 70), "weight": normal(70), "bias": normal(71)[1:]}, {}),
    "rms_norm": lambda: Call("rms_norm", {"x": normal(3, 33), "weight": normal(33)}, {}),
    "gelu": lambda: Call("gelu", {"x": normal(5, 33)}, {}),
    "silu_mul": lambda: Call("silu_mul", {"gate": normal(5, 33), "up": normal(33, 5).T}, {}),
    "linear": linear,
    "feed_forward": feed_forward,
    "softmax_cross_entropy": loss,
    "rotary": lambda: Call("rotary", {"x": normal(2, 5, 8), "cos": normal(5, 4), "sin": normal(4, 5).T}, {}),
    "bias_residual_dropout": dropout,
}


def try_call(kernels: Any, call: Call, dtype: Any = np.float32, tolerance: float = 2e-5) -> None:
    """One call forward and backward, with arrays of that type."""
    arrays = {name: a.astype(dtype) for name, a in call.arrays.items()}
    wide = {name: a.astype(np.float64) for name, a in arrays.items()}
    dy = np.asarray(normal(*run(ORACLE, call, wide, None)["result"].shape)).astype(dtype)
    got, want = run(kernels, call, arrays, dy), run(ORACLE, call, wide, dy.astype(np.float64))
    expect(got.keys() == want.keys(), f"gradients of {sorted(got)}, expected {sorted(want)}")
    for name, value in want.items():
        apart = np.abs(got[name].astype(np.float64) - value).max(initial=0)
        expect(
            apart <= tolerance * (1 + np.abs(value).max(initial=0)),
            f"{call.kernel}: {name} is {apart:.3g} from the formula",
        )


def try_updates(kernels: Any) -> None:
    """The kernels that work in place, and decoding."""
    table, ids, dy = normal(6, 33).astype(np.float32), np.array([1, 4, 1, 0, 1]), normal(5, 33).astype(np.float32)
    want = table.copy()
    np.add.at(want, ids, dy)
    kernels.embedding_backward(dy, ids, table)
    expect(np.array_equal(table, want), "not the sum in the order of the ids")
    arrays = [normal(i, 300)[0].astype(np.float32) for i in (1, 2, 3, 4)]
    arrays[3] = np.abs(arrays[3])
    wide = [a.astype(np.float64) for a in arrays]
    options: dict[str, Any] = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1, "step": 3}
    kernels.adamw_step(*arrays, **options)
    ORACLE.adamw_step(*wide, **options)
    expect(all(np.allclose(a, b, rtol=1e-5) for a, b in zip(arrays, wide)), "AdamW differs from the formula")
    gradients = [normal(70, 9).astype(np.float32), normal(130).astype(np.float32)]
    copies = [g.astype(np.float64) for g in gradients]
    norms = kernels.clip_by_norm(gradients, 1.0), ORACLE.clip_by_norm(copies, 1.0)
    expect(np.isclose(*norms, rtol=1e-6) and np.allclose(gradients[0], copies[0], rtol=1e-5), "clipping differs")
    q, k = normal(1, 4, 1, 16).astype(np.float32), normal(1, 2, 150, 16).astype(np.float32)
    bias = normal(4, 1, 150).astype(np.float32)
    apart = np.abs(kernels.attention_decode(q, k, k, bias=bias) - ORACLE.attention_decode(q, k, k, bias=bias)).max()
    expect(apart < 2e-5, f"decoding is {apart} from the formula")
    q, k = normal(2, 4, 1, 16).astype(np.float32), normal(2, 4, 300, 16).astype(np.float32)  # several steps in a part
    apart = np.abs(kernels.attention_decode(q, k, k) - ORACLE.attention_decode(q, k, k)).max()
    expect(apart < 2e-5, f"decoding a long cache is {apart} from the formula")


def try_half_tiles(kernels: Any, dtype: Any = np.float16, tolerance: float = 4e-3) -> None:
    """Tensor cores over several tiles of queries and of keys, in every kernel of attention."""
    for causal in (False, True):
        try_call(kernels, attention(70, 150, 16, causal=causal), dtype, tolerance)


def try_all(kernels: Any) -> None:
    for build in CALLS.values():
        try_call(kernels, build())
    try_updates(kernels)
