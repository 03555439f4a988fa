"""The calls that `minilm bench kernels` times: each kernel beside what a user of PyTorch would write for the same.

A pair is two functions without arguments, which return what they computed so that it can be compared. Both make their
result arrays anew at each call.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

import minilm_kernels
from minilm.optional import require

Call = Callable[[], tuple[Any, ...]]


class NotBuiltError(Exception):
    """The backend does not have this kernel (yet)."""


@dataclass(frozen=True)
class Pair:
    """The same computation twice."""

    ours: Call
    theirs: Call
    opponent: str  # which implementation of PyTorch's it was
    around: AbstractContextManager[Any] = field(default_factory=nullcontext)  # entered while both run


class Kernels:
    """The public kernels by name, checks of their arguments included; a backend serves them within `with`.

    with Kernels("numba") as kernels:
        gelu = kernels("gelu")
    """

    def __init__(self, backend: str):
        self.backend = backend
        if backend == "numba":
            require("numba", "timing the Numba kernels")
        home = {"numba": "minilm_kernels.cpu", "reference": "minilm_kernels.reference"}[backend]
        self.module = importlib.import_module(home)

    def __enter__(self) -> Kernels:
        self.chosen = minilm_kernels.use_kernels(self.backend)
        self.chosen.__enter__()
        return self

    def __exit__(self, *reason: Any) -> None:
        self.chosen.__exit__(*reason)

    def __call__(self, name: str) -> Callable[..., Any]:
        """The kernel of that name; NotBuiltError if the backend lacks it."""
        if minilm_kernels.active() != self.backend:
            raise RuntimeError(f"use these kernels within `with`; now {minilm_kernels.active()} would serve the calls")
        try:
            getattr(self.module, name)
        except AttributeError as error:
            raise NotBuiltError(name) from error
        except ModuleNotFoundError as error:
            if not str(error.name).startswith("minilm_kernels."):
                raise
            raise NotBuiltError(name) from error
        return getattr(minilm_kernels, name)

    def set_num_threads(self, threads: int) -> None:
        """For the kernels' own pool; a BLAS has its number from the start of the process."""
        if self.backend == "numba":
            self.module.set_num_threads(threads)


def normal(*shape: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape, dtype=dtype)


# --- attention --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attention:
    """What a call of attention looks like. Tk and kv_heads: as Tq and H unless given."""

    B: int
    H: int
    Tq: int
    D: int
    Tk: int = 0
    kv_heads: int = 0
    causal: bool = False
    padding: bool = False
    dtype: str = "float32"

    @property
    def shape(self) -> str:
        keys = f" × {self.Tk} keys" if self.Tk else ""
        heads = f" / {self.kv_heads} heads" if self.kv_heads else ""
        return f"({self.B}, {self.H}, {self.Tq}, {self.D}){keys}{heads}"

    def inputs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """query, key, value, and (B, Tk) True where a key may be seen: text b lacks its last b/2B keys."""
        heads, Tk = self.kv_heads or self.H, self.Tk or self.Tq
        dtype = np.dtype(self.dtype)
        query = normal(self.B, self.H, self.Tq, self.D, dtype=dtype, seed=1)
        key, value = (normal(self.B, heads, Tk, self.D, dtype=dtype, seed=seed) for seed in (2, 3))
        lengths = Tk - np.arange(self.B) * Tk // (2 * self.B)
        return query, key, value, np.arange(Tk) < lengths[:, None] if self.padding else None


def attention_pair(direction: str, spec: Attention, kernels: Kernels, torch: Any) -> Pair:
    """direction: "forward", "backward" or "decode"."""
    theirs, opponent, around = attention_theirs(direction, spec, torch)
    return Pair(attention_ours(direction, spec, kernels), theirs, opponent, around)


def attention_ours(direction: str, spec: Attention, kernels: Kernels) -> Call:
    query, key, value, seen = spec.inputs()
    if direction == "decode":
        decode = kernels("attention_decode")
        return lambda: (decode(query, key, value),)
    forward, options = kernels("attention"), {"causal": spec.causal, "key_padding_mask": seen}
    if direction == "forward":
        return lambda: forward(query, key, value, **options)[:1]
    backward = kernels("attention_backward")
    output, residuals = forward(query, key, value, **options)
    grad_output = normal(*output.shape, dtype=output.dtype, seed=4)
    return lambda: backward(grad_output, residuals)[:3]


