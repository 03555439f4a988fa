"""Tensor: an array that remembers how it was made, and `backward()`, which walks that memory in reverse.

The tape in one paragraph. Every differentiable function ends with `record(y, parents, backward)`. That wraps the
array `y` in a Tensor and hangs a Node on it: who the parents were, and a closure that turns the cotangent dL/dy into the
cotangents of the parents. `backward()` sorts the nodes so that each comes after all its consumers, then calls
the closures once each, adds what arrives at the same place, and forgets every node it has passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from minilm.devices import Device, beside, device_of, to_device, to_host
from minilm.tape import Array, Cotangents, Node, Partial, add_partial, grad_enabled, topological_order
from minilm_kernels import array_namespace


class Tensor:
    """An array with a gradient.

    data           the values: a NumPy array (float32 unless told otherwise), or a CuPy array on a GPU
    requires_grad  whether backward() should leave dL/d(this) in `.grad`
    grad           that gradient, a plain array of the same shape, or None

    Python numbers become float32 (or int64), arrays keep their dtype. Operators and methods (`x + y`, `x.sum(dim=-1)`,
    `x @ w`, `x[2:]`, ...) are the functions of `minilm.functional`, attached in functional/methods.py.
    """

    __slots__ = ("__weakref__", "data", "grad", "grad_buffer", "node", "requires_grad")
    __array_ufunc__ = None  # let `array + tensor` reach Tensor.__radd__ instead of looping over elements

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None):
        if isinstance(data, Tensor):
            data = data.data
        if type(data).__module__.partition(".")[0] != "cupy":
            given = data
            data = np.asarray(data, dtype=dtype)
            if dtype is None and data.dtype == np.float64 and not isinstance(given, np.ndarray | np.generic):
                data = data.astype(np.float32)
        if data.dtype.kind not in "biuf" and not is_float(data.dtype):
            raise TypeError(f"a Tensor holds numbers or booleans, not {data.dtype}; convert the data first")
        if requires_grad and not is_float(data.dtype):
            raise TypeError(f"only floating-point tensors can require a gradient, this one is {data.dtype}")
        self.data: Array = data
        self.requires_grad = requires_grad
        self.grad: Array | None = None
        self.grad_buffer: Array | None = None  # where an optimizer wants the gradient to be written
        self.node: Node | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> Any:
        return self.data.dtype

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def is_leaf(self) -> bool:
        return self.node is None

    def numel(self) -> int:
        return self.data.size

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def item(self) -> float | int | bool:
        """Return the one element as a Python number."""
        if self.data.size != 1:
            raise ValueError(f"item() wants exactly one element, this tensor has shape {self.shape}; index it first")
        return self.data.item()

    def numpy(self) -> np.ndarray:
        """Return the values as a NumPy array (the same memory on the CPU, a copy from a GPU)."""
        return to_host(self.data)

    @property
    def device(self) -> Device:
        """Where the values are: cpu or cuda."""
        return device_of(self.data)

    def to(self, target: Any) -> Tensor:
        """The tensor on a device ("cpu", "cuda") or in a dtype; the cotangent goes the way back. Itself if nothing changes.

        Raises InputError or MissingDependencyError for a GPU that cannot be used; both say what to do.
        """
        if not isinstance(target, str | Device) or target in DTYPES:
            return self.astype(DTYPES.get(target, target))
        y, before = to_device(self.data, target), self.device
        return self if y is self.data else record(y, (self,), lambda dy: (to_device(dy, before),))

    def cuda(self) -> Tensor:
        """The tensor on the GPU."""
        return self.to("cuda")

    def cpu(self) -> Tensor:
        """The tensor in the host's memory."""
        return self.to("cpu")

    def tolist(self) -> Any:
        return self.data.tolist()

    def detach(self) -> Tensor:
        """Return a tensor over the same memory that no gradient flows through."""
        return Tensor(self.data)

    def backward(self, cotangent: Any = None, retain_graph: bool = False) -> None:
        r"""Add dL/dx to `x.grad` of every leaf x that L depends on, where L = Σ cotangent ⊙ self.

        cotangent: an array of this tensor's shape; not needed for a single number (then it is 1).
        Each node is visited once, after all nodes that consume it: only then is its cotangent complete. The graph
        is freed on the way unless `retain_graph`.
        Raises RuntimeError for a tensor without history, a graph that was freed, a missing cotangent, or an array that was
        changed in place since the forward pass; ValueError for a cotangent of another shape.
        """
        if not self.requires_grad:
            raise RuntimeError(
                "backward() on a tensor that depends on nothing with requires_grad=True (or was made under no_grad())"
            )
        if cotangent is None and self.data.size != 1:
            raise RuntimeError(
                f"backward() on a tensor of shape {self.shape} needs a cotangent of that shape; "
                "reduce it to one number first (.sum(), .mean()) or pass backward(cotangent)"
            )
        xp = array_namespace(self.data)
        if isinstance(cotangent, Tensor):
            cotangent = cotangent.data
        seed = xp.ones_like(self.data) if cotangent is None else xp.asarray(cotangent, dtype=self.dtype)
        if seed.shape != self.shape:
            raise ValueError(f"the cotangent has shape {seed.shape}, the tensor {self.shape}; they must agree")
        if self.node is None:
            accumulate_leaf(self, seed)
            return

        order = topological_order(self.node)
        self.node.receive(seed)
        try:
            walk_back(order, retain_graph)
        except BaseException:
            for node in order:  # half a walk leaves cotangents behind, which a second one would count again
                node.free()
            raise

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self.grad = None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Let `np.asarray(tensor)` give the values."""
        values = self.numpy()
        return values if dtype is None and not copy else np.array(values, dtype=dtype)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a tensor with no axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __setitem__(self, index: Any, value: Any) -> None:
        """Write into the data; only where no gradient is being recorded."""
        if self.requires_grad and grad_enabled():
            raise RuntimeError(
                "in-place assignment to a tensor that requires a gradient is not recorded; "
                "use where() or masked_fill(), or write under no_grad()"
            )
        if isinstance(value, Tensor | np.ndarray):
            value = as_array(value, self.data)
        self.data[_plain_index(index, self.data)] = value

    def __repr__(self) -> str:
        text = np.array2string(self.numpy(), precision=4, separator=", ", prefix="Tensor(", threshold=100)
        extras = [] if self.dtype in (np.float32, np.int64, np.bool_) else [f"dtype={self.dtype}"]
        if self.data.size == 0 or self.data.size > 100:
            extras.append(f"shape={self.shape}")
        if self.node is not None:
            extras.append(f"from={self.node.name}")
        elif self.requires_grad:
            extras.append("requires_grad=True")
        return f"Tensor({', '.join([text, *extras])})"

    if TYPE_CHECKING:  # attached by functional/methods.py

        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, exponent: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        @property
        def T(self) -> Tensor: ...
        def __getattr__(self, name: str) -> Any: ...


class Parameter(Tensor):
    """A leaf tensor that a Module owns and an optimizer trains."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True):
        super().__init__(data, requires_grad=requires_grad)

    def __repr__(self) -> str:
        return "Parameter" + super().__repr__().removeprefix("Tensor")


