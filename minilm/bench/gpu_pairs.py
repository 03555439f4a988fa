"""The calls that `minilm bench gpu` times: each CUDA kernel beside what a user of PyTorch would write for the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

import minilm_kernels as kernels
from minilm.bench.kernel_pairs import Attention, Call, flash_if_possible, normal
from minilm.devices import CUDA, to_device
from minilm.functional.methods import as_dtype

SIZES = {"float32": 4, "float16": 2, "bfloat16": 2}  # bytes


@dataclass(frozen=True)
class GpuCase:
    """One line of the table. work: what the call has to do, for the last column; see `build` for the two calls."""

    group: str
    title: str
    dtype: str
    build: Callable[[Any], tuple[Call, Call, str]]  # from the module torch: ours, PyTorch's, and which of its functions
    work: float  # floating-point operations, or bytes
    unit: str  # "TFLOP/s" or "GB/s"

    @property
    def name(self) -> str:
        return f"{self.title} {self.dtype}"


class Both:
    """The same numbers for both: `ours` as CuPy arrays, `theirs` as tensors of PyTorch, on the GPU and in `dtype`."""

    def __init__(self, torch: Any, dtype: str, *arrays: np.ndarray):
        self.ours = [to_device(array.astype(as_dtype(dtype)), CUDA) for array in arrays]
        self.theirs = [torch.from_numpy(array).cuda().to(getattr(torch, dtype)) for array in arrays]


# --- attention --------------------------------------------------------------------------------------------------------


def attention_pair(direction: str, spec: Attention, torch: Any) -> tuple[Call, Call, str]:
    """direction: "forward", "backward" or "decode"."""
    query, key, value, _ = replace(spec, dtype="float32").inputs()
    grad_output = normal(*query.shape, seed=4)
    both = Both(torch, spec.dtype, query, key, value, grad_output)
    *ours, dO = both.ours
    *theirs, cotangent = both.theirs
    sdpa = partial(
        torch.nn.functional.scaled_dot_product_attention, *theirs, is_causal=spec.causal, enable_gqa=bool(spec.kv_heads)
    )
    opponent = flash_if_possible(torch, sdpa)[0]
    opponent = opponent if opponent == "flash" else "its choice"
    if direction == "decode":
        return lambda: (kernels.attention_decode(*ours),), lambda: (sdpa(),), opponent
    if direction == "forward":
        return lambda: kernels.attention(*ours, causal=spec.causal)[:1], lambda: (sdpa(),), opponent
    residuals = kernels.attention(*ours, causal=spec.causal)[1]
    for tensor in theirs:
        tensor.requires_grad_()
    grad = partial(torch.autograd.grad, sdpa(), theirs, cotangent, retain_graph=True)
    return lambda: kernels.attention_backward(dO, residuals)[:3], grad, opponent


def attention_cases(shapes: list[tuple[int, int, int, int]]) -> Iterator[GpuCase]:
    for dtype in SIZES:
        for B, H, T, D in shapes:
            for direction in ("forward", "backward"):
                for causal in (False, True):
                    products = 2 if direction == "forward" else 5
                    flops = products * 2 * B * H * T * T * D / (2 if causal else 1)
                    title = f"attention {direction}{' causal' if causal else ''} ({B}, {H}, {T}, {D})"
                    build = partial(attention_pair, direction, Attention(B, H, T, D, causal=causal, dtype=dtype))
                    yield GpuCase("attention", title, dtype, build, flops, "TFLOP/s")


def decode_cases(lengths: list[tuple[int, int]]) -> Iterator[GpuCase]:
    for dtype in ("float32", "float16"):
        for B, Tk in lengths:
            spec = Attention(B, 12, 1, 64, Tk=Tk, dtype=dtype)
            size = 2 * B * 12 * Tk * 64 * SIZES[dtype]
            title = f"decode {B} × 12 heads, {Tk} keys"
            yield GpuCase("decode", title, dtype, partial(attention_pair, "decode", spec), size, "GB/s")


# --- rows, loss, optimizer, products ----------------------------------------------------------------------------------


def rows_pair(name: str, rows: int, width: int, dtype: str, torch: Any) -> tuple[Call, Call, str]:
    """Forward and backward of a norm or of GELU."""
    vectors = {"layer_norm": 2, "rms_norm": 1, "gelu": 0}[name]
    both = Both(torch, dtype, normal(rows, width), normal(rows, width, seed=3), *[normal(width, seed=1)] * vectors)
    x, dY, *weights = both.ours
    leaf, cotangent, *others = both.theirs
    leaves = [tensor.requires_grad_() for tensor in (leaf, *(other.clone() for other in others))]
    forward, backward = getattr(kernels, name), getattr(kernels, f"{name}_backward")
    function = getattr(torch.nn.functional, name)
    arguments = (leaves[0], (width,), *leaves[1:]) if vectors else leaves
    options: dict[str, Any] = {"eps": 1e-5} if vectors else {}

    def ours() -> tuple[Any, ...]:
        y, residuals = forward(x, *weights, **options)
        gradients = backward(dY, residuals)
        return (y, *gradients) if isinstance(gradients, tuple) else (y, gradients)

    def theirs() -> tuple[Any, ...]:
        y = function(*arguments, **options)
        return (y, *torch.autograd.grad(y, leaves, cotangent))

    return ours, theirs, f"F.{name}"


def rows_cases(shapes: list[tuple[int, int]]) -> Iterator[GpuCase]:
    for dtype in SIZES:
        for name in ("layer_norm", "rms_norm", "gelu"):
            for rows, width in shapes:
                size = 5 * rows * width * SIZES[dtype]  # x and y; x, dy and dx
                title = f"{name} forward + backward {rows} × {width}"
                yield GpuCase("rows", title, dtype, partial(rows_pair, name, rows, width, dtype), size, "GB/s")


def loss_pair(rows: int, classes: int, dtype: str, torch: Any) -> tuple[Call, Call, str]:
    both = Both(torch, dtype, normal(rows, classes))
    targets = np.random.default_rng(1).integers(0, classes, rows)
    (logits,), (leaf,) = both.ours, both.theirs
    labels, there = torch.from_numpy(targets).cuda(), to_device(targets, CUDA)
    one = to_device(np.ones((), as_dtype(dtype)), CUDA)
    leaf.requires_grad_()

    def ours() -> tuple[Any, ...]:
        loss, residuals = kernels.softmax_cross_entropy(logits, there)
        assert residuals is not None
        return loss, kernels.softmax_cross_entropy_backward(one, residuals)

    def theirs() -> tuple[Any, ...]:
        loss = torch.nn.functional.cross_entropy(leaf, labels)
        return (loss, *torch.autograd.grad(loss, leaf))

    return ours, theirs, "F.cross_entropy"


def loss_cases(shapes: list[tuple[int, int]]) -> Iterator[GpuCase]:
    for dtype in SIZES:
        for rows, classes in shapes:
            size = 2 * rows * classes * SIZES[dtype]  # the logits and their gradient
            title = f"softmax cross-entropy forward + backward {rows} × {classes}"
            yield GpuCase("loss", title, dtype, partial(loss_pair, rows, classes, dtype), size, "GB/s")


def adamw_pair(size: int, torch: Any) -> tuple[Call, Call, str]:
    """One step of AdamW on one flat array."""
    both = Both(torch, "float32", normal(size), normal(size, seed=1), np.zeros(size, np.float32))
    w, g, m = both.ours
    v = m.copy()
    parameter = both.theirs[0].requires_grad_()
    parameter.grad = both.theirs[1]
    hyper: dict[str, Any] = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    optimizer = torch.optim.AdamW([parameter], fused=True, **hyper)
    step = 0

    def ours() -> tuple[Any, ...]:
        nonlocal step
        step += 1
        kernels.adamw_step(w, g, m, v, step=step, **hyper)
        return w, m, v

    def theirs() -> tuple[Any, ...]:
        optimizer.step()
        return parameter, optimizer.state[parameter]["exp_avg"], optimizer.state[parameter]["exp_avg_sq"]

    return ours, theirs, "AdamW(fused=True)"


def linear_pair(rows: int, inputs: int, outputs: int, dtype: str, torch: Any) -> tuple[Call, Call, str]:
    """GELU(X Wᵀ + b) and its backward: the products are cuBLAS's in both, the rest is not."""
    both = Both(
        torch, dtype, normal(rows, inputs), normal(outputs, inputs, seed=1) / np.float32(np.sqrt(inputs)),
        normal(outputs, seed=2), normal(rows, outputs, seed=3),
    )  # fmt: skip
    *ours_in, dY = both.ours
    *leaves, cotangent = both.theirs
    leaves = [leaf.requires_grad_() for leaf in leaves]
    F = torch.nn.functional

    def ours() -> tuple[Any, ...]:
        y, residuals = kernels.linear(*ours_in, activation="gelu")
        return (y, *kernels.linear_backward(dY, residuals)[:3])

    def theirs() -> tuple[Any, ...]:
        y = F.gelu(F.linear(*leaves))
        return (y, *torch.autograd.grad(y, leaves, cotangent))

    return ours, theirs, "F.gelu(F.linear)"


