"""The table of gradient checks: for every public function, a strategy that draws a call of it.

A row is `(function, arrays)`: function(F, *tensors) calls F with what else was drawn (an axis, a mask, ...), and `arrays`
are the float64 inputs whose gradients are checked. F is an argument so that test_mutants.py can pass a broken one.
To add a row for a new function, write one strategy in rows_*.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

ROWS: dict[str, st.SearchStrategy] = {}
NOT_DIFFERENTIABLE = {"argmax", "rotary_angles"}  # integers, and a table of constants
# Examples per row and run; the mutants must be caught within as many. Hypothesis varies each fresh example a few times
# by repeating parts of it, so 100 examples are about 30 independent ones.
EXAMPLES = 100
FEW = 30  # for functions of one operand, element by element
SIMPLE = {
    "abs", "exp", "flatten", "gelu", "gelu_tanh_composed", "log", "mse_loss", "neg", "relu", "reshape", "sigmoid", "silu",
    "sqrt", "squeeze", "tanh", "unsqueeze",
}  # fmt: skip

Case = tuple[Callable[..., Any], list[Any]]


def examples(name: str) -> int:
    return FEW if name in SIMPLE else EXAMPLES


def row(*names: str) -> Callable[[Callable[..., Case]], Callable[..., Case]]:
    """Register a strategy `build(draw, name)` under each name."""

    def register(build: Callable[..., Case]) -> Callable[..., Case]:
        for name in names:
            ROWS[name] = st.composite(build)(name)
        return build

    return register
