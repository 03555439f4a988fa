"""The metrics log: one JSON object per line, appended as training goes."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from minilm.errors import InputError
from minilm.files import write_text


class MetricsLog:
    """metrics.jsonl of a run. If the disk is full, lines wait in memory and are written when it works again."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.waiting: list[str] = []

    def append(self, **record: Any) -> None:
        """Write one line, such as {"event": "train", "step": 10, "loss": 3.1, …}."""
        first_failure = not self.waiting
        self.waiting.append(json.dumps(record))
        try:
            with self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.write("".join(line + "\n" for line in self.waiting))
        except OSError as error:
            if first_failure:
                warnings.warn(f"cannot write {self.path} ({error.strerror}); its lines wait in memory", stacklevel=2)
        else:
            self.waiting.clear()

    def forget_after(self, step: int) -> None:
        """Drop the lines of steps after `step`: a resumed run writes them again."""
        if self.path.exists():
            kept = [record for record in read_metrics(self.path) if record.get("step", 0) <= step]
            write_text(self.path, "".join(json.dumps(record) + "\n" for record in kept))


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """All records of a metrics log. A last line cut short by a crash is left out; any other bad line is an InputError."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} ({error}); is it the folder of a run?") from error
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError("not an object")
            records.append(record)
        except ValueError as error:
            if number < len(lines):
                raise InputError(f"{path}, line {number} is not a JSON object; remove that line") from error
    return records
