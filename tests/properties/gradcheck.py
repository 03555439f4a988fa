"""The gradient check, and strategies that draw arrays of awkward shapes and strides.

A derivative is right if, for a random cotangent c, the gradient of L = Σ c ⊙ f(x) agrees with central differences
    dL/dx_i ≈ (L(x + h e_i) − L(x − h e_i)) / 2h
in float64. Random, because Σ f(x) alone has zero gradient through softmax and layer norm: zeros would pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import strategies as st

import minilm

ENGINE = SimpleNamespace(Tensor=minilm.Tensor, F=minilm.functional)  # test_mutants.py puts a broken one in its place
LARGE = 48  # inputs up to this many elements are checked at each; larger ones along random directions


def outputs_of(result: Any) -> list[Any]:
    """What a function returned, as a list: split() returns several tensors."""
    return list(result) if isinstance(result, tuple | list) else [result]


def gradients(
    function: Callable, arrays: Sequence[np.ndarray], seed: int, engine: Any = ENGINE, only: Any = None
) -> Any:
    """Return (cotangents, gradients) of function(F, *tensors); `only`: the one operand that requires a gradient."""
    tensors = [engine.Tensor(a, requires_grad=only is None or i == only) for i, a in enumerate(arrays)]
    outputs = outputs_of(function(engine.F, *tensors))
    rng = np.random.default_rng(seed)
    cotangents = [np.asarray(rng.standard_normal(y.shape)) for y in outputs]
    before = [c.copy() for c in cotangents]
    for i, (y, c) in enumerate(zip(outputs, cotangents, strict=True)):
        y.backward(c, retain_graph=i + 1 < len(outputs))
    for c, saved in zip(cotangents, before, strict=True):
        expect(np.array_equal(c, saved), "backward() wrote into the cotangent it was given")
    return cotangents, [t.grad for t in tensors]


def check_gradient(
    function: Callable,
    *arrays: np.ndarray,
    seed: int = 0,
    rtol: float = 1e-6,
    step: float = 1e-5,
    engine: Any = ENGINE,
) -> None:
    """Raise AssertionError unless every entry of every input's gradient agrees with central differences.

    function(F, *tensors) returns a tensor or a tuple of tensors. All arrays are float64 inputs, differentiable near
    the given point; they may be views of any strides, also read-only ones. Also checked: inputs and cotangents are not written
    to, an operand alone gets the same gradient as together with the others, and the layout of the memory changes nothing.
    """
    plain = [np.array(a, dtype=np.float64, order="C") for a in arrays]
    cotangents, got = gradients(function, arrays, seed, engine)
    for i, (array, saved) in enumerate(zip(arrays, plain, strict=True)):
        expect(np.array_equal(array, saved), f"input {i} was changed in place")

    def loss() -> float:
        outputs = outputs_of(function(engine.F, *(engine.Tensor(a) for a in plain)))
        return sum(float(np.vdot(c, y.data)) for c, y in zip(cotangents, outputs, strict=True))

    def difference(array: np.ndarray, direction: np.ndarray | None, i: int = 0) -> float:
        """(L(x + h d) − L(x − h d)) / 2h; d is a direction, or the i-th axis."""
        saved, values = array.copy(), []
        for sign in (1, -1):
            if direction is None:
                array.reshape(-1)[i] += sign * step
            else:
                array += sign * step * direction
            values.append(loss())
            array[...] = saved
        return (values[0] - values[1]) / (2 * step)

    rng = np.random.default_rng(seed + 1)
    scale = 1 + abs(loss())  # rounding in L is relative to L, and is divided by the step
    for i, (array, gradient) in enumerate(zip(plain, got, strict=True)):
        expect(gradient is not None, f"input {i} got no gradient")
        expect(gradient.shape == array.shape, f"gradient {i} has shape {gradient.shape}, the input {array.shape}")
        if array.size <= LARGE:
            numeric = np.array([difference(array, None, j) for j in range(array.size)]).reshape(array.shape)
            analytic = gradient
        else:
            directions = [rng.standard_normal(array.shape) for _ in range(4)]
            numeric = np.array([difference(array, d) for d in directions])
            analytic = np.array([np.vdot(gradient, d) for d in directions])
        tolerance = rtol * np.maximum(1, np.abs(numeric)) + 2e-10 * scale
        wrong = ~(np.abs(analytic - numeric) <= tolerance)  # a NaN is wrong, too
        expect(
            not wrong.any(),
            lambda i=i, a=analytic, n=numeric, wrong=wrong: (
                f"input {i} of shape {plain[i].shape}: derivative {a[wrong][:4]}, central differences {n[wrong][:4]}"
            ),
        )
        if len(plain) > 1:
            _, alone = gradients(function, arrays, seed, engine, only=i)
            expect(
                alone[i] is not None and np.allclose(alone[i], gradient, rtol=1e-12, atol=1e-12), f"{i} alone differs"
            )
            expect(
                all(g is None for j, g in enumerate(alone) if j != i), "an operand got a gradient it did not require"
            )


def expect(condition: Any, message: Any) -> None:
    """An assert that also works where pytest does not rewrite the module; `message` may be a function."""
    if not condition:
        raise AssertionError(message() if callable(message) else message)


# --- strategies -------------------------------------------------------------------------------------------------------

SEEDS = st.integers(0, 2**32 - 1)


def sizes(smallest: int = 1, largest: int = 4) -> st.SearchStrategy[int]:
    """Lengths of an axis. 1 is the interesting one, because broadcasting treats it differently, and frequent anyway."""
    return st.integers(smallest, largest)


def shapes(smallest_ndim: int = 0, largest_ndim: int = 3, empty: bool = False, largest: int = 4) -> st.SearchStrategy:
    """Shapes, with axes of length 1 and, where `empty`, sometimes of length 0."""
    axis = sizes(largest=largest)
    axis = st.one_of(axis, axis, axis, st.just(0)) if empty else axis
    return st.lists(axis, min_size=smallest_ndim, max_size=largest_ndim).map(tuple)


def away_from_zero(values: np.ndarray) -> np.ndarray:
    """Move values that are near a kink at 0 away from it."""
    return values + 0.1 * np.where(values >= 0, 1, -1)


def distinct(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Values at least 0.1 apart, in random order: no ties, and a small step changes no comparison."""
    n = int(np.prod(shape))
    return (0.1 * (rng.permutation(n) - n // 2) + 0.01).reshape(shape)  # never at 0, where |x| has its kink


@st.composite
def layouts(draw: Any, values: np.ndarray) -> np.ndarray:
    """An array equal to `values` in some memory layout: contiguous, transposed, cut out with steps, reversed, read-only."""
    kind = draw(st.sampled_from(["contiguous", "fortran", "stepped", "reversed", "inner", "readonly"]))
    if kind == "fortran":
        return np.array(values, order="F")
    if kind == "stepped" and values.ndim:
        wide = np.full([2 * n + 1 for n in values.shape], np.nan)
        view = wide[tuple(slice(1, None, 2) for _ in values.shape)]
        view[...] = values
        return view
    if kind == "reversed" and values.ndim:
        flip = (slice(None, None, -1),) * values.ndim
        return values[flip].copy()[flip]
    if kind == "inner" and values.ndim:  # the axes in another order in memory
        order = draw(st.permutations(range(values.ndim)))
        return values.transpose(order).copy().transpose(np.argsort(order))
    result = values.copy()
    result.flags.writeable = kind != "readonly"
    return result


@st.composite
def arrays(
    draw: Any, shape: Any, values: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray] | None = None
) -> np.ndarray:
    """A float64 array in a drawn layout; `shape` may be a strategy. Sometimes it is a broadcast view, as expand() makes.

    The values come from one drawn seed: hypothesis then shrinks shapes and layouts, which is what a reader wants to see.
    """
    shape = draw(shape) if isinstance(shape, st.SearchStrategy) else tuple(shape)
    rng = np.random.default_rng(draw(SEEDS))
    made = np.asarray((values or (lambda r, s: r.standard_normal(s)))(rng, shape), dtype=np.float64)
    if values is None and shape and draw(st.integers(0, 9)) == 0:
        return np.broadcast_to(made[:1], shape) if shape[0] else made
    return draw(layouts(made))


@st.composite
def broadcastable(draw: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that broadcasts to `shape`: some axes of length 1, some leading axes left out."""
    kept = [1 if draw(st.integers(0, 3)) == 0 else n for n in shape]
    return tuple(kept[draw(st.integers(0, len(kept))) :])


@st.composite
def dims(draw: Any, ndim: int) -> Any:
    """An axis, a tuple of axes, or None, negative ones too."""
    if ndim == 0 or draw(st.booleans()):
        return None
    axis = st.integers(-ndim, ndim - 1)
    if draw(st.booleans()):
        return draw(axis)
    return tuple(draw(st.lists(axis, min_size=1, max_size=ndim, unique_by=lambda a: a % ndim)))