def attention_theirs(direction: str, spec: Attention, torch: Any) -> tuple[Call, str, AbstractContextManager[Any]]:
    """The call, which of PyTorch's kernels serves it, and the context in which to call it (once)."""
    *arrays, seen = spec.inputs()
    tensors = [torch.from_numpy(array) for array in arrays]
    sdpa = partial(
        torch.nn.functional.scaled_dot_product_attention,
        *tensors,
        attn_mask=None if seen is None else torch.from_numpy(seen[:, None, None, :]),
        is_causal=spec.causal,
        enable_gqa=bool(spec.kv_heads),
    )
    opponent, around = flash_if_possible(torch, sdpa)
    if direction != "backward":
        return lambda: (sdpa(),), opponent, around
    for tensor in tensors:
        tensor.requires_grad_()
    with around:
        output = sdpa()
    grad_output = torch.from_numpy(normal(*output.shape, dtype=np.dtype(spec.dtype), seed=4))
    grad = partial(torch.autograd.grad, output, tensors, grad_output, retain_graph=True)
    return grad, opponent, nullcontext()


def flash_if_possible(torch: Any, call: Callable[[], Any]) -> tuple[str, AbstractContextManager[Any]]:
    """Which of PyTorch's attention kernels serves this call, and the context that makes sure of it.

    Its flash kernel wherever it takes such a call; else whatever PyTorch itself chooses.
    """
    flash = torch.nn.attention.SDPBackend.FLASH_ATTENTION
    try:
        with torch.nn.attention.sdpa_kernel(flash):
            call()
    except RuntimeError:
        return "no flash", nullcontext()
    return "flash", torch.nn.attention.sdpa_kernel(flash)


# --- rows: norms and activations, forward and backward in one ---------------------------------------------------------


def layer_norm_pair(rows: int, width: int, kernels: Kernels, torch: Any) -> Pair:
    arrays = [normal(rows, width), 1 + normal(width, seed=1) / 10, normal(width, seed=2)]
    return rows_pair(kernels, torch, "layer_norm", arrays, {}, lambda x, w, b: (x, (width,), w, b))


def rms_norm_pair(rows: int, width: int, kernels: Kernels, torch: Any) -> Pair:
    arrays = [normal(rows, width), 1 + normal(width, seed=1) / 10]
    return rows_pair(kernels, torch, "rms_norm", arrays, {"eps": 1e-6}, lambda x, w: (x, (width,), w))


def gelu_pair(approximate: str, rows: int, width: int, kernels: Kernels, torch: Any) -> Pair:
    return rows_pair(kernels, torch, "gelu", [normal(rows, width)], {"approximate": approximate}, lambda x: (x,))


def rows_pair(
    kernels: Kernels,
    torch: Any,
    name: str,
    arrays: list[np.ndarray],
    options: dict[str, Any],
    order: Callable[..., tuple[Any, ...]],  # PyTorch's order of arguments
) -> Pair:
    """name(*arrays) and its backward, against the function of the same name in torch.nn.functional."""
    forward, backward = kernels(name), kernels(f"{name}_backward")
    function = getattr(torch.nn.functional, name)
    grad_output = normal(*arrays[0].shape, seed=3)
    cotangent = torch.from_numpy(grad_output)
    leaves = [torch.from_numpy(array).requires_grad_() for array in arrays]
    arguments = order(*leaves)

    def ours() -> tuple[Any, ...]:
        y, residuals = forward(*arrays, **options)
        gradients = backward(grad_output, residuals)
        return (y, *gradients) if isinstance(gradients, tuple) else (y, gradients)

    def theirs() -> tuple[Any, ...]:
        y = function(*arguments, **options)
        return (y, *torch.autograd.grad(y, leaves, cotangent))

    return Pair(ours, theirs, f"F.{name}")


# --- the loss ---------------------------------------------------------------------------------------------------------


