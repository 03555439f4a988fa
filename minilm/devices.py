"""Where arrays live, in the memory of the CPU (NumPy) or of a GPU (CuPy), and the few functions that move them.

    model.to("cuda")        ids = to_device(ids, "cuda")        logits = to_host(logits)

Everything else asks an array for its module (minilm_kernels.array_namespace) and computes where the array is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minilm.errors import InputError
from minilm.optional import require
from minilm_kernels import array_namespace

Array = Any
ALIGNMENT = 16  # bytes: where an array may begin inside a shared transfer


@dataclass(frozen=True)
class Device:
    """A place for arrays: "cpu", or "cuda", the one GPU that minilm computes on."""

    type: str

    def __str__(self) -> str:
        return self.type


CPU, CUDA = Device("cpu"), Device("cuda")


def as_device(device: Any) -> Device:
    """The Device of a name: "cpu", "cuda" or "cuda:0". Raises InputError for another, or for a GPU that cannot be used."""
    if isinstance(device, Device):
        return device
    if device == "cpu":
        return CPU
    if device in ("cuda", "cuda:0", "gpu"):
        check_cuda()
        return CUDA
    if isinstance(device, str) and device.startswith("cuda:"):
        raise InputError(
            f"minilm computes on one GPU, which is called 'cuda'; to take another than the first, start the program with "
            f"CUDA_VISIBLE_DEVICES={device.removeprefix('cuda:')}"
        )
    raise InputError(f"there is no device {device!r}; choose 'cpu' or 'cuda'")


def check_cuda() -> None:
    """Raise MissingDependencyError without CuPy, and InputError where CuPy finds no GPU; each says what to do."""
    require("cupy", "computing on a GPU")
    from minilm_kernels.gpu.compile import no_device

    reason = no_device()
    if reason:
        raise InputError(
            f"device 'cuda' cannot be used: {reason}; mend that (`minilm doctor` says more), or choose 'cpu'"
        )


def device_of(array: Array) -> Device:
    """Where an array is."""
    return CPU if array_namespace(array) is np else CUDA


def to_device(array: Array, device: Any) -> Array:
    """The array on `device`; itself if it is there already."""
    device = as_device(device)
    if device_of(array) == device:
        return array
    return require("cupy", "computing on a GPU").asarray(array) if device == CUDA else array.get()


def to_host(array: Array) -> np.ndarray:
    """The array as NumPy's: itself, or a copy from the GPU, for which the host waits."""
    return array if isinstance(array, np.ndarray) else np.asarray(array) if device_of(array) == CPU else array.get()


def beside(array: Array, other: Array) -> Array:
    """`array` where `other` is; itself if it is there already."""
    if type(array) is type(other):
        return array
    return to_device(array, device_of(other))


def batch_to_device(arrays: dict[Any, Any], device: Any) -> dict[Any, Any]:
    """A batch's NumPy arrays on `device`, all in one copy; what is no NumPy array stays as it is.

    A copy takes microseconds however small it is, so a batch goes as one string of bytes and is cut up on the device.
    """
    device = as_device(device)
    moved = {name: np.ascontiguousarray(a) for name, a in arrays.items() if isinstance(a, np.ndarray) and a.size}
    if device == CPU or not moved:
        return arrays
    starts, end = {}, 0
    for name, array in moved.items():
        starts[name] = end
        end += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    packed = np.zeros(end, np.uint8)
    for name, array in moved.items():
        packed[starts[name] : starts[name] + array.nbytes] = array.reshape(-1).view(np.uint8)
    there = to_device(packed, device)
    cut = {
        name: there[starts[name] : starts[name] + array.nbytes].view(array.dtype).reshape(array.shape)
        for name, array in moved.items()
    }
    return {**arrays, **cut}
