"""The ladder's two pictures: the roofline with every rung on it, and memory against T."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minilm.files import atomic_path
from minilm.optional import require

if TYPE_CHECKING:
    from minilm.bench.ladder_report import Result

ONE, ALL, ENGINE = "C0", "C3", "C2"  # one thread, all threads, what minilm uses
LABEL_GAP = 0.16  # decades between labels that stand above each other
CROWDED, LABELS_AT = 4, 100  # points beyond this intensity have their labels in a column at that one


def draw_roofline(path: Path, results: Sequence[Result], limits: dict[str, Any]) -> None:
    """Two panels, attention and product: GFLOP/s against FLOP per byte, under the lines of this machine."""
    figure = require("matplotlib.figure", "drawing the roofline").Figure(figsize=(12, 5.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, ladder in zip(panels, ("attention", "product")):
        points = [r for r in results if r.ladder == ladder]
        axes.set(xscale="log", yscale="log", xlim=(0.1, 3000), xlabel="intensity (FLOP per byte moved)")
        lowest = min(r.gflops for r in results)
        axes.set_ylim(lowest / 2, 3 * max(limits["peak"].values()) / 1e9)
        axes.set_title("attention" if ladder == "attention" else "matrix product")
        axes.grid(alpha=0.25)
        draw_limits(axes, limits)
        for r in points:
            colour = ENGINE if r.number == "minilm" else ALL if r.threads > 1 else ONE
            axes.plot(r.intensity, r.gflops, "*" if r.number == "minilm" else "o", color=colour, zorder=3,
                      markersize=10 if r.number == "minilm" else 6)  # fmt: skip
        for r, place in zip(points, label_places(points)):
            axes.annotate(
                f"{r.number} {r.title}", (r.intensity, r.gflops), xytext=place,
                fontsize=8.5, va="center", zorder=4, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
                arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3},
            )  # fmt: skip
    panels[0].set_ylabel("GFLOP/s")
    panels[1].plot([], [], "*", color=ENGINE, markersize=10, label="what minilm uses")
    panels[1].legend(loc="lower right", fontsize=8.5)
    save(figure, path)


def draw_limits(axes: Any, limits: dict[str, Any]) -> None:
    """min(peak, intensity · bandwidth) for one thread and for all; the second cache as a thin line."""
    x = [0.05 * 1.1**k for k in range(130)]
    for n, peak in limits["peak"].items():
        bandwidth = limits["memory"][n]
        label = f"{n} thread{'s' if n > 1 else ''}: {peak / 1e9:.0f} GFLOP/s, memory {bandwidth / 1e9:.1f} GB/s"
        y = [min(peak, i * bandwidth) / 1e9 for i in x]
        axes.plot(x, y, color=ONE if n == 1 else ALL, linewidth=1.3, label=label, zorder=1)
    peak, cache = limits["peak"][1], limits["cache"]
    below = [i for i in x if i * cache < peak]
    label = f"second cache, 1 thread: {cache / 1e9:.0f} GB/s"
    axes.plot(below, [i * cache / 1e9 for i in below], ":", color=ONE, linewidth=1.1, label=label, zorder=1)


def label_places(points: Sequence[Result]) -> list[tuple[float, float]]:
    """Where the labels stand: those of low intensity right of their points, the others one above the other at the right.

    Labels that would touch are a cluster, spread evenly about the middle of its points; it is merged with the next
    cluster while they meet.
    """
    places = [(0.0, 0.0)] * len(points)
    for crowded in (False, True):
        members = [i for i in range(len(points)) if (points[i].intensity > CROWDED) == crowded]
        clusters = [[i] for i in sorted(members, key=lambda i: points[i].gflops)]

        def middle(cluster: list[int]) -> float:
            return sum(log10(points[i].gflops) for i in cluster) / len(cluster)

        k = 0
        while k + 1 < len(clusters):
            low, high = clusters[k], clusters[k + 1]
            if middle(high) - middle(low) < LABEL_GAP * (len(low) + len(high)) / 2:
                clusters[k : k + 2] = [low + high]
                k = max(0, k - 1)
            else:
                k += 1
        for cluster in clusters:
            lowest = middle(cluster) - LABEL_GAP * (len(cluster) - 1) / 2
            for j, i in enumerate(cluster):
                places[i] = (LABELS_AT if crowded else 1.6 * points[i].intensity, 10 ** (lowest + LABEL_GAP * j))
    return places


def draw_memory(path: Path, memory: dict[str, Any]) -> None:
    """Bytes beyond inputs and outputs against T: lines counted, dots measured."""
    figure = require("matplotlib.figure", "drawing the memory curve").Figure(figsize=(9, 5.2), layout="constrained")
    axes = figure.add_subplot()
    groups: dict[tuple, list[str]] = {}  # rungs with the same curve share a line
    for name, entry in memory["rungs"].items():
        groups.setdefault(tuple(entry["counted"].items()), []).append(name)
    for number, (curve, names) in enumerate(groups.items()):
        entries = [memory["rungs"][name] for name in names]
        T, counted = zip(*curve)
        colour = f"C{number}"
        axes.plot(T, [n / 2**20 for n in counted], color=colour, label=", ".join(e["title"] for e in entries))
        for entry in entries:
            shown = {int(T): n for T, n in entry["measured"].items() if n >= 2**15}
            axes.plot(list(shown), [n / 2**20 for n in shown.values()], "o", color=colour, markersize=5)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("T (queries and keys)")
    axes.set_ylabel("MiB beyond inputs and outputs")
    axes.set_title(
        f"attention, {', '.join(memory['shape'])}: lines counted, dots measured (where it shows)", fontsize=10
    )
    axes.set_xticks(list(T), [str(t) for t in T])
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8.5, loc="upper left")
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
