"""The worked examples have the right numbers, and the documents' wrong versions really differ from what is right."""

import numpy as np
import pytest
from formula_numbers import NEEDS_STEPS
from formula_numbers_more import ALL_RECOMPUTED

import minilm.formulas as formulas

ENTRIES = [formula for family in formulas.all_formulas().values() for formula in family]
RIGHT = [formula for formula in ENTRIES if not formula.right]
WRONG = [formula for formula in ENTRIES if formula.right]


def name_of(formula):
    return formula.name


@pytest.mark.parametrize("formula", RIGHT, ids=name_of)
def test_the_numbers_of_the_worked_examples(formula):
    steps = formula.example()
    given = {step.symbol: step.value for step in steps if step.given}
    made = {step.symbol: step.value for step in steps if not step.given}
    assert len(given) + len(made) == len(steps), "two steps with one name"
    recompute = ALL_RECOMPUTED[formula.name]
    expected = recompute(given, made) if formula.name in NEEDS_STEPS else recompute(given)
    last = [step.symbol for step in steps if not step.given and step.symbol != "engine"][-1]
    expected.setdefault("engine", expected[last])
    assert set(expected) == set(made)
    for symbol, value in made.items():
        np.testing.assert_allclose(value, expected[symbol], rtol=1e-9, atol=1e-12, err_msg=symbol)


@pytest.mark.parametrize("formula", WRONG, ids=name_of)
def test_the_documents_version_differs(formula):
    document, right = (np.asarray(value) for value in formula.compare())
    assert document.shape == right.shape
    assert np.abs(document - right).max() > 0.05
    shown = [np.asarray(step.value) for step in formula.example() if not isinstance(step.value, str)]
    for value in (document, right):  # both are among the numbers that a reader sees; of one position, its row
        rows = [value, *value]
        assert any(each.shape == row.shape and np.allclose(each, row) for each in shown for row in rows)


def test_why_the_documents_versions_are_wrong():
    """What the texts of the entries claim, checked by itself."""
    steps = {formula.name: {step.symbol: step.value for step in formula.example()} for formula in WRONG}
    assert 60 < steps["unscaled-weights"]["Var(q·k)"] < 68
    assert steps["unscaled-weights"]["g"] < 0.01 < 0.1 < steps["unscaled-weights"]["g′"]
    assert np.array_equal(steps["positions-multiplied"]["p"], steps["positions-multiplied"]["p₂"])
    assert not np.allclose(steps["positions-multiplied"]["y"], steps["positions-multiplied"]["y₂"])
    assert np.allclose(steps["block-side-by-side"]["v"], 4, rtol=1e-3)
    assert not np.allclose(steps["block-side-by-side"]["y"], steps["block-side-by-side"]["y₂"], atol=0.05)
    assert not np.allclose(steps["decoder-side-by-side"]["y"], steps["decoder-side-by-side"]["y₂"], atol=0.05)
    assert "differ" in steps["values-first"]["shapes"]
    assert steps["normalized-twice"]["δ"] < 1e-4
    assert not np.allclose(steps["normalized-twice"]["y"], steps["normalized-twice"]["y₂"], atol=0.05)
    assert steps["decoder-without-context"]["δ"] == 0
    assert steps["decoder-without-context"]["δ′"] > 0.05
    assert np.array_equal(steps["softmax-of-one-number"]["X′"], 3 * steps["softmax-of-one-number"]["X"])
