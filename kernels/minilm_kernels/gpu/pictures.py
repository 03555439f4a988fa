"""Which threads of a warp touch which words of memory: drawn with letters, and as an image by matplotlib.

Global memory comes in sectors of 32 bytes: the fewer a request touches, the better. Shared memory lies in 32 banks of 4 bytes:
words above each other in one column, wanted at the same time, wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minilm_kernels.gpu.simulator import Counters
from minilm_kernels.gpu.simulator.counters import Space

TOLD = 4  # how many instructions of a launch are told, and drawn as an image
UNIT = 4  # bytes of a square
MOST_ROWS = 32


class Pattern(NamedTuple):
    """One access of one warp, as squares of 4 bytes in rows: sectors of global memory, or shared memory across its banks."""

    columns: int
    rows: list[int]  # those that are touched, counted from the first
    lanes: dict[tuple[int, int], list[int]]  # (row, column) → the lanes that want this word
    turn: dict[tuple[int, int], int]  # the same → in which part of the request: a wide one to shared memory has several


def busiest(counters: Counters, wasted: bool = False) -> list[int]:
    """The instructions with the most turns, or with the most beyond the fewest; of each source line one."""

    def cost(s: Space) -> int:
        return s.turns - s.fewest if wasted else s.turns

    chosen: dict[Any, int] = {}
    for number, s in sorted(counters.by_instruction.items(), key=lambda item: -cost(item[1])):
        sample = counters.samples[number]
        if sample.space in ("global", "shared") and cost(s) > 0:
            chosen.setdefault((sample.space, sample.kind, sample.source or number), number)
    return list(chosen.values())[:TOLD]


def short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def pattern(sample: Any) -> Pattern:
    """The words that the lanes of a warp wanted when an instruction was first executed."""
    columns = 8 if sample.space == "global" else 32
    words = max(1, sample.nbytes // UNIT)
    phase = sample.lanes // (32 // min(32, words)) if sample.space == "shared" else np.zeros(len(sample.lanes), int)
    first = int(sample.addresses.min()) // (UNIT * columns) * columns
    lanes: dict[tuple[int, int], list[int]] = {}
    turn: dict[tuple[int, int], int] = {}
    for lane, address, when in zip(sample.lanes, sample.addresses, phase):
        for word in range(words):
            row, column = divmod(int(address) // UNIT + word - first, columns)
            lanes.setdefault((row, column), []).append(int(lane))
            turn[row, column] = int(when)
    return Pattern(columns, sorted({row for row, _ in lanes}), lanes, turn)


def told(counters: Counters, number: int) -> str:
    """Where an instruction stands, and what a request of it costs."""
    sample, s = counters.samples[number], counters.by_instruction[number]
    requests = max(1, s.requests)
    kind = "wavefronts" if sample.space == "shared" else "sectors"
    where = sample.source or f"PTX line {sample.line}"
    return f"{where}: {s.turns / requests:.1f} {kind} a request (fewest {s.fewest / requests:.1f})"


# --- with letters -----------------------------------------------------------------------------------------------------


def letters(counters: Counters) -> list[str]:
    """Lines that draw the busiest access to global and to shared memory: in the place of each word the lane that wants it."""
    lines: list[str] = []
    for space in ("global", "shared"):
        number = next((n for n in busiest(counters) if counters.samples[n].space == space), None)
        if number is None:
            continue
        sample = counters.samples[number]
        drawn = pattern(sample)
        used = max(column for _, column in drawn.lanes) + 1 if space == "shared" else drawn.columns
        what = "sector" if space == "global" else "bank  "
        lines += ["", f"  {space} memory, what one warp wants at {told(counters, number)}", f"    {short(sample.text)}"]
        lines.append(f"    {what}   " + "".join(f"{column:>4}" for column in range(used)).rstrip())
        for row in drawn.rows[:MOST_ROWS]:
            cells = "".join(f"{_cell(drawn.lanes.get((row, column), [])):>4}" for column in range(used))
            lines.append(f"    {row:>6}   {cells}".rstrip())
        if len(drawn.rows) > MOST_ROWS:
            lines.append(f"    … and {len(drawn.rows) - MOST_ROWS} rows more")
    if lines:
        lines.append("  (a number is a lane; 3+: lane 3 and others want the same word)")
    return lines


def _cell(lanes: list[int]) -> str:
    return "." if not lanes else str(lanes[0]) if len(lanes) == 1 else f"{lanes[0]}+"


# --- as an image ------------------------------------------------------------------------------------------------------


def image(launches: Sequence[Counters], path: str) -> None:
    """Draw the busiest accesses of each launch: one square for each word of memory, with the number of the lane that wants it
    ("3+": lane 3 and others want the same word).

    Global memory: a row is a sector. Shared memory: a column is a bank; squares above each other in one column, in one colour,
    wait for each other.
    """
    from matplotlib.figure import Figure

    rows = [(counters, busiest(counters)) for counters in launches]
    rows = [(counters, numbers) for counters, numbers in rows if numbers]
    if not rows:
        raise SystemExit("these launches touch no global or shared memory: there is nothing to draw")
    figure = Figure(figsize=(5.2 * TOLD, 4.2 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), TOLD, squeeze=False)
    for (counters, numbers), line in zip(rows, grid):
        for axes in line[len(numbers) :]:
            axes.axis("off")
        for number, axes in zip(numbers, line):
            draw(axes, counters, number)
    figure.savefig(path, dpi=80)


def draw(axes: Any, counters: Counters, number: int) -> None:
    """One access of one warp."""
    sample = counters.samples[number]
    drawn = pattern(sample)
    order = {row: i for i, row in enumerate(drawn.rows)}
    shown = min(len(order), MOST_ROWS)
    for (row, column), lanes in drawn.lanes.items():
        if order[row] >= shown:
            continue
        colour = _colour(drawn.turn[row, column] if sample.space == "shared" else lanes[0])
        axes.add_patch(_square(column, order[row], colour))
        size = 5 if drawn.columns == 32 else 7
        axes.text(column + 0.5, order[row] + 0.5, _cell(lanes), ha="center", va="center", fontsize=size)
    axes.set_xlim(0, drawn.columns)
    axes.set_ylim(max(shown, 8), 0)
    axes.set_xlabel("bank" if sample.space == "shared" else "word of 4 bytes in the sector")
    axes.set_ylabel("row of 128 bytes" if sample.space == "shared" else "sector of 32 bytes")
    axes.set_yticks([i + 0.5 for i in range(shown)], [str(row) for row in order][:shown], fontsize=6)
    more = "" if shown == len(order) else f", {len(order) - shown} rows more"
    axes.set_title(f"{counters.name}\n{short(sample.text)}\n{told(counters, number)}{more}", fontsize=7)


def _square(column: int, row: int, colour: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column, row), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.4)


def _colour(number: int) -> tuple[float, float, float]:
    """Light colours, neighbours far apart."""
    from colorsys import hls_to_rgb

    return hls_to_rgb(number * 0.381966 % 1, 0.78, 0.7)
