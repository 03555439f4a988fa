"""Translation and summarization: an encoder-decoder writes a text from a text."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minilm.data import PairExample, read_pair_examples
from minilm.data.collators import DataCollatorForSeq2Seq
from minilm.finetuning.encoding import encode_texts
from minilm.finetuning.judging import intervals, language_of
from minilm.finetuning.task import Encoded, Judgement, Parts, Task
from minilm.finetuning.task_options import SummarizationOptions, WritingOptions
from minilm.metrics import Interval, bleu_of, bleu_statistics, chrf_of, chrf_statistics, rouge_scores
from minilm.training import Seq2SeqTrainer, Seq2SeqTrainingArguments
from minilm.training.predictions import PADDING

SENTENCE = re.compile(r".+?(?:[.!?](?=\s)|[。！？]|$)", re.DOTALL)
KINDS = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL"}


@dataclass(frozen=True)
class WritingExample:
    """A text and all texts that people wrote from it; the model learns and is measured by each."""

    source: str
    references: tuple[str, ...]

    @property
    def target(self) -> str:
        return self.references[0]


class Writing(Task):
    """Rows: the ids of a text and of what to write. Predictions: the ids written, (N, T), −100 behind their end."""

    auto_class = "AutoModelForSeq2SeqLM"
    trainer_class = Seq2SeqTrainer
    arguments_class = Seq2SeqTrainingArguments
    unit = "nats per token"
    options: WritingOptions
    best_possible: float = 1.0  # of the score by which answers are ordered

    def read(self, path: str) -> list[PairExample]:
        source, target = self.options.columns_of_pairs()
        return read_pair_examples(
            path, source=source, target=target, columns=self.options.column_names(), format=self.options.format
        )

    def group(self, example: PairExample) -> Hashable:
        return example.source  # one text may have several translations: they stay together

    def learn(self, parts: Parts) -> Parts:
        """Validation and test have each text once, with all that people wrote from it."""
        return Parts(parts.training, gathered(parts.validation), gathered(parts.test))

    def texts(self, examples: Sequence[PairExample]) -> Iterator[str]:
        if self.options.prefix:
            yield self.options.prefix
        yield from dict.fromkeys(example.source for example in examples)
        yield from (example.target for example in examples)

    def encode(
        self, examples: list[PairExample] | list[WritingExample], part: str, tokenizer: Any, max_length: int
    ) -> Encoded:
        sources = [self.options.prefix + example.source for example in examples]
        encoded = encode_texts(list(examples), sources, None, tokenizer, max_length, self.options.too_long, part)
        targets = [example.target for example in examples]
        longest = self.options.max_target_length
        written = encode_texts([], targets, None, tokenizer, longest, self.options.too_long, f"{part} targets'")
        encoded.cut_targets = written.cut
        for row, target in zip(encoded.rows, written.rows):
            row.pop("token_type_ids", None)
            row["labels"] = target["input_ids"]
        return encoded

    def collator(self, tokenizer: Any, model: Any) -> DataCollatorForSeq2Seq:
        return DataCollatorForSeq2Seq(tokenizer, model)

    def generation(self) -> dict[str, Any]:
        """Options of generate(); the start token is one more."""
        o = self.options
        given: dict[str, Any] = {"max_length": o.max_target_length + 1, "num_beams": o.beams}
        if o.beams > 1:
            given |= {"length_penalty": o.length_penalty, "early_stopping": True}
        return given | ({"no_repeat_ngram_size": o.no_repeat_ngram_size} if o.no_repeat_ngram_size else {})

    def arguments(self) -> dict[str, Any]:
        return {
            "predict_with_generate": True,
            "generation_max_length": self.options.max_target_length + 1,
            "generation_num_beams": self.options.beams,
        }

    def written(self, predictions: Any, tokenizer: Any) -> list[str]:
        """The texts of ids with −100 behind them."""
        ids = [row[row != PADDING] for row in np.asarray(predictions)]
        return [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]

    def judge(self, part: Encoded, predictions: Any, tokenizer: Any) -> Judgement:
        """predictions: ids, or texts already."""
        given = isinstance(predictions, list) and all(isinstance(text, str) for text in predictions)
        texts = predictions if given else self.written(predictions, tokenizer)
        references = [list(example.references) for example in part.examples]
        language = language_of((text for texts in references for text in texts), self.options.language)
        scores, single = self.scores(texts, references, language)
        answers = [
            {
                "text": example.source,
                "expected": list(example.references),
                "predicted": text,
                "right": float(score) / self.best_possible,
            }
            for example, text, score in zip(part.examples, texts, single)
        ]
        judgement = Judgement(scores, answers)
        self.add_baseline(judgement, part.examples, references, language)
        return judgement

    @abstractmethod
    def scores(
        self, texts: list[str], references: list[list[str]], language: str
    ) -> tuple[dict[str, Interval], Sequence[float]]:
        """The metrics with their intervals, and a score for each single text by which the report orders them."""

    @abstractmethod
    def add_baseline(
        self, judgement: Judgement, examples: list[WritingExample], references: list[list[str]], language: str
    ) -> None:
        """What texts get that nothing has been learnt for."""


class Translation(Writing):
    """Measured by BLEU and chrF."""

    best_possible = 100.0

    def scores(
        self, texts: list[str], references: list[list[str]], language: str
    ) -> tuple[dict[str, Interval], Sequence[float]]:
        bleu = bleu_statistics(texts, references, "zh" if language == "zh" else "13a")
        chrf = chrf_statistics(texts, references)
        metrics: dict[str, Callable[[np.ndarray], float]] = {
            "BLEU": lambda rows: bleu_of(bleu[rows].sum(0)).score,
            "chrF": lambda rows: chrf_of(chrf[rows].sum(0)),
        }
        return intervals(metrics, len(texts), self.options.resamples), [chrf_of(row) for row in chrf]

    def add_baseline(
        self, judgement: Judgement, examples: list[WritingExample], references: list[list[str]], language: str
    ) -> None:
        copied = [example.source for example in examples]
        bleu = bleu_of(bleu_statistics(copied, references, "zh" if language == "zh" else "13a").sum(0)).score
        chrf = chrf_of(chrf_statistics(copied, references).sum(0))
        judgement.baseline = f"Copying the text unchanged would get BLEU {bleu:.1f} and chrF {chrf:.1f}."
        judgement.baseline_scores = {"BLEU": bleu, "chrF": chrf}


class Summarization(Writing):
    """Measured by ROUGE: the mean F1 of words (1), pairs of words (2) and the longest common sequence (L)."""

    options: SummarizationOptions

    def rouge(self, texts: Sequence[str], references: list[list[str]], language: str) -> np.ndarray:
        """(N, 3): each text's F1 of the three kinds."""
        tokenize = list if language == "zh" else None  # characters: ROUGE's own rule leaves nothing of Chinese
        rows = []
        for text, given in zip(texts, references):
            kinds = rouge_scores(text, given, tuple(KINDS.values()), self.options.stemmer, tokenize)
            rows.append([kinds[kind].f1 for kind in KINDS.values()])
        return np.array(rows)

    def scores(
        self, texts: list[str], references: list[list[str]], language: str
    ) -> tuple[dict[str, Interval], Sequence[float]]:
        each = self.rouge(texts, references, language)

        def mean(kind: int) -> Callable[[np.ndarray], float]:
            return lambda rows: float(each[rows, kind].mean())

        metrics = {name: mean(kind) for kind, name in enumerate(KINDS)}
        return intervals(metrics, len(texts), self.options.resamples), each[:, 2].tolist()

    def add_baseline(
        self, judgement: Judgement, examples: list[WritingExample], references: list[list[str]], language: str
    ) -> None:
        means = self.rouge([first_sentence(example.source) for example in examples], references, language).mean(0)
        judgement.baseline_scores = dict(zip(KINDS, means.tolist()))
        told = ", ".join(f"{name} {value:.3f}" for name, value in judgement.baseline_scores.items())
        judgement.baseline = f"The first sentence of each text, taken for its summary, would get {told}."


def gathered(examples: list[PairExample]) -> list[WritingExample]:
    """Each text once, in the order of its first occurrence, with all different texts written from it."""
    references: dict[str, dict[str, None]] = {}
    for example in examples:
        references.setdefault(example.source, {})[example.target] = None
    return [WritingExample(source, tuple(targets)) for source, targets in references.items()]


def first_sentence(text: str) -> str:
    """Up to the first mark that ends a sentence."""
    found = SENTENCE.match(text.strip())
    return found.group() if found else text