def loss_pair(rows: int, classes: int, kernels: Kernels, torch: Any) -> Pair:
    forward, backward = kernels("softmax_cross_entropy"), kernels("softmax_cross_entropy_backward")
    logits = normal(rows, classes)
    targets = np.random.default_rng(1).integers(0, classes, rows)
    leaf, labels = torch.from_numpy(logits).requires_grad_(), torch.from_numpy(targets)
    one = np.ones((), np.float32)

    def ours() -> tuple[Any, ...]:
        loss, residuals = forward(logits, targets)
        return loss, backward(one, residuals)

    def theirs() -> tuple[Any, ...]:
        loss = torch.nn.functional.cross_entropy(leaf, labels)
        return (loss, *torch.autograd.grad(loss, leaf))

    return Pair(ours, theirs, "F.cross_entropy")


# --- the optimizer ----------------------------------------------------------------------------------------------------


def adamw_pair(size: int, kernels: Kernels, torch: Any) -> Pair:
    """One step of AdamW on one flat array, the best case for PyTorch's fused kernel too."""
    adamw = kernels("adamw_step")
    g = normal(size, seed=1)
    w, m, v = normal(size), np.zeros(size, np.float32), np.zeros(size, np.float32)
    hyper: dict[str, Any] = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    parameter = torch.from_numpy(w.copy()).requires_grad_()
    parameter.grad = torch.from_numpy(g)
    optimizer = torch.optim.AdamW([parameter], fused=True, **hyper)
    step = 0

    def ours() -> tuple[Any, ...]:
        nonlocal step
        step += 1
        adamw(w, g, m, v, step=step, **hyper)
        return w, m, v

    def theirs() -> tuple[Any, ...]:
        optimizer.step()
        state = optimizer.state[parameter]
        return parameter, state["exp_avg"], state["exp_avg_sq"]

    return Pair(ours, theirs, "AdamW(fused=True)")


# --- matrix products --------------------------------------------------------------------------------------------------


def linear_pair(direction: str, rows: int, inputs: int, outputs: int, kernels: Kernels, torch: Any) -> Pair:
    """direction: "forward", "input gradient" or "weight gradient". PyTorch's part is MKL alone, without its tape."""
    forward, backward = kernels("linear"), kernels("linear_backward")
    x, weight, grad_output = normal(rows, inputs), normal(outputs, inputs, seed=1), normal(rows, outputs, seed=2)
    X, W, dY = (torch.from_numpy(array) for array in (x, weight, grad_output))
    if direction == "forward":
        linear = torch.nn.functional.linear
        return Pair(lambda: forward(x, weight)[:1], lambda: (linear(X, W),), "F.linear")
    residuals = forward(x, weight)[1]
    if direction == "input gradient":
        needs = (True, False)
        return Pair(lambda: backward(grad_output, residuals, needs=needs)[:1], lambda: (torch.mm(dY, W),), "torch.mm")
    needs = (False, True)
    return Pair(lambda: backward(grad_output, residuals, needs=needs)[1:2], lambda: (torch.mm(dY.T, X),), "torch.mm")


def feed_forward_pair(rows: int, width: int, kernels: Kernels, torch: Any) -> Pair:
    """Forward and backward of a feed-forward network four times as wide inside, with biases and GELU."""
    forward, backward = kernels("feed_forward"), kernels("feed_forward_backward")
    shapes = [(rows, width), (4 * width, width), (width, 4 * width), (4 * width,), (width,)]
    arrays = [normal(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    for weight in arrays[1:3]:
        weight /= np.float32(np.sqrt(weight.shape[1]))
    grad_output = normal(rows, width, seed=5)
    cotangent, leaves = torch.from_numpy(grad_output), [torch.from_numpy(a).requires_grad_() for a in arrays]
    F = torch.nn.functional

    def ours() -> tuple[Any, ...]:
        y, residuals = forward(*arrays, activation="gelu")
        return (y, *backward(grad_output, residuals)[:5])

    def theirs() -> tuple[Any, ...]:
        x, weight_in, weight_out, bias_in, bias_out = leaves
        y = F.linear(F.gelu(F.linear(x, weight_in, bias_in)), weight_out, bias_out)
        return (y, *torch.autograd.grad(y, leaves, cotangent))

    return Pair(ours, theirs, "linear, gelu, linear")
