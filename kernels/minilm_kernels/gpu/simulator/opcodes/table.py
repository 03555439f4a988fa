"""The table of opcodes, filled by the decorator that stands on each opcode's function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

OPCODES: dict[str, Callable[[Any], Any]] = {}
SECTIONS: dict[str, str] = {}  # of the PTX ISA manual, where the opcode stands


def opcode(*names: str, section: str) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Enter a function for opcodes of these names."""

    def enter(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        for name in names:
            OPCODES[name] = function
            SECTIONS[name] = section
        return function

    return enter
