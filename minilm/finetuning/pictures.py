"""The confusion matrix as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from minilm.files import atomic_path
from minilm.metrics import ConfusionMatrix
from minilm.optional import require

WRITTEN = 25  # up to so many classes the counts stand in the cells
CJK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "PingFang SC",
    "Microsoft YaHei", "SimHei",
)  # fmt: skip


def draw_confusion(confusion: ConfusionMatrix, path: str | Path) -> Path:
    """Draw rows of expected and columns of predicted classes; a cell's colour is its share of the row."""
    matplotlib = require("matplotlib", "drawing the confusion matrix")
    Figure = require("matplotlib.figure", "drawing the confusion matrix").Figure
    counts, n = confusion.counts, len(confusion.labels)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    labels, fonts = readable_labels([str(label) for label in confusion.labels])
    side = min(16.0, max(4.5, 2.5 + (0.45 if n <= WRITTEN else 0.25) * n))
    with matplotlib.rc_context({"font.family": fonts} if fonts else {}):
        figure = Figure(figsize=(side + 1, side), layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        size = 10 if n <= 12 else 8 if n <= 40 else 5
        axes.set_xticks(range(n), labels, rotation=90 if n > 4 or max(map(len, labels)) > 8 else 0, fontsize=size)
        axes.set_yticks(range(n), labels, fontsize=size)
        axes.set_xlabel("predicted")
        axes.set_ylabel("expected")
        if n <= WRITTEN:
            for (row, column), count in np.ndenumerate(counts):
                if count:
                    colour = "white" if shares[row, column] > 0.55 else "black"
                    axes.text(column, row, f"{count}", ha="center", va="center", color=colour, fontsize=size)
        figure.colorbar(image, label="share of the expected class", shrink=0.8)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=110, format=Path(path).suffix.lstrip("."))
    return Path(path)


def readable_labels(labels: list[str]) -> tuple[list[str], list[str]]:
    """(labels, fonts) that can be drawn here: where no font has the characters, classes are numbered from 1 as in the report.

    Long names are cut.
    """
    short = [label if len(label) <= 24 else label[:23] + "…" for label in labels]
    if all(character < "\u2e80" for label in short for character in label):
        return [label.replace("$", r"\$") for label in short], []
    manager = require("matplotlib.font_manager", "drawing the confusion matrix").fontManager
    installed = {font.name for font in manager.ttflist}
    found = [name for name in CJK_FONTS if name in installed]
    if not found:
        return [str(n) for n in range(1, len(labels) + 1)], []
    return [label.replace("$", r"\$") for label in short], ["DejaVu Sans", found[0]]
