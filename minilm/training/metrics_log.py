"""The metrics log: one JSON object per line, appended as training goes."""

from __future__ import annotations

import errno
import json
import os
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
        data = "".join(line + "\n" for line in self.waiting).encode()
        try:
            with self.path.open("ab", buffering=0) as file:
                end = file.tell()
                if file.write(data) < len(data):  # a disk that is nearly full takes half a line
                    file.truncate(end)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            if first_failure:
                warnings.warn(f"cannot write {self.path} ({error.strerror}); its lines wait in memory", stacklevel=2)
        else:
            self.waiting.clear()

    def forget_after(self, step: int) -> None:
        """Drop the lines of steps after `step`, and the line of the end: a resumed run writes them again."""
        if self.path.exists():
            kept = [r for r in read_metrics(self.path) if r["step"] <= step and r["event"] != "final"]
            write_text(self.path, "".join(json.dumps(record) + "\n" for record in kept))


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """All records of a metrics log. A last line cut short by a crash is left out; any other bad line is an InputError."""
    path = Path(path)
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give the folder of a run") from error
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            check_record(record)
            records.append(record)
        except (ValueError, RecursionError) as error:
            if number < len(lines):
                raise InputError(f"{path}, line {number} is no line of a metrics log; remove that line") from error
    return records


def check_record(record: Any) -> None:
    """Raise ValueError unless this can be a line of a metrics log: an event, its step, losses that are numbers."""
    if not isinstance(record, dict) or not isinstance(record.get("event"), str):
        raise ValueError("no object with an event")
    for name, missing in (("step", None), ("loss", 0), ("validation_loss", 0), ("bigram_loss", 0)):
        if type(record.get(name, missing)) not in (int, float):
            raise ValueError(f"{name} is no number")
