"""Whether a number in the text is what the code gives."""

from __future__ import annotations

from decimal import Decimal
from typing import Any


def states(said: str, value: Any) -> bool:
    """Whether `value`, rounded to the digits of `said`, is `said`: "0.731", "1,024", "−2.7e-8", "37 %".

    Raises AssertionError with both numbers where it is not.
    """
    text = said.replace(",", "").replace("−", "-").replace("\u2009", "").strip()
    percent = text.endswith("%")
    wanted = Decimal(text.rstrip("% "))
    given = float(value) * (100 if percent else 1)
    half = 0.5 * 10.0 ** int(wanted.as_tuple().exponent)
    if abs(given - float(wanted)) > half * (1 + 1e-9):
        raise AssertionError(f"the text says {said}, the code gives {given!r}")
    return True
