"""The tape: recorded operations, the order in which to walk them back, and the switch that stops recording.

Nothing here knows how a value is made; `Node.backward` is the derivative that a function of minilm.functional left behind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator
from inspect import isgeneratorfunction
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import minilm_kernels as kernels
from minilm_kernels import array_namespace
from minilm_kernels.conditions import sent_checked

if TYPE_CHECKING:
    from minilm.tensor import Tensor

LARGE = 1 << 15  # elements
Array = Any  # numpy.ndarray, or cupy.ndarray where the data live on a GPU


class Partial(NamedTuple):
    """A cotangent that touches only a part of its parent: `parent_grad[index] += values`.

    Slicing, splitting and embedding look at a few rows of a large array; this keeps their derivative from being
    a large array of zeros. `rows=True` says that `index` is an integer array of rows in which a row may occur repeatedly.
    """

    index: Any
    values: Array
    rows: bool = False


Cotangents = tuple["Array | Partial | None", ...]


class Node:
    """One recorded operation: its parents, its derivative, and the cotangent that has gathered so far."""

    __slots__ = ("adds_to_first", "backward", "cotangent", "dtype", "fingerprints", "owned", "parents", "shape")

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: Any,
        parents: tuple[Tensor, ...],
        backward: Callable[..., Cotangents],
        adds_to_first: bool = False,
    ):
        self.shape = shape
        self.dtype = dtype
        self.parents = parents
        self.backward: Callable[..., Cotangents] | None = backward
        self.adds_to_first = adds_to_first
        self.cotangent: Array | None = None
        self.owned = False  # whether `cotangent` is an array of our own that may be added to in place
        self.fingerprints = [fingerprint(array) for array in saved_arrays(backward)]

    @property
    def name(self) -> str:
        """The function that recorded this: `softmax` for softmax.<locals>.backward."""
        if self.backward is None:
            return "freed operation"
        return self.backward.__qualname__.rsplit(".<locals>", 1)[0].rpartition(".")[2].lstrip("_")

    def receive(self, cotangent: Array | Partial) -> None:
        """Add a cotangent that a consumer sent; in place once the sum is an array of our own."""
        if isinstance(cotangent, Partial):
            if self.cotangent is None:
                self.cotangent = array_namespace(cotangent.values).zeros(self.shape, self.dtype)
            elif not self.owned:
                self.cotangent = array_namespace(self.cotangent).array(self.cotangent)
            self.owned = True
            add_partial(self.cotangent, cotangent)
        elif self.cotangent is None:
            self.cotangent = cotangent
        elif self.owned:
            self.cotangent += cotangent
        else:
            self.cotangent = sum_of(self.cotangent, cotangent)
            self.owned = True

    def take_from_first(self) -> Array | None:
        """Take what the first parent has received so far, if there is something that a kernel can add its cotangent to."""
        parent = self.parents[0]
        first = parent.node
        if first is None or first.cotangent is None or not parent.requires_grad:
            return None
        gathered: Array = first.cotangent
        if gathered.dtype != self.dtype or type(gathered) is not type(self.cotangent):
            return None
        first.cotangent, first.owned = None, False
        return gathered

    def check_saved(self) -> None:
        """Refuse to differentiate with arrays that are no longer what the forward pass saw."""
        for array, part, before in self.fingerprints:
            if (samples(array) if part is None else part).tobytes() != before:
                raise RuntimeError(
                    f"an array of shape {array.shape} that {self.name} saved for backward() was changed in place after "
                    "the forward pass; call backward() before you change it (optimizer.step() too), or change a copy"
                )

    def free(self) -> None:
        self.parents, self.backward, self.cotangent, self.fingerprints = (), None, None, []


def sum_of(a: Array, b: Array) -> Array:
    """a + b in a new array; a large one on the kernels' threads, on whose cores what comes next will look for it."""
    if a.ndim > 1 and a.size >= LARGE and a.dtype == b.dtype and a.dtype in (np.float32, np.float64):
        return kernels.bias_residual_dropout(a, residual=b)[0]
    return array_namespace(a).asarray(a + b)  # NumPy makes a scalar of a 0-dim sum


def topological_order(root: Node) -> list[Node]:
    """Return all nodes below `root`, every one before its consumers (so `root` is last). Iterative: depth is no limit."""
    order: list[Node] = []
    seen = {root}
    stack: list[tuple[Node, Iterator[Tensor]]] = [(root, iter(root.parents))]
    while stack:
        node, parents = stack[-1]
        if node.backward is None:
            raise RuntimeError(
                "backward() through a graph that an earlier backward() has freed; add the losses and call backward() once, "
                "compute the forward pass again, or pass retain_graph=True the first time"
            )
        for parent in parents:
            below = parent.node
            if below is not None and below not in seen:
                seen.add(below)
                stack.append((below, iter(below.parents)))
                break
        else:
            order.append(node)
            stack.pop()
    return order


