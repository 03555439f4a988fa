"""The ladder's figures as Markdown."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minilm.bench import machine

NOTES = """Times are the shortest of repeated calls. Bytes are counted, not measured: what the algorithm reads and writes in
arrays beyond its own scratch memory. FLOP are those of the products. "Times faster" compares with the rung before (9 with
9a, 6 of the product with 6a, minilm with the top rung of the same job), both at the size of the latter."""


@dataclass
class Result:
    """What was measured and counted for one rung."""

    ladder: str
    number: str
    title: str
    idea: str
    shape: tuple[int, ...]
    threads: int
    seconds: float
    flops: int
    bytes: int
    before: str | None  # the number of the rung it is compared with
    faster: float | None = None  # than that rung, at the size of that rung
    extra_bytes: int | None = None

    @property
    def gflops(self) -> float:
        return self.flops / self.seconds / 1e9

    @property
    def intensity(self) -> float:
        return self.flops / self.bytes


def document(
    results: Sequence[Result], limits: dict[str, Any], missing: Sequence[str], threads: int, quick: bool
) -> str:
    """ladder.md: the machine, the two tables, what is missing, the pictures."""
    parts = ["# The ladder on this machine", machine.headline() + "."]
    if quick:
        parts.append("Taken with --quick: small sizes, short measurements. Not a result.")
    load = machine.load()
    if load is not None and load > (os.cpu_count() or 1) + 0.5:
        parts.append(f"The machine was busy (load {load}), so these figures are too low. Measure when it is quiet.")
    parts += [describe(limits), NOTES]
    for ladder, head in (("attention", "Attention (dense, float32)"), ("product", "Matrix product (float32)")):
        chosen = [r for r in results if r.ladder == ladder]
        parts += [f"## {head}", markdown_table(chosen)]
        slower = [f"{r.number} ({r.title})" for r in chosen if r.faster is not None and r.faster < 1]
        if slower:
            parts.append(f"Slower than the rung before, and kept: {', '.join(slower)}.")
    parts += [*missing, "![roofline](roofline.png)", "![memory against T](memory.png)"]
    parts.append(f"Made by `minilm bench ladder --threads {threads}`. Each rung is a file of minilm_kernels/ladder.")
    return "\n\n".join(parts) + "\n"


def describe(limits: dict[str, Any]) -> str:
    """Peak and bandwidth, and over how much memory the latter was taken."""
    lines = [
        f"{n} thread{'s' if n > 1 else ''}: peak {limits['peak'][n] / 1e9:.0f} GFLOP/s (float32), "
        f"memory {limits['memory'][n] / 1e9:.1f} GB/s."
        for n in limits["peak"]
    ]
    lines.append(f"Second cache, 1 thread: {limits['cache'] / 1e9:.0f} GB/s.")
    size, last = limits["triad_bytes"], limits["last_cache_bytes"]
    beyond = "beyond" if size > last else "NOT beyond"
    lines.append(f"The triad ran over {size >> 20} MiB, {beyond} the last cache ({last >> 20} MiB).")
    return "\n".join(lines)


def markdown_table(results: Sequence[Result]) -> str:
    """One row for each rung."""
    rows = [
        ["rung", "idea", "size", "threads", "time", "GFLOP/s", "bytes moved", "FLOP/byte", "times faster"],
        ["---", "---", "---", "--:", "--:", "--:", "--:", "--:", "--:"],
    ]
    for r in results:
        faster = "" if r.faster is None else f"{r.faster:.2f}" if r.faster < 10 else f"{r.faster:,.0f}"
        rows.append([
            f"{r.number} {r.title}", r.idea, " × ".join(map(str, r.shape)), str(r.threads), f"{r.seconds * 1e3:.2f} ms",
            f"{r.gflops:.3g}", amount(r.bytes), f"{r.intensity:.2g}", faster + (" (slower)" if (r.faster or 1) < 1 else ""),
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def amount(nbytes: float) -> str:
    """Bytes for people: 1,536 → 1.5 KiB."""
    for unit in ("B", "KiB", "MiB"):
        if nbytes < 1000:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1024
    return f"{nbytes:.3g} GiB"
