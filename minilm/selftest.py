"""`minilm selftest --device cuda`: does this device compute what the CPU computes? Kernels, a short training, and the times.

Every kernel gets the same numbers on the device and, as the formula in float64, on the host. The trainings, in float32 and in
16 bits, start from the same weights with the same batches. The times are told, not judged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np

import minilm_kernels as kernels
from minilm.devices import CPU, as_device, to_device, to_host
from minilm.errors import InputError
from minilm.functional.methods import as_dtype
from minilm.models import GPT, GPTConfig
from minilm.optim import AdamW
from minilm.tensor import Tensor
from minilm_kernels import reference

Arrays = dict[str, Any]
Say = Callable[[str], None]
STEPS = 10
LOSSES_AGREE = 1e-4  # relative, over the steps of the training
HALVES_AGREE = {"float16": 1e-3, "bfloat16": 1e-2}  # the same for a training in 16 bits
LOSS_SCALE = 2.0**10
WORSE = 4.0  # times the error of the formula in the same dtype; the kernels add up in another order


def calls(rng: np.random.Generator) -> Iterator[tuple[str, Arrays, Arrays]]:
    """(kernel, arrays, options) for every kernel with a backward pass, and decoding: odd sizes, masks, groups, dropout."""

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape)

    heads = {"query": normal(2, 4, 37, 24), "key": normal(2, 2, 45, 24), "value": normal(2, 2, 45, 24)}
    seen = rng.random((2, 45)) < 0.8
    yield "attention", heads, {"causal": True}
    yield "attention", {**heads, "key_padding_mask": seen, "bias": normal(4, 37, 45)}, {"dropout": 0.2, "seed": 5}
    yield "attention_decode", {**heads, "query": normal(2, 4, 1, 24)}, {}
    yield "linear", {"x": normal(5, 7, 33), "weight": normal(29, 33), "bias": normal(29)}, {"activation": "gelu"}
    yield "layer_norm", {"x": normal(50, 65), "weight": normal(65), "bias": normal(65)}, {}
    yield "rms_norm", {"x": normal(50, 65), "weight": normal(65)}, {}
    yield "gelu", {"x": normal(1000)}, {"approximate": "tanh"}
    yield "silu_mul", {"gate": normal(10, 33), "up": normal(10, 33)}, {}
    yield "bias_residual_dropout", {"x": normal(40, 19), "residual": normal(40, 19)}, {"dropout": 0.3, "seed": 7}
    targets = np.where(rng.random(60) < 0.2, -100, rng.integers(0, 101, 60))
    yield "softmax_cross_entropy", {"logits": normal(60, 101), "targets": targets}, {"label_smoothing": 0.1}


def results(run: Any, name: str, arrays: Arrays, options: Arrays, dtype: Any, where: Any) -> list[np.ndarray]:
    """What a kernel and its backward give, in float64 on the host. run: where the functions come from."""
    there = {
        key: to_device(a.astype(dtype) if a.dtype.kind == "f" else a, where) for key, a in arrays.items()
    }  # booleans and targets as they are
    made = getattr(run, name)(**there, **options)
    if name == "attention_decode":
        return [to_host(made).astype(np.float64)]
    y, residuals = made
    cotangent = np.asarray(np.random.default_rng(1).standard_normal(y.shape)).astype(dtype)
    gradients = getattr(run, f"{name}_backward")(to_device(cotangent, where), residuals)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    return [to_host(a).astype(np.float64) for a in (y, *gradients) if a is not None]


def check_kernels(device: Any, dtype: Any, say: Say) -> int:
    """Compare all kernels in a dtype; returns how many are wrong."""
    wrong = 0
    for name, arrays, options in calls(np.random.default_rng(0)):
        rounded = {key: a.astype(dtype).astype(np.float64) if a.dtype.kind == "f" else a for key, a in arrays.items()}
        exact = results(reference, name, rounded, options, np.float64, CPU)
        plain = results(reference, name, rounded, options, np.float64 if dtype == np.float64 else np.float32, CPU)
        got = results(kernels, name, arrays, options, dtype, device)
        least = epsilon(dtype) * (64 if dtype == np.float64 else 1)  # there the formula is the oracle itself
        worst = 0.0
        for want, usual, have in zip(exact, plain, got, strict=True):
            size = float(np.abs(want).max()) or 1.0
            allowed = WORSE * max(float(np.abs(usual - want).max()), least * size)
            worst = float(np.maximum(worst, np.abs(have - want).max() / allowed))  # max() would leave out a NaN
        wrong += not worst <= 1
        say(
            f"  {'ok   ' if worst <= 1 else 'WRONG'}    {name:<24} {np.dtype(dtype).name}: {worst:.2f} of the error allowed"
        )
    return wrong


def epsilon(dtype: Any) -> float:
    """The distance from 1 to the next number of a dtype, bfloat16 included."""
    return 2.0**-7 if np.dtype(dtype).name == "bfloat16" else float(np.finfo(dtype).eps)


def losses_of(device: Any, precision: str = "float32", **shape: Any) -> tuple[list[float], float]:
    """The losses of a short training on a device, and the seconds of its fastest step."""
    config = GPTConfig(
        **{"vocab_size": 65, "context_length": 32, "num_layers": 2, "num_heads": 4, "hidden_size": 64, **shape}
    )
    model = GPT(config, np.random.default_rng(0)).to(device)
    optimizer = AdamW(model.parameters(), lr=1e-3)
    if precision != "float32":
        optimizer.compute_in(precision)
    scale = LOSS_SCALE if precision == "float16" else 1.0
    batches = np.random.default_rng(1)
    losses, fastest = [], float("inf")
    for _ in range(STEPS):
        ids = batches.integers(0, config.vocab_size, (8, config.context_length + 1))
        started = time.perf_counter()
        loss: Tensor = model(ids[:, :-1], labels=ids[:, 1:])[1]
        (loss if scale == 1 else loss * scale).backward()
        optimizer.clip_grad_norm(1.0, scale)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.item()))
        fastest = min(fastest, time.perf_counter() - started)
    return losses, fastest


def compare(here: list[float], there: list[float], precision: str, allowed: float, say: Say) -> bool:
    """Say how far two curves of losses are apart; returns whether it is too far."""
    a, b = np.array(here), np.array(there)
    apart = float((np.abs(a - b) / np.abs(a)).max())  # NaN if one of them is
    verdict = "ok   " if apart <= allowed else "WRONG"
    say(f"  {verdict}    in {precision} they differ by {apart:.1e} at most (allowed: {allowed:.0e})")
    return verdict == "WRONG"


def selftest(device: str, say: Say = print, bench: bool = True) -> int:
    """Run everything; returns 0 if all is right and 1 if not. Raises InputError for a device that cannot be used."""
    place = as_device(device)
    if place == CPU:
        raise InputError("selftest compares a GPU with the CPU; give --device cuda")
    say("kernels, beside the formula in float64")
    names = ["float32", "float64", "float16"]
    if find_spec("ml_dtypes") is None:
        say("  not tried  bfloat16, which needs ml_dtypes: pip install ml_dtypes")
    else:
        names.append("bfloat16")
    wrong = sum(check_kernels(place, as_dtype(name), say) for name in names)
    say(f"\na training of {STEPS} steps with dropout, beside the CPU's losses")
    here, _ = losses_of("cpu", dropout=0.1)
    there, _ = losses_of(place, dropout=0.1)
    wrong += compare(here, there, "float32", LOSSES_AGREE, say)
    for precision, allowed in HALVES_AGREE.items():
        if precision not in names:
            continue
        wrong += compare(here, losses_of(place, precision, dropout=0.1)[0], precision, allowed, say)
    if bench:
        say("\nthe fastest of the training's steps, in ms: told, not judged")
        shapes: dict[str, Arrays] = {
            "small": {},
            "wide": {"hidden_size": 512, "num_heads": 8, "context_length": 256},
        }
        for name, shape in shapes.items():
            times = [1e3 * losses_of(where, **shape)[1] for where in ("cpu", place)]
            say(f"  {name:<6} CPU {times[0]:9.2f}   {place} {times[1]:9.2f}")
    say("\nall is right" if not wrong else f"\n{wrong} of these are wrong: please report this, with `minilm doctor`")
    return int(wrong > 0)
