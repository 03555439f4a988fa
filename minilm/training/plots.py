"""Loss curves: one run, or several compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from minilm.errors import InputError
from minilm.files import atomic_path
from minilm.optional import require
from minilm.training.metrics_log import read_metrics


def plot_runs(folders: Sequence[str | Path], path: str | Path, unit: str = "nats per token") -> Path:
    """Draw training and validation loss over the steps, one colour per run, and save it as a picture (PNG, SVG, PDF).

    unit: of the loss, written at the axis.
    A dashed line shows the bigram model's loss where the run has measured it. Raises InputError for a folder without
    a metrics log, a log without steps, or a picture format that matplotlib does not know.
    """
    Figure = require("matplotlib.figure", "drawing loss curves").Figure  # no pyplot: no window system, no global state
    path = Path(path)
    figure = Figure(figsize=(8, 5), layout="constrained")
    if path.suffix.lower().lstrip(".") not in figure.canvas.get_supported_filetypes():
        raise InputError(f"{path} does not end in a picture format; use .png, .svg or .pdf")
    axes = figure.add_subplot()
    baselines: dict[float, str] = {}
    for number, folder in enumerate(folders):
        records = read_metrics(Path(folder) / "metrics.jsonl")
        training = [r for r in records if r["event"] == "train" and "loss" in r]
        evaluations = [r for r in records if r["event"] in ("evaluation", "final") and "validation_loss" in r]
        if not training and not evaluations:
            raise InputError(f"{folder} has no steps in its metrics log yet; train it first")
        name, colour = Path(folder).resolve().name, f"C{number}"
        if training:
            steps, losses = [r["step"] for r in training], [r["loss"] for r in training]
            axes.plot(steps, losses, color=colour, alpha=0.25, linewidth=0.8)
            axes.plot(steps, smooth(losses), color=colour, linewidth=1.5, label=f"{name}: training")
        if evaluations:
            shown = [r for r in evaluations if r["event"] == "evaluation"] or evaluations
            axes.plot(
                [r["step"] for r in shown], [r["validation_loss"] for r in shown],
                "o-", color=colour, markerfacecolor="white", linewidth=1, label=f"{name}: validation",
            )  # fmt: skip
        for record in evaluations:
            if "bigram_loss" in record:
                baselines[round(record["bigram_loss"], 4)] = colour
    for loss, colour in baselines.items():
        axes.axhline(loss, color=colour if len(folders) > 1 else "0.4", linestyle="--", linewidth=1)
        axes.annotate(
            f"bigram model {loss:.2f}", (0.99, loss), xycoords=("axes fraction", "data"), ha="right", va="bottom"
        )
    axes.set_xlabel("step")
    axes.set_ylabel(f"loss ({unit})")
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, format=path.suffix.lstrip("."))
    return path


def smooth(values: Sequence[float]) -> list[float]:
    """The mean of each value's neighbourhood, a twentieth of the curve: unlike an average of the past, it does not lag."""
    last = len(values) - 1
    averaged = []
    for i in range(len(values)):
        reach = min(max(1, last // 40), i, last - i)  # less at both ends, so that it stays in the middle
        part = values[i - reach : i + reach + 1]
        averaged.append(sum(part) / len(part))
    return averaged