def record(
    y: Array, parents: tuple[Tensor, ...], backward: Callable[..., Cotangents], adds_to_first: bool = False
) -> Tensor:
    """Wrap the result `y` of an operation and, if a parent requires a gradient, put the operation on the tape.

    backward(dy) gets dL/dy and returns one cotangent per parent, in order: an array of the parent's shape, a Partial,
    or None for "no gradient". What it needs from the forward pass it keeps as arrays in its closure.

    adds_to_first: where the first parent has received cotangents already, of the dtype of y, backward(dy, others) is called
    with their sum, and the cotangent that it returns for that parent contains it. A kernel adds in passing what would be
    another pass over three arrays here.
    """
    if type(y) is not np.ndarray and (not hasattr(y, "shape") or isinstance(y, np.generic)):
        y = np.asarray(y)
    out = Tensor.__new__(Tensor)
    out.data = y
    out.grad = out.grad_buffer = out.node = None
    out.requires_grad = False
    if grad_enabled():
        for parent in parents:  # any() of a generator takes three times as long, here at every operation
            if parent.requires_grad:
                out.requires_grad = True
                out.node = Node(y.shape, y.dtype, parents, backward, adds_to_first)
                break
    return out


def walk_back(order: list[Node], retain_graph: bool) -> None:
    """Visit the nodes of `order` from its end, hand each one's cotangents to its parents, and take it off the list."""
    while order:
        node = order[-1]
        node.check_saved()
        assert node.backward is not None  # topological_order refuses freed nodes
        others = node.take_from_first() if node.adds_to_first else None
        cotangents = node.backward(node.cotangent) if others is None else node.backward(node.cotangent, others)
        for parent, cotangent in zip(node.parents, cotangents, strict=True):
            if cotangent is None or not parent.requires_grad:
                continue
            if not isinstance(cotangent, Partial) and cotangent.shape != parent.data.shape:
                raise RuntimeError(
                    f"the derivative of {node.name} has shape {cotangent.shape} for an operand of shape "
                    f"{parent.shape}; unbroadcast() was probably forgotten"
                )
            if parent.node is None:
                accumulate_leaf(parent, cotangent)
            else:
                parent.node.receive(cotangent)
        if retain_graph:
            node.cotangent, node.owned = None, False
        else:
            node.free()
        order.pop()


