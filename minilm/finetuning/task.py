"""What a task is to the rest: it reads examples, turns them into rows for a model, and judges what the model says.

classification.py, tagging.py, answering.py and writing.py each fill this in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from minilm.metrics import ConfusionMatrix, Interval
from minilm.training import EvalPrediction, Trainer, TrainingArguments

PARTS = ("training", "validation", "test")


class Parts(NamedTuple):
    """The examples of the three parts, as the readers of minilm.data return them; no example is in two of them."""

    training: list[Any]
    validation: list[Any]
    test: list[Any]


@dataclass
class Encoded:
    """One part, ready for a model.

    examples: as they were read. rows: what the Trainer takes, a dict of ids and labels each; one for each example, but
    for question answering one for each window of a long text. places: where in its example each row belongs, for tasks
    that need it. cut: how many texts were longer than max_length, cut_targets: how many texts to be written were too long;
    longest: the longest text in tokens, before cutting.
    """

    examples: list[Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    places: list[Any] = field(default_factory=list)
    cut: int = 0
    cut_targets: int = 0
    longest: int = 0


class Table(NamedTuple):
    """A table of the report."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass
class Judgement:
    """How good predictions are.

    scores: each metric with its confidence interval, the most important first. tables: further numbers.
    answers: for each example what was asked, expected and predicted, ready for JSON, with "right" (true or false, or a
    score from 0 to 1 where it is no yes or no). confusion: for classes. baseline: what answers without looking get, in
    words. baseline_scores: the same as numbers. majority: the class that the baseline always answers.
    """

    scores: dict[str, Interval]
    answers: list[dict[str, Any]]
    tables: list[Table] = field(default_factory=list)
    confusion: ConfusionMatrix | None = None
    baseline: str = ""
    baseline_scores: dict[str, float] = field(default_factory=dict)
    majority: str | None = None


class Task(ABC):
    """One of the five tasks, with its options."""

    auto_class: ClassVar[str]  # of minilm.hub
    trainer_class: ClassVar[type[Trainer]] = Trainer
    arguments_class: ClassVar[type[TrainingArguments]] = TrainingArguments
    unit: ClassVar[str] = "nats per example"  # of the loss
    best_metric = "loss"  # by which validation tells the best weights

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def read(self, path: str) -> list[Any]:
        """The examples of a file. Raises InputError that says which line is wrong."""

    def group(self, example: Any) -> Hashable:
        """What must not be in two parts at once: examples of the same group are kept together. None: each for itself."""
        return None

    def learn(self, parts: Parts) -> Parts:
        """Look at the parts before anything else: learn the classes, refuse what cannot work; returns the parts to use."""
        return parts

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The classes in the order of their numbers; None for tasks without."""
        return None

    @abstractmethod
    def texts(self, examples: Sequence[Any]) -> Iterator[str]:
        """All texts of examples, on which a new tokenizer is trained."""

    @abstractmethod
    def encode(self, examples: list[Any], part: str, tokenizer: Any, max_length: int) -> Encoded:
        """Examples as rows of ids and labels. part: its name, for errors."""

    @abstractmethod
    def collator(self, tokenizer: Any, model: Any) -> Callable[[list[Any]], Mapping[str, Any]]:
        """From rows to a batch."""

    def arguments(self) -> dict[str, Any]:
        """TrainingArguments of this task beside the common ones."""
        return {}

    def generation(self) -> dict[str, Any]:
        """Options of generate(), where predictions are texts."""
        return {}

    @abstractmethod
    def judge(self, part: Encoded, predictions: Any, tokenizer: Any) -> Judgement:
        """Compare predictions (what Trainer.predict returns for part.rows, as arrays) with what was expected."""

    def metrics(self, part: Encoded, tokenizer: Any) -> Callable[[EvalPrediction], dict[str, float]] | None:
        """compute_metrics for evaluations of `part` on the way; None where the loss must do."""
        return None


def shown(text: str, length: int = 60) -> str:
    """A text for a message, not longer than `length`."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"