def linear_cases(shapes: list[tuple[int, int, int]]) -> Iterator[GpuCase]:
    for dtype in SIZES:
        for rows, inputs, outputs in shapes:
            title = f"linear + GELU forward + backward {rows} × {inputs} → {outputs}"
            flops = 3 * 2.0 * rows * inputs * outputs
            yield GpuCase("linear", title, dtype, partial(linear_pair, rows, inputs, outputs, dtype), flops, "TFLOP/s")


def cases(quick: bool = False) -> list[GpuCase]:
    """All lines of the table. quick: small sizes, which prove the machinery and nothing about speed."""
    if quick:
        shapes: tuple[Any, ...] = ([(1, 2, 96, 64)], [(1, 160)], [(48, 160)], [(64, 999)], 100_003, [(48, 33, 65)])
    else:
        shapes = (
            [(8, 12, 1024, 64), (2, 12, 4096, 64), (4, 16, 2048, 128)], [(1, 2048), (32, 2048)],
            [(8192, 768), (8192, 3072)], [(4096, 50257)], 124_439_808, [(8192, 768, 3072)],
        )  # fmt: skip
    attention, decode, rows, loss, size, linear = shapes
    adamw = GpuCase("optimizer", f"AdamW {size:,}", "float32", partial(adamw_pair, size), 28.0 * size, "GB/s")
    return [
        *attention_cases(attention), *decode_cases(decode), *rows_cases(rows), *loss_cases(loss), adamw,
        *linear_cases(linear),
    ]  # fmt: skip
