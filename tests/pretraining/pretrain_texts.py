"""Small texts for the tests of pre-training, made from words so that something can be learnt from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

THINGS = ["cat", "dog", "bird", "tree", "house", "river", "stone", "king"]
DEEDS = {"cat": "sleeps", "dog": "barks", "bird": "sings", "tree": "grows", "house": "stands", "river": "flows",
         "stone": "rests", "king": "rules"}  # fmt: skip


def documents(count: int, seed: int = 0, lines: int = 5) -> list[str]:
    """Each is about one thing, whose deed follows from it."""
    rng = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        thing = str(rng.choice(THINGS))
        texts.append("\n".join(f"the {thing} {DEEDS[thing]} on day {rng.integers(9)}." for _ in range(lines)))
    return texts


def write_text(folder: Path, count: int = 40, name: str = "text.txt") -> str:
    path = folder / name
    path.write_text("\n\n".join(documents(count)) + "\n", encoding="utf-8")
    return str(path)
