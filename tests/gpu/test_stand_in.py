"""The stand-in for CuPy refuses what CuPy refuses: a test that could not fail would prove nothing about the engine."""

from __future__ import annotations

import numpy as np
import pytest
from gpu import stand_in

REFUSED = {  # as a line of the engine: x is on the device, n on the host
    "implicit conversion": "np.asarray(x)",
    "a NumPy ufunc": "np.exp(x)",
    "a NumPy function": "np.sum(x)",
    "mixing in an operator": "x + n",
    "mixing, reflected": "n * x",
    "mixing in a comparison": "x < n",
    "mixing in place": "x.__iadd__(n)",
    "mixing in a function": "xp.maximum(x, n)",
    "mixing in where": "xp.where(x > 0, n, x)",
    "a condition of the host": "xp.where(n > 0, x, x)",
    "mixing in concatenate": "xp.concatenate([x, n])",
    "assigning an array of the host": "x.__setitem__(slice(None), n)",
    "an index of the host": "x[np.array([0, 1])]",
    "a list as an index": "x[[0, 1]]",
    "an array out of bounds, which CuPy wraps": "x[xp.asarray([7])]",
    "where=": "xp.exp(x, where=x > 0)",
    "initial=": "xp.max(x, initial=0)",
    "initial= of a method": "x.max(initial=0)",
    "where= of a sum": "xp.sum(x, where=x > 0)",
    "sparse indices": "xp.indices((2, 3), sparse=True)",
    "what CuPy does not have": "xp.vecdot(x, x)",
    "a method that CuPy does not have": "x.to_device('cpu')",
    "add.at with int64": "xp.add.at(xp.zeros(3, np.int64), xp.asarray([0]), 1)",
    "a function of the device for numbers": "xp.exp(1.0)",
    "random numbers of the device": "xp.random.default_rng(0)",
    "memory of the host": "x.data.tobytes()",
    "a matrix product with the host": "x @ n",
    "an array as a length": "n[: x.argmax()]",
    "a format": "f'{x.sum():.2f}'",
}
ALLOWED = {
    "x * 2 + 1": 0, "np.float32(2) * x": 0, "x.sum(axis=0, keepdims=True)": 0, "x.get()": 1, "float(x.sum())": 1,
    "bool(x.any())": 1, "x[0]": 0, "x[:2][::-1]": 0, "x[x > 0]": 1, "xp.asarray(n)": 0, "x.reshape(-1).view(np.int32)": 0,
    "xp.full((), 3, x.dtype)": 0, "xp.add.at(x, xp.asarray([0, 0]), x[:2])": 0, "x.astype(np.float64, copy=False)": 0,
    "xp.matmul(x[:, None], x[None], out=xp.empty((3, 3), x.dtype))": 0, "xp.exp(x, out=x)": 0, "x.item if False else 0": 0,
}  # fmt: skip


def engine_line(cupy, line):
    """Run a line as if it stood in a file of the engine."""
    code = compile(line, f"{stand_in.arrays.ROOT}/minilm/line.py", "eval")
    n = np.ones(3, np.float32)
    return eval(code, {"np": np, "xp": cupy, "x": cupy.asarray(n), "n": n})


@pytest.fixture
def cupy():
    with stand_in.installed() as module:
        yield module


@pytest.mark.parametrize("what", REFUSED)
def test_refused(cupy, what):
    with pytest.raises((TypeError, AttributeError)):
        engine_line(cupy, REFUSED[what])


@pytest.mark.parametrize("line", ALLOWED)
def test_allowed_and_counted(cupy, line):
    before = len(stand_in.transfers.out)
    engine_line(cupy, line)
    assert len(stand_in.transfers.out) - before == ALLOWED[line]


def test_results_have_no_axes_instead_of_being_numbers(cupy):
    for line in ("x.sum()", "x[0]", "x[0] * 2", "xp.sqrt(x[1])", "x @ x"):
        y = engine_line(cupy, line)
        assert type(y) is cupy.ndarray
        assert y.shape == ()


def test_parts_are_views(cupy):
    x = cupy.zeros((2, 3), np.float32)
    x[0][1] += 5
    x[1, 2][...] = 7
    assert x.get().tolist() == [[0, 5, 0], [0, 0, 7]]


def test_signatures_are_the_real_ones():
    from gpu.stand_in import signatures

    assert str(signatures.of_method("argmax")) == "(self, axis=None, out=None, dtype=None, keepdims=False)"
    assert str(signatures.of_method("dot")) == "(self, b, out=None)"
    assert "initial" not in signatures.of_function("max").parameters
    with pytest.raises(AttributeError):
        signatures.of_function("vecdot")