def gradient_place(tensor: Tensor) -> tuple[Array | None, bool]:
    """Where a kernel may write the gradient of a leaf by itself, and whether to add to what is there.

    (None, False) for anything but a trained leaf that an optimizer has given a buffer, whose data and gradient nobody has
    replaced since. A derivative whose kernel wrote there sets `tensor.grad` and returns None for this operand.
    """
    place = tensor.grad_buffer
    if place is None or tensor.node is not None or not tensor.requires_grad:
        return None, False
    data = tensor.data
    if place.shape != data.shape or place.dtype != data.dtype:
        return None, False
    if tensor.grad is None:
        return place, False
    return (place, True) if tensor.grad is place else (None, False)


def accumulate_leaf(leaf: Tensor, cotangent: Array | Partial) -> None:
    """Add a cotangent to `leaf.grad`; the first one is written straight into the optimizer's buffer, if there is one."""
    if isinstance(cotangent, Partial):
        if leaf.grad is None:
            leaf.grad = _empty_gradient(leaf)
            leaf.grad[...] = 0
        add_partial(leaf.grad, cotangent)
    elif leaf.grad is None:
        leaf.grad = grad = _empty_gradient(leaf)
        grad[...] = cotangent
    else:
        leaf.grad += cotangent


def _empty_gradient(leaf: Tensor) -> Array:
    return array_namespace(leaf.data).empty_like(leaf.data) if leaf.grad_buffer is None else leaf.grad_buffer


def _plain_index(index: Any, like: Array) -> Any:
    """Replace tensors and lists in an index by arrays that are where `like`, the indexed array, is."""
    if isinstance(index, tuple):
        return tuple(_plain_index(part, like) for part in index)
    return as_array(index, like) if isinstance(index, Tensor | np.ndarray | list) else index


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Make a Tensor from numbers, lists or an array (copied)."""
    if isinstance(data, Tensor):
        data = data.data
    return Tensor(data.copy() if hasattr(data, "shape") else data, requires_grad, dtype)


def as_tensor(value: Any, like: Tensor | None = None) -> Tensor:
    """Return `value` as a Tensor; a single number takes the dtype of `like`, so that float32 stays float32."""
    if isinstance(value, Tensor):
        return value
    if like is not None and isinstance(value, int | float | np.number) and is_float(like.dtype):
        return Tensor(number_like(value, like.data))
    return Tensor(value)


def number_like(value: Any, array: Array) -> Array:
    """A single number as an array without axes, in the dtype of `array` and beside it."""
    if isinstance(array, np.ndarray):
        return np.asarray(value, dtype=array.dtype)
    return array_namespace(array).full((), value, array.dtype)  # a GPU fills it in without a copy from the host


def as_float(value: Any) -> Tensor:
    """Return `value` as a floating-point Tensor: integers and booleans become float32."""
    x = as_tensor(value)
    return x if is_float(x.dtype) else Tensor(x.data.astype(np.float32))


def as_array(value: Any, like: Array | None = None) -> Array:
    """The array of a Tensor, or one made from numbers: for ids, targets and masks, which carry no gradient.

    like: an array; the result is where that is.
    """
    if isinstance(value, Tensor):
        array = value.data
    elif hasattr(value, "__array_namespace__") or type(value).__module__.startswith("cupy"):
        array = value
    else:
        array = np.asarray(value)
    return array if like is None or type(array) is type(like) else beside(array, like)


def is_float(dtype: Any) -> bool:
    """Whether a dtype holds floating-point numbers; NumPy files bfloat16 (of ml_dtypes) under "other"."""
    kind = dtype.kind
    return kind == "f" or (kind not in "biu" and dtype.name == "bfloat16")  # the name takes microseconds to make


DTYPES: dict[Any, Any] = {"float16": np.float16, "float32": np.float32, "float64": np.float64, "bfloat16": "bfloat16"}
