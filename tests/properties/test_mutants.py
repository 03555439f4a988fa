"""The tests are tested: each seeded bug must be noticed, by the same checks and as many examples as everyday runs make.

`pytest tests/properties/test_mutants.py -s -k table` prints which check noticed which bug.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import properties.rows_elementwise
import properties.rows_layers
import properties.rows_shape  # noqa: F401  each import fills the table
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from properties.attention_laws import DIFFERENTIATE, LAWS
from properties.function_laws import FUNCTION_LAWS
from properties.gradcheck import ENGINE, SEEDS, check_gradient
from properties.mutant_engine import load_engine, mutated_source
from properties.mutants import MUTANTS, Mutant
from properties.table import EXAMPLES, FEW, ROWS, examples

import minilm_kernels

CHECKS = sorted({check for mutant in MUTANTS for check in mutant.checks.split()})


def check_of(name: str, engine: SimpleNamespace) -> tuple[int, Callable]:
    """How many examples the check called `name` makes every day, and the check as a function of drawn data."""
    if name in ROWS:

        def row(data):
            function, inputs = data.draw(ROWS[name])
            check_gradient(function, *inputs, seed=data.draw(SEEDS), engine=engine)

        return examples(name), row
    if name in FUNCTION_LAWS:
        return FEW, lambda data: FUNCTION_LAWS[name](engine.F, engine.Tensor, data.draw)

    def law(data):
        fused = engine.F.scaled_dot_product_attention
        decoding = [] if name in DIFFERENTIATE else [engine.no_grad()(fused)]
        for attention in (fused, engine.F.attention_composed, *decoding):
            LAWS[name](engine.F, engine.Tensor, attention, data.draw)

    return EXAMPLES // 2, law


def complaint(name: str, engine: SimpleNamespace, at_most: int = EXAMPLES) -> str | None:
    """Run one check on an engine; return what it complains of, or None. No shrinking: the first complaint is enough."""
    number, check = check_of(name, engine)

    @settings(max_examples=min(number, at_most), derandomize=True, database=None, phases=[Phase.generate])
    @given(data=st.data())
    def run(data):
        check(data)

    try:
        with engine.reference(), np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            run()
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def caught_by(mutant: Mutant) -> tuple[str, str] | None:
    """The first check that notices, and what it says."""
    engine = load_engine(mutant)
    for name in mutant.checks.split():
        said = complaint(name, engine)
        if said:
            return name, said
    return None


def test_the_list_is_long_enough_and_names_are_unique():
    assert len(MUTANTS) >= 70
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("name", CHECKS)
def test_the_engine_without_a_bug_passes(name):
    """Loaded in the same way: else a mutant might be 'caught' for being loaded."""
    engine = load_engine()
    assert engine.F is not ENGINE.F
    assert engine.F.gelu.__globals__["kernels"] is not minilm_kernels
    assert complaint(name, engine, at_most=10) is None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_is_caught(mutant):
    assert caught_by(mutant), (
        f"survived {', '.join(mutant.checks.split())}: {mutant.old!r} → {mutant.new!r} in {mutant.file}"
    )


def test_a_stale_mutant_is_an_error():
    with pytest.raises(AssertionError, match="stale mutant"):
        mutated_source(MUTANTS[0]._replace(old="no such line"))


@pytest.mark.slow
def test_table():
    """Print the table."""
    for mutant in MUTANTS:
        name, said = caught_by(mutant) or ("SURVIVED", "")
        print(f"| {mutant.name} | {mutant.file} | {name} | {said[:80]} |")
