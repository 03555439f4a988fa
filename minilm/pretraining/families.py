"""What a family must say to be pre-trained: its documents, tokenizer, rows, masks, model and scores."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minilm.errors import InputError
from minilm.tensor import Array, Tensor

BODIES = {
    "tiny": {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512},
    "small": {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}

Row = dict[str, np.ndarray]


class Judged(NamedTuple):
    """How a model did at places where it had to name something.

    loss, right: (N, T) −log p of what was to be named, and whether that was the most probable; both 0 elsewhere.
    counted: (N, T) bool, the places.
    """

    loss: np.ndarray
    right: np.ndarray
    counted: np.ndarray


class Family(ABC):
    """One way to learn from text that nobody has labelled."""

    tokens_needed: tuple[str, ...] = ()  # special tokens without which it does not go
    what: str = ""  # what the model names, for the report

    def __init__(self, options: Any) -> None:
        self.options: Any = options

    # --- from text to rows ----------------------------------------------------------------------------------------------

    @abstractmethod
    def documents(self, texts: Sequence[str]) -> list[str]:
        """The documents in the texts of files."""

    @abstractmethod
    def train_tokenizer(self, documents: Sequence[str], pieces: int, progress: bool) -> Any:
        """A tokenizer with so many pieces, learnt from the documents."""

    @abstractmethod
    def rows(self, documents: Sequence[str], tokenizer: Any, part: str, encode: Callable[..., list[Any]]) -> list[Row]:
        """The examples of a part ("training" or "validation"): arrays of ids, without masks.

        encode: from texts to lists of ids, with a bar. Raises InputError for a part that makes no example.
        """

    def check_tokenizer(self, tokenizer: Any, name: str) -> None:
        """Raise InputError unless a tokenizer has the special tokens that the family needs."""
        missing = [token for token in self.tokens_needed if getattr(tokenizer, f"{token}_id", None) is None]
        if missing:
            raise InputError(
                f"the tokenizer {name} has no {missing[0]}, which {self.options.family} needs; give one of the kind "
                f"{self.options.kind}, or train one: --tokenizer {self.options.kind}:8000"
            )

    # --- the model ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def model(self, tokenizer: Any, generator: np.random.Generator) -> Any:
        """A new model."""

    @abstractmethod
    def collator(self, tokenizer: Any, seed: int) -> Callable[[list[Any]], Mapping[str, Any]]:
        """From rows to a batch, with masks drawn anew each time."""

    # --- judging it -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def judged(self, predictions: Any, labels: Any) -> dict[str, Judged]:
        """Each thing that the model names, by its name for the log; from what `compressed` made of the logits."""

    def compressed(self, predictions: Any, labels: Any) -> tuple[Array, ...]:
        """Instead of a score for each word of the vocabulary the two numbers that count, at each place: (loss, right)."""
        logits = predictions[0] if isinstance(predictions, tuple) else predictions
        return loss_and_right(logits, labels)

    @abstractmethod
    def baseline(self, training: list[Row], validation_labels: Any, tokenizer: Any) -> dict[str, tuple[float, float]]:
        """(loss, accuracy) of knowing nothing but how often each answer occurs in the training part; by name."""

    @abstractmethod
    def examples(
        self, model: Any, tokenizer: Any, rows: list[Row], batch: Mapping[str, Any]
    ) -> Iterator[tuple[str, ...]]:
        """(text, expected, predicted) of a few rows; batch: as the collator made it of them."""

    @abstractmethod
    def how_to_use(self, folder: str) -> list[str]:
        """Lines that say what the model in a folder can do."""


def loss_and_right(logits: Array, labels: Array) -> tuple[Array, Array]:
    """(−log p, is it the most probable), each of labels' shape, 0 where the label is −100.

    logits: (..., V), labels: (...). Computed at the places that count alone.
    """
    logits = np.asarray(logits.data if isinstance(logits, Tensor) else logits)
    counted = labels != -100
    z, wanted = logits[counted].astype(np.float64), labels[counted]  # (n, V), (n,)
    z -= z.max(-1, keepdims=True)
    loss, right = np.zeros(labels.shape), np.zeros(labels.shape)
    loss[counted] = np.log(np.exp(z).sum(-1)) - z[np.arange(len(z)), wanted]
    right[counted] = z.argmax(-1) == wanted
    return loss, right


def judged_words(predictions: Any, labels: np.ndarray) -> Judged:
    """(loss, right) of all batches, with the places that count."""
    loss, right = predictions
    counted = labels != -100
    return Judged(np.where(counted, loss, 0), np.where(counted, right, 0), counted)


def frequency_baseline(training: Sequence[np.ndarray], labels: np.ndarray, size: int) -> tuple[float, float]:
    """(loss, accuracy) of answering by frequency: p(word) = (count + 1)/(n + V).

    training: rows of ids. labels: what is to be named, −100 elsewhere. size: V.
    """
    counts = np.zeros(size, np.int64)
    for row in training:
        counts += np.bincount(row, minlength=size)
    wanted = labels[labels != -100]
    loss = np.log(counts.sum() + size) - np.log(counts[wanted] + 1)
    return float(loss.mean()), float((wanted == counts.argmax()).mean())


def blocks(encoded: Sequence[Any], size: int, least: int, between: int | None = None) -> list[np.ndarray]:
    """The ids of all texts one after the other, cut into rows of `size`; the last one is kept from `least` on.

    between: an id that is written after each text.
    """
    parts: list[np.ndarray] = []
    for ids in encoded:
        parts.append(np.asarray(ids, np.int32))
        if between is not None:
            parts.append(np.array([between], np.int32))
    row = np.concatenate(parts) if parts else np.empty(0, np.int32)
    rows = [row[start : start + size] for start in range(0, len(row), size)]
    return [r for r in rows if len(r) >= least]


def nothing_in(part: str, needed: str) -> InputError:
    """The error for a part without examples."""
    return InputError(
        f"the {part} part is too short for one example ({needed}); give more text, or another --validation_fraction"
    )


def fingerprint(*parts: list[Row]) -> str:
    """sha256 over all ids of these rows, by which a resumed run knows its data again."""
    digest = hashlib.sha256()
    for rows in parts:
        for row in rows:
            for name in sorted(row):
                values = np.asarray(row[name], "<i4")
                digest.update(f"{name} {values.shape} ".encode() + values.tobytes())
    return digest.hexdigest()
