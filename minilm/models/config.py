"""What the configurations of minilm's own models have in common."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from minilm.errors import InputError


@dataclass
class ModelConfig:
    """A dataclass of names and values that can be written down as a dict, and made from one."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Raises InputError for a name that this configuration does not have."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            names = ", ".join(sorted(unknown))
            raise InputError(f"unknown {cls.__name__} option(s) {names}; this minilm may be older than the file")
        return cls(**values)
