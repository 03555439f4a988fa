"""Tagging: a tag for each word. The first piece of a word carries its tag; the others do not count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minilm.data import TokensExample, iob1_to_bio, read_conll, read_snips_slots, read_token_examples
from minilm.data.collators import IGNORED, DataCollatorForTokenClassification, align_labels
from minilm.errors import InputError
from minilm.finetuning.encoding import encode_texts
from minilm.finetuning.judging import add_majority, intervals, refuse_unseen
from minilm.finetuning.task import Encoded, Judgement, Parts, Table, Task
from minilm.finetuning.task_options import TaggingOptions
from minilm.metrics import (
    ConfusionMatrix,
    Scores,
    average_scores,
    classification_report,
    entity_counts,
    find_entities,
    scores_of,
)
from minilm.training import EvalPrediction

OUTSIDE = "O"


class Tagging(Task):
    """Rows: the ids of a sentence and for each token a tag's number or −100. Predictions: scores, (N, T, tags)."""

    auto_class = "AutoModelForTokenClassification"
    unit = "nats per word"
    options: TaggingOptions
    classes: tuple[str, ...] = ()
    majority: str = ""  # the most frequent tag of the training part

    def read(self, path: str) -> list[TokensExample]:
        o = self.options
        kind = o.format or ("jsonl" if Path(path).suffix.lower() == ".jsonl" else "conll")
        if kind == "snips":
            return read_snips_slots(path)
        if kind == "conll":
            return read_conll(path, scheme=o.scheme, token_column=o.token_column, tag_column=o.tag_column)
        return [self.checked(path, n, example) for n, example in enumerate(self.read_lists(path), 1)]

    def read_lists(self, path: str) -> list[TokensExample]:
        return read_token_examples(path, tokens=self.options.tokens, tags=self.options.tags)

    def checked(self, path: str, n: int, example: TokensExample) -> TokensExample:
        """An example of JSON lines with its tags in BIO, or an InputError."""
        if self.options.scheme == "any":
            return example
        try:
            tags = tuple(iob1_to_bio(example.tags))
        except InputError as error:
            raise InputError(f"{path}, example {n}: {error}; or, for tags of another kind, --scheme any") from error
        if self.options.scheme == "BIO" and tags != example.tags:
            wrong = next(old for old, new in zip(example.tags, tags) if old != new)
            raise InputError(
                f"{path}, example {n}: {wrong} continues no entity; begin it with B-, or, if the whole file is in the older "
                "scheme, give --scheme IOB1"
            )
        return TokensExample(example.tokens, tags)

    def learn(self, parts: Parts) -> Parts:
        counts = Counter(tag for example in parts.training for tag in example.tags)
        self.majority = counts.most_common(1)[0][0]
        if self.options.scheme == "any":
            self.classes = tuple(sorted(counts))
        else:  # of every type both tags, also where training has only entities of one word
            types = sorted({tag[2:] for tag in counts if tag != OUTSIDE})
            self.classes = (OUTSIDE, *(f"{letter}-{kind}" for kind in types for letter in "BI"))
        if len(self.classes) < 2:
            raise InputError(
                f"all words of the training part have the tag {self.majority!r}; give a file with other tags, or say which "
                "column holds them (--tag_column)"
            )
        refuse_unseen(parts, self.classes, lambda example: example.tags, "tag")
        return parts

    @property
    def labels(self) -> tuple[str, ...]:
        return self.classes

    @property
    def best_metric(self) -> str:  # type: ignore[override]
        return "f1" if self.entities else "accuracy"

    @property
    def entities(self) -> bool:
        """Whether the tags mark entities."""
        return self.options.scheme != "any"

    def texts(self, examples: Sequence[TokensExample]) -> Iterator[str]:
        for example in examples:
            yield " ".join(example.tokens)

    def encode(self, examples: list[TokensExample], part: str, tokenizer: Any, max_length: int) -> Encoded:
        words = [list(example.tokens) for example in examples]
        encoded = encode_texts(examples, words, None, tokenizer, max_length, self.options.too_long, part, words=True)
        number = {name: n for n, name in enumerate(self.classes)}
        for row, places, example in zip(encoded.rows, encoded.places, examples):
            row["labels"] = align_labels(places, [number[tag] for tag in example.tags])
        return encoded

    def collator(self, tokenizer: Any, model: Any) -> DataCollatorForTokenClassification:
        return DataCollatorForTokenClassification(tokenizer)

    def metrics(self, part: Encoded, tokenizer: Any) -> Callable[[EvalPrediction], dict[str, float]]:
        def compute(evaluation: EvalPrediction) -> dict[str, float]:
            predicted = self.tags_of(part, evaluation.predictions)
            actual = [example.tags for example in part.examples]
            right, total = 0, 0
            for ours, theirs in zip(predicted, actual):
                right, total = right + sum(a == b for a, b in zip(ours, theirs)), total + len(theirs)
            values = {"accuracy": right / total}
            if self.entities:
                _, counts = entity_counts(predicted, actual)
                values["f1"] = average_scores(counts.sum(0), "micro").f1
            return values

        return compute

    def tags_of(self, part: Encoded, predictions: Any) -> list[list[str]]:
        """A tag for each word: that of its first piece; "O" for words that were cut off (the majority for other tags)."""
        chosen = np.asarray(predictions).argmax(-1)  # (N, T)
        missing = OUTSIDE if self.entities else self.majority
        result = []
        for example, row, places, numbers in zip(part.examples, part.rows, part.places, chosen):
            tags = [missing] * len(example.tokens)
            for place, word, label in zip(range(len(places)), places, row["labels"]):
                if label != IGNORED:
                    tags[word] = self.classes[numbers[place]]
            result.append(tags)
        return result

    def judge(self, part: Encoded, predictions: Any, tokenizer: Any) -> Judgement:
        predicted = self.tags_of(part, predictions)
        actual = [list(example.tags) for example in part.examples]
        right = np.array(
            [[sum(a == b for a, b in zip(*pair)), len(pair[0])] for pair in zip(predicted, actual)], np.int64
        )
        metrics: dict[str, Callable[[np.ndarray], float]] = {}
        tables = []
        if self.entities:
            types, counts = entity_counts(predicted, actual)
            for n, name in ((2, "entity F1"), (0, "entity precision"), (1, "entity recall")):
                metrics[name] = lambda rows, n=n: average_scores(counts[rows].sum(0), "micro")[n]  # type: ignore[misc]
            total = counts.sum(0)
            lines: list[tuple[str, Scores]] = [(kind, scores_of(*row)) for kind, row in zip(types, total)]
            lines.append(("all", average_scores(total, "micro")))
            header = ("type", "precision", "recall", "F1", "entities")
            tables.append(Table("Each type of entity", header, [(kind, *line) for kind, line in lines]))
        metrics["word accuracy"] = lambda rows: float(np.divide(*right[rows].sum(0)))
        flat_predicted, flat_actual = self.flat(predicted), self.flat(actual)
        names = sorted({*flat_predicted, *flat_actual})
        report = classification_report(flat_predicted, flat_actual, names)
        if not self.entities:
            header = ("tag", "precision", "recall", "F1", "words")
            tables.append(Table("Each tag", header, [(name, *line) for name, line in report.per_class.items()]))
        confusion = ConfusionMatrix(tuple(names), report.confusion.counts)
        judgement = Judgement(
            intervals(metrics, len(actual), self.options.resamples), self.answers(part, predicted), tables, confusion
        )
        majority = self.flat([[self.majority]])[0]
        names = sorted({*names, majority})
        place = {name: n for n, name in enumerate(names)}
        add_majority(judgement, place[majority], np.array([place[name] for name in flat_actual]), names, "word")
        return judgement

    def flat(self, sentences: list[list[str]]) -> list[str]:
        """The tags of all words in a row; of entities their type alone, so that B and I are one."""
        tags = [tag for sentence in sentences for tag in sentence]
        return [tag.partition("-")[2] or tag for tag in tags] if self.entities else tags

    def answers(self, part: Encoded, predicted: list[list[str]]) -> list[dict[str, Any]]:
        """Each sentence with the entities that it has and those that were found; or with its tags."""
        return [
            {
                "text": " ".join(example.tokens),
                "expected": self.told(example.tokens, example.tags),
                "predicted": self.told(example.tokens, tags),
                "tags": tags,
                "right": list(example.tags) == tags,
            }
            for example, tags in zip(part.examples, predicted)
        ]

    def told(self, tokens: Sequence[str], tags: Sequence[str]) -> str:
        """Tags for a reader: "PER: Angela Merkel; LOC: Berlin"."""
        if not self.entities:
            return " ".join(f"{token}/{tag}" for token, tag in zip(tokens, tags))
        found = find_entities(tags)
        return "; ".join(f"{e.type}: {' '.join(tokens[e.start : e.end])}" for e in found) or "(nothing)"
