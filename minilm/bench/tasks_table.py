"""The results of the rows as a table in Markdown, and the sentences that say where a simple method wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minilm.bench.tasks_rows import Row

PERCENT = ("accuracy", "macro F1", "entity F1", "exact match", "F1", "ROUGE-1", "ROUGE-2", "ROUGE-L")  # from 0 to 1
SHOWN = {  # the scores of each task that the table has, the most important first
    "classification": ("accuracy",),
    "tagging": ("entity F1",),
    "qa": ("F1", "exact match"),
    "translation": ("BLEU", "chrF"),
    "summarization": ("ROUGE-1", "ROUGE-L"),
}
HEADER = (
    "task", "start", "test examples", "score", "minilm (95 % interval)", "transformers", "baseline", "seed", "training",
    "step, transformers' time ÷ minilm's",
)  # fmt: skip
MISSING = "–"

Result = Mapping[str, Any]


def markdown(results: Sequence[tuple[Row, Result]]) -> str:
    """A table, a line for each score of each row, then the command of each row. Rows without any result are left out."""
    done = [(row, result) for row, result in results if result]
    lines = ["| " + " | ".join(HEADER) + " |", "|" + " --- |" * len(HEADER)]
    lines += ["| " + " | ".join(cells) + " |" for row, result in done for cells in table_lines(row, result)]
    names = dict.fromkeys((row.title, made["name"]) for row, result in done for made in result.get("baselines", ())[:1])
    lines += ["", *(f"- Baseline of {title}: {name}." for title, name in names)]
    lines += [sentence for row, result in done if (sentence := verdict(row, result))]
    lines += ["", "The command of each row, which prints the same score:", "", "```bash"]
    lines += [row.command() for row, _ in done]
    lines += ["```"]
    return "\n".join(lines).rstrip() + "\n"


def table_lines(row: Row, result: Result) -> list[list[str]]:
    """The cells of one row, a list for each score."""
    ours, theirs, times = result.get("minilm"), result.get("transformers"), result.get("times")
    known = ours or theirs or {}
    examples = known.get("examples", {}).get("test")
    lines = []
    for n, name in enumerate(SHOWN[row.task]):
        own_facts = [row.title, row.start, MISSING if examples is None else f"{examples:,}"]
        last = [str(row.seed), training(ours, times), MISSING if times is None else f"{times['ratio']:.2f}"]
        scores = [name, with_interval(name, ours), plain(name, theirs), plain(name, best_baseline(result, name))]
        lines.append([*(own_facts if n == 0 else [""] * 3), *scores, *(last if n == 0 else [""] * 3)])
    return lines


def training(ours: Result | None, times: Result | None) -> str:
    """Steps, and how long they take undisturbed: times the median step where that was measured, else processor time."""
    if ours is None:
        return MISSING
    seconds = ours["steps"] * times["medians"][0] if times else ours["training_seconds"]["processor"] / ours["threads"]
    return f"{ours['steps']:,} steps, {seconds / 60:.1f} min"


def best_baseline(result: Result, name: str) -> Result | None:
    """The baseline that does best by this score."""
    made = [one for one in result.get("baselines", ()) if name in one["scores"]]
    return max(made, key=lambda one: one["scores"][name][0], default=None)


def plain(name: str, made: Result | None) -> str:
    """A score without its interval."""
    return MISSING if made is None or name not in made["scores"] else number(name, made["scores"][name][0])


def with_interval(name: str, made: Result | None) -> str:
    """A score and the interval it would stay within on 95 % of test sets like this one."""
    if made is None or name not in made["scores"]:
        return MISSING
    score, low, high = made["scores"][name]
    return f"{number(name, score)} ({number(name, low)}–{number(name, high)})"


def number(name: str, value: float) -> str:
    """All scores from 0 to 100, with one digit behind the point."""
    return f"{100 * value if name in PERCENT else value:.1f}"


def verdict(row: Row, result: Result) -> str:
    """A sentence where a simple method is better than the model, or hard to tell from it; else nothing."""
    name, ours = SHOWN[row.task][0], result.get("minilm")
    simple = best_baseline(result, name)
    if ours is None or simple is None:
        return ""
    score, _, high = ours["scores"][name]
    other = simple["scores"][name][0]
    what = f"{row.title}, {row.start}"
    if other > high:
        return f"- {what}: the baseline ({simple['name']}) is better, {name} {number(name, other)}."
    if other > score:
        return f"- {what}: the baseline ({simple['name']}) has {name} {number(name, other)}, a little more."
    return ""


def agreement(row: Row, result: Result) -> str:
    """Whether transformers' score lies within minilm's interval, in a sentence."""
    name, ours, theirs = SHOWN[row.task][0], result.get("minilm"), result.get("transformers")
    if ours is None or theirs is None:
        return ""
    _, low, high = ours["scores"][name]
    other = theirs["scores"][name][0]
    where = "within" if low <= other <= high else "OUTSIDE"
    return f"transformers' {name} {number(name, other)} is {where} minilm's interval {with_interval(name, ours)}"
