"""What the check cells of an assignment call. It lies beside the notebook; grading uses the teacher's copy.

A check that fails says in a sentence what was expected, with shapes and numbers, and never how to write it.
"""

from __future__ import annotations

import numpy as np


def tr(en: str, zh: str) -> str:
    """One of two languages. The build puts the chosen text in the place of this call; unbuilt it is English."""
    return en


class Wrong(AssertionError):  # noqa: N818  what a student reads
    """A check that failed. Jupyter shows its sentence alone, without the lines of this file."""

    def _render_traceback_(self) -> list[str]:
        return [f"\x1b[31m✗\x1b[0m {self}"]


def that(holds: bool, sentence: str) -> None:
    """Raise Wrong with the sentence unless it holds."""
    if not holds:
        raise Wrong(sentence)


def close(got, want, what: str, hint: str = "", tolerance: float = 1e-7) -> None:
    """Raise Wrong unless `got` is the array `want`: same shape, all numbers, equal up to rounding."""
    want = np.asarray(want)
    hint = f"\n  {hint}" if hint else ""
    if got is None:
        raise Wrong(what + tr(" is None. Did you forget `return`?", " 是 None。是不是忘了写 `return`？"))
    got = np.asarray(got)
    if got.shape != want.shape:
        raise Wrong(
            what
            + tr(f" has shape {got.shape}, expected {want.shape}.", f" 的形状是 {got.shape}，应当是 {want.shape}。")
            + hint
        )
    if got.dtype.kind not in "fiub":
        raise Wrong(what + tr(f" holds {got.dtype}, expected numbers.", f" 的元素是 {got.dtype}，应当是数。") + hint)
    bad = ~np.isfinite(got) & np.isfinite(want)
    if bad.any():
        place = where(bad)
        raise Wrong(
            what
            + tr(
                f" is {got[place]} at {list(place)}: not a number any more.",
                f" 在位置 {list(place)} 处是 {got[place]}，不是正常的数。",
            )
            + hint
        )
    error = np.abs(got.astype(float) - want)
    wrong = error > tolerance * (1 + np.abs(want))
    if wrong.any():
        place = tuple(int(i) for i in np.unravel_index(np.argmax(np.where(wrong, error, -1)), error.shape))
        at = tr(f" at {list(place)}", f"位置 {list(place)} 处") if place else ""
        mine, right = float(got[place]), float(want[place])
        if wrong.size == 1:
            raise Wrong(
                what + tr(f" is {mine:.6g}, expected {right:.6g}.", f" 是 {mine:.6g}，应当是 {right:.6g}。") + hint
            )
        raise Wrong(
            what
            + tr(
                f" is wrong in {wrong.sum()} of {wrong.size} numbers. The worst is{at}: {mine:.6g}, expected {right:.6g}.",
                f" 的 {wrong.size} 个数中有 {wrong.sum()} 个不对。差得最多的是{at}：得到 {mine:.6g}，应当是 {right:.6g}。",
            )
            + hint
        )


def where(bad) -> tuple[int, ...]:
    """The first place at which `bad` is True."""
    return tuple(int(i) for i in np.argwhere(bad)[0])


def pair(result, what: str, number: int) -> tuple:
    """Raise Wrong unless `result` is a tuple of `number` things; returned as it is."""
    if result is None:
        raise Wrong(what + tr(" returned None. Did you forget `return`?", " 返回了 None。是不是忘了写 `return`？"))
    if not isinstance(result, tuple) or len(result) != number:
        kind = f"{type(result).__name__}" + (f"({len(result)})" if isinstance(result, tuple | list) else "")
        raise Wrong(
            what
            + tr(
                f" returned {kind}, expected a tuple of {number}.",
                f" 返回的是 {kind}，应当是含 {number} 个元素的元组。",
            )
        )
    return result


def operation(op, arrays, dz, value, gradients, what: str, hint: str = "", tolerance: float = 1e-7) -> None:
    """Check op(*arrays) → (z, backward): the value, then backward(dz) for each operand, and that nothing given was changed."""
    before = [np.array(each) for each in (*arrays, dz)]
    z, backward = pair(op(*arrays), what, 2)
    close(z, value, tr(f"The value of {what}", f"{what} 的值"), tolerance=tolerance)
    that(
        callable(backward),
        tr(
            f"The second thing that {what} returns should be the function backward.",
            f"{what} 返回的第二项应当是函数 backward。",
        ),
    )
    grads = pair(backward(dz), tr(f"backward of {what}", f"{what} 的 backward"), len(gradients))
    for k, (got, want) in enumerate(zip(grads, gradients), 1):
        name = tr(
            f"{what}: the gradient of operand {k} (operand {np.shape(want)}, dz {np.shape(dz)})",
            f"{what}：第 {k} 个操作数的梯度（操作数形状 {np.shape(want)}，dz 形状 {np.shape(dz)}）",
        )
        close(got, want, name, hint, tolerance)
    unchanged((*arrays, dz), before, what)


def unchanged(arrays, before, what: str) -> None:
    """Raise Wrong if one of the arrays is no longer what it was."""
    for array, old in zip(arrays, before):
        if not np.array_equal(array, old, equal_nan=np.asarray(old).dtype.kind == "f"):
            raise Wrong(
                what
                + tr(
                    " changed an array that it was given; work on a copy.",
                    " 改动了传给它的数组；请在副本上计算。",
                )
            )


def ready() -> None:
    """Raise unless the checks themselves still work: a check that lets 1 pass for 2 has been replaced."""
    for function, arguments in ((close, (1.0, 2.0, "")), (that, (False, "")), (pair, ((1,), "", 2))):
        try:
            function(*arguments)
        except Wrong:
            continue
        raise RuntimeError("the checks were replaced")
    if np.abs(-1.0) != 1.0 or np.array_equal([0.0], [1.0]):
        raise RuntimeError("NumPy was replaced")
