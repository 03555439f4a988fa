"""One example of each kind of task, as the readers return them and the collators take them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TextExample:
    """A text to classify; second: the other text of a pair (does it follow, does it mean the same), or None.

    label: the class' name, or None where it is not known.
    """

    text: str
    label: str | None = None
    second: str | None = None


@dataclass(frozen=True)
class TokensExample:
    """A sentence to tag: tokens and as many tags, in BIO where they mark entities (B-PER, I-PER, O)."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """A piece of a context: context[start : start + len(text)] == text, counted in characters."""

    text: str
    start: int


@dataclass(frozen=True)
class QuestionExample:
    """A question about a context. answers: what people answered; none where the context does not tell."""

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...]

    @property
    def answer_texts(self) -> tuple[str, ...]:
        """The answers' texts, as `minilm.metrics.answer_scores` takes them."""
        return tuple(answer.text for answer in self.answers)


@dataclass(frozen=True)
class PairExample:
    """A text and what a model is to make of it: its translation, its summary."""

    source: str
    target: str