def add_partial(total: Array, partial: Partial) -> None:
    """total[index] += values, counting an index that occurs k times k times."""
    if partial.rows:
        add_rows(total, partial.index, partial.values)
    elif _is_basic(partial.index):
        total[partial.index] += partial.values
    elif isinstance(total, np.ndarray):
        np.add.at(total, partial.index, partial.values)
    else:
        add_places(total, partial.index, partial.values)


def add_places(total: Array, index: Any, values: Array) -> None:
    """total[index] += values on a device, where add.at adds in another order each time, and bfloat16 not at all."""
    xp = array_namespace(total)
    places = xp.arange(total.size).reshape(total.shape)[index]
    flat = xp.ascontiguousarray(total).reshape(-1, 1)
    with sent_checked():
        add_rows(flat, places, xp.broadcast_to(values, places.shape))
    if not total.flags.c_contiguous:
        total[...] = flat.reshape(total.shape)


def add_rows(total: Array, rows: Array, values: Array) -> None:
    """total[rows[i]] += values[i] for every i, in an order that is always the same."""
    known = "fd" if isinstance(total, np.ndarray) else "efdE"  # a GPU's kernels also take the 16-bit types
    if not isinstance(total, np.ndarray):
        values = values.astype(total.dtype, copy=False)
    if total.ndim == 2 and total.dtype == values.dtype and total.dtype.char in known:
        kernels.embedding_backward(values.reshape(rows.size, total.shape[1]), rows.reshape(-1), total)
    else:
        array_namespace(total).add.at(total, rows, values)


def _is_basic(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is Ellipsis or isinstance(part, slice | int | np.integer) for part in parts)


# --- what the closures saved ------------------------------------------------------------------------------------------

WHOLE = 4096  # arrays up to this many elements are compared whole, larger ones at evenly spaced elements
SAMPLES = 64


def saved_arrays(backward: Callable, private: bool = False) -> list[np.ndarray]:
    """The NumPy arrays that a derivative keeps in its closure (also in the functions it calls).

    private: with those arrays of a kernel's residuals that only the kernel has. Nobody else can change them.
    Arrays on a GPU are not among them, so a change of one in place goes unnoticed: to look would be to wait for the device.
    """
    arrays: list[np.ndarray] = []
    for cell in getattr(backward, "__closure__", None) or ():
        try:
            content = cell.cell_contents
        except ValueError:  # a name that is not bound yet
            continue
        if type(content) is np.ndarray:
            arrays.append(content)
        elif isinstance(content, tuple):
            _gather(content, private, arrays)
        elif type(content) is FunctionType and content.__closure__:
            arrays += saved_arrays(content, private)
    return arrays


def arrays_in(content: tuple, private: bool = False) -> list[np.ndarray]:
    """The NumPy arrays in a tuple and in the tuples inside it, such as the residuals of a kernel."""
    arrays: list[np.ndarray] = []
    _gather(content, private, arrays)
    return arrays


def _gather(content: tuple, private: bool, arrays: list[np.ndarray]) -> None:
    for part in content if private else getattr(content, "shared", content):
        if type(part) is np.ndarray:
            arrays.append(part)
        elif isinstance(part, tuple):
            _gather(part, private, arrays)


def fingerprint(array: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, bytes]:
    """The array, the part of it that shows a change, and that part's bytes now. None: the part is no view, take it again.

    Up to 4,096 elements this is exact. Of a larger array 64 evenly spaced elements are compared: every change of the whole
    array is seen, at the cost of a microsecond; a write to a few elements of a large array may pass.
    """
    part = samples(array)
    return array, part if part is array or part.base is not None else None, part.tobytes()


def samples(array: np.ndarray) -> np.ndarray:
    """The elements that fingerprint() looks at: the array, a view of it, or, where no view can be had, a copy."""
    if array.size <= WHOLE:
        return array
    elements = array.reshape(-1) if array.flags.c_contiguous else array.flat
    return elements[:: array.size // SAMPLES]


# --- switching the tape off -------------------------------------------------------------------------------------------


class _Mode(threading.local):
    recording = True


_mode = _Mode()


def grad_enabled() -> bool:
    return _mode.recording


class no_grad(ContextDecorator):  # noqa: N801  PyTorch's name
    """Within this block (or decorated function) nothing is recorded: results need no gradient and keep no history."""

    def __init__(self) -> None:
        self._before: list[bool] = []  # a stack: one object may be entered again inside itself

    def __enter__(self) -> None:
        self._before.append(_mode.recording)
        _mode.recording = False

    def __exit__(self, *exception: object) -> None:
        _mode.recording = self._before.pop()

    def __call__(self, function: Any) -> Any:
        if isgeneratorfunction(function):
            raise TypeError(
                "no_grad() cannot decorate a generator: write `with no_grad():` around the work between its yields"
            )
        return super().__call__(function)

    def _recreate_cm(self) -> no_grad:  # a decorated function may call itself or run in several threads
        return no_grad()
