"""What the Trainer returns, and how the predictions of many batches become one array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minilm.devices import to_host
from minilm.models.outputs import ModelOutput
from minilm.tensor import Tensor
from minilm_kernels.conditions import HALVES

PADDING = -100  # what fills predictions and labels of unequal length


class TrainOutput(NamedTuple):
    """What train() returns: steps in all, the mean loss of this call's steps, and how long it took."""

    global_step: int
    training_loss: float
    metrics: dict[str, float]


class PredictionOutput(NamedTuple):
    """What predict() returns: an array, or a tuple of arrays where the model has several outputs."""

    predictions: Any
    label_ids: Any
    metrics: dict[str, float]


@dataclass
class EvalPrediction:
    """What compute_metrics gets: `predictions, label_ids = eval_prediction`."""

    predictions: Any
    label_ids: Any

    def __iter__(self) -> Iterator[Any]:
        return iter((self.predictions, self.label_ids))

    def __getitem__(self, i: int) -> Any:
        return (self.predictions, self.label_ids)[i]


def arrays_of(value: Any) -> Any:
    """Tensors, in tuples or alone, as arrays of the host; numbers of 16 bits as float32, with which NumPy can do more."""
    if isinstance(value, (tuple, list)):
        return tuple(arrays_of(item) for item in value)
    array = value.data if isinstance(value, Tensor) else value
    if getattr(getattr(array, "dtype", None), "name", None) in HALVES:
        array = array.astype(np.float32)
    return to_host(array)


def predictions_of(outputs: Any, with_loss: bool, ignore: Iterable[str] = ()) -> Any:
    """A model's outputs but the loss, the cache and those in `ignore`: one array, or a tuple of several."""
    left_out = {"loss", "past_key_values", *ignore}
    if isinstance(outputs, (ModelOutput, Mapping)):
        kept = [value for name, value in outputs.items() if name not in left_out]
    else:
        kept = list(outputs[1:] if with_loss else outputs) if isinstance(outputs, tuple) else [outputs]
    values = tuple(arrays_of(value) for value in kept if value is not None)
    return values[0] if len(values) == 1 else values


def concatenate_batches(batches: Sequence[Any]) -> Any:
    """Arrays (or tuples of them) of all batches below each other; −100 behind those that are shorter along another axis."""
    if not batches or batches[0] is None:
        return None
    if isinstance(batches[0], tuple):
        return tuple(concatenate_batches(column) for column in zip(*batches, strict=True))
    if batches[0].ndim == 0:
        return np.stack(batches)
    widest = tuple(max(sizes) for sizes in zip(*(array.shape[1:] for array in batches), strict=True))
    total = np.full((sum(map(len, batches)), *widest), PADDING, np.result_type(*batches))
    start = 0
    for array in batches:
        rows = slice(start, start + len(array))
        total[(rows, *(slice(size) for size in array.shape[1:]))] = array
        start += len(array)
    return total


def plain_numbers(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """NumPy's numbers as Python's, which JSON can write."""
    return {name: value.item() if hasattr(value, "item") else value for name, value in metrics.items()}
