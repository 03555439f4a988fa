"""Which calls `minilm bench kernels` times: the shapes, and the ratios that the project promised itself for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from minilm.bench.kernel_pairs import (
    Attention,
    Pair,
    adamw_pair,
    attention_pair,
    feed_forward_pair,
    gelu_pair,
    layer_norm_pair,
    linear_pair,
    loss_pair,
    rms_norm_pair,
)
from minilm.errors import InputError


@dataclass(frozen=True)
class Case:
    """One line of the table. floor and aim: what PyTorch's time ÷ ours should be."""

    group: str
    title: str
    shape: str
    build: Callable[..., Pair]  # from the kernels and the module torch
    floor: float | None = None
    aim: float | None = None

    @property
    def name(self) -> str:
        return f"{self.title} {self.shape}"


def attention_cases(quick: bool) -> Iterator[Case]:
    def case(title: str, direction: str, spec: Attention, floor: float, aim: float) -> Case:
        if quick:
            spec = replace(spec, B=min(spec.B, 2), Tq=min(spec.Tq, 96), Tk=min(spec.Tk, 160))
        build = partial(attention_pair, direction, spec)
        group = "decode" if direction == "decode" else "attention"
        return Case(group, f"{title}", spec.shape, build, floor, aim)

    for shape in ((8, 6, 256, 64), (4, 12, 1024, 64), (1, 12, 4096, 64), (1, 8, 8192, 64)):
        short = shape[2] <= 1024
        yield case("attention", "forward", Attention(*shape), 1.1, 1.3)
        yield case(
            "attention causal", "forward", Attention(*shape, causal=True), *((1.4, 2.0) if short else (1.2, 1.35))
        )
        yield case("attention backward", "backward", Attention(*shape), 1.1, 1.3)
        yield case("attention backward causal", "backward", Attention(*shape, causal=True), 1.4 if short else 1.2, 1.9)
    plain = Attention(4, 12, 1024, 64)
    variants = [(f", head_dim {d}", replace(plain, D=d)) for d in (32, 48, 80, 128)]
    variants += [
        (", padding mask", replace(plain, padding=True)),
        (", grouped queries", replace(plain, kv_heads=4)),
        (", Tq ≠ Tk", replace(plain, Tq=256, Tk=1024)),
        (", float64", replace(plain, dtype="float64")),
    ]
    for what, spec in variants:
        # PyTorch's causal is aligned to the first key where Tq ≠ Tk, ours to the last; a causal mask with padding it refuses
        for causal in (False,) if spec.Tk or spec.padding else (False, True):
            end = (" causal" if causal else "") + what
            yield case(f"attention{end}", "forward", replace(spec, causal=causal), 1.0, 1.2)
            yield case(f"attention backward{end}", "backward", replace(spec, causal=causal), 1.0, 1.2)
    for B, Tk in ((1, 256), (1, 2048), (8, 1024)):
        yield case("decode", "decode", Attention(B, 12, 1, 64, Tk=Tk), 0.95, 1.1)


def rows_cases(quick: bool) -> Iterator[Case]:
    builders: dict[str, tuple[Callable[..., Pair], int]] = {  # the width of GELU is four times that of the norms
        "layer norm": (layer_norm_pair, 1),
        "RMS norm": (rms_norm_pair, 1),
        "GELU (erf)": (partial(gelu_pair, "none"), 4),
        "GELU (tanh)": (partial(gelu_pair, "tanh"), 4),
    }
    for title, (build, factor) in builders.items():
        for rows, width in ((768, 128), (4096, 384), (4096, 768)):
            rows, width = (min(rows, 48), min(width, 160)) if quick else (rows, width)
            shape = (rows, factor * width)
            yield Case(
                "rows", f"{title} forward + backward", f"{shape[0]} × {shape[1]}", partial(build, *shape), 1.3, 2.0
            )


def loss_cases(quick: bool) -> Iterator[Case]:
    for rows, classes, floor in ((4096, 65, 1.5), (1024, 50257, 3.0)):
        rows, classes = (min(rows, 64), min(classes, 999)) if quick else (rows, classes)
        build = partial(loss_pair, rows, classes)
        yield Case("loss", "softmax cross-entropy forward + backward", f"{rows} × {classes}", build, floor, 5.0)


def optimizer_cases(quick: bool) -> Iterator[Case]:
    size = 100_003 if quick else 124_439_808
    yield Case("optimizer", "AdamW", f"{size:,} parameters", partial(adamw_pair, size), 1.0, 1.15)


def linear_cases(quick: bool) -> Iterator[Case]:
    """The products of one training step: char with 768 tokens, char-big with 3,072, GPT-2 with 256 and 1,024."""
    for width, classes, batches in ((128, 65, (768,)), (384, 65, (3072,)), (768, 50257, (256, 1024))):
        for tokens in batches:
            sides = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width), (width, classes)]
            for inputs, outputs in sides:
                rows, n, m = (min(size, 33 + size % 16) if quick else size for size in (tokens, inputs, outputs))
                for direction in ("forward", "input gradient", "weight gradient"):
                    build = partial(linear_pair, direction, rows, n, m)
                    yield Case("linear", f"linear {direction}", f"{rows} × {n} → {m}", build, 0.85, 1.0)


def feed_forward_cases(quick: bool) -> Iterator[Case]:
    for rows, width in ((768, 128), (3072, 384), (256, 768)):
        rows, width = (48, 16) if quick else (rows, width)
        build = partial(feed_forward_pair, rows, width)
        yield Case("feed-forward", "feed-forward forward + backward", f"{rows} × {width}", build)


GROUPS: dict[str, Callable[[bool], Iterator[Case]]] = {
    "attention": attention_cases,
    "decode": attention_cases,
    "rows": rows_cases,
    "loss": loss_cases,
    "optimizer": optimizer_cases,
    "linear": linear_cases,
    "feed-forward": feed_forward_cases,
}


def cases(groups: list[str], quick: bool = False) -> list[Case]:
    """The cases of these groups, each once. quick: sizes that prove the machinery and nothing about speed."""
    unknown = [group for group in groups if group not in GROUPS]
    if unknown:
        raise InputError(f"there is no group {unknown[0]!r} of kernels; choose from {', '.join(GROUPS)}")
    made = {case.name: case for group in groups for case in GROUPS[group](quick) if case.group == group}
    return [replace(case, floor=None, aim=None) if quick else case for case in made.values()]
