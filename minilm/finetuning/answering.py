"""Question answering: the piece of a text that answers a question, as SQuAD has it.    [000 §3.3, 004 §3.4]

A long text is cut into windows that overlap. Each window's every token gets two scores, how well the answer begins and how
well it ends there; the best piece over all windows of a question is its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from minilm.data import QuestionExample, read_squad
from minilm.data.collators import DataCollatorWithPadding, answer_positions
from minilm.errors import InputError
from minilm.finetuning.encoding import FEATURES
from minilm.finetuning.judging import intervals, language_of
from minilm.finetuning.spans import Candidate, best_answers
from minilm.finetuning.task import Encoded, Judgement, Parts, Task, shown
from minilm.finetuning.task_options import QuestionAnsweringOptions
from minilm.metrics import answer_statistics
from minilm.training import EvalPrediction


class Window(NamedTuple):
    """A piece of a text: which example it is of, and where in the text each token stands ((−1, −1): in the question)."""

    example: int
    offsets: np.ndarray


class Answering(Task):
    """Rows: windows, with the answer's first and last token. Predictions: start and end scores, each (windows, T)."""

    auto_class = "AutoModelForQuestionAnswering"
    unit = "nats per position"
    best_metric = "f1"
    options: QuestionAnsweringOptions
    may_be_none = False  # whether training has questions that their text does not answer

    def read(self, path: str) -> list[QuestionExample]:
        return read_squad(path)

    def group(self, example: QuestionExample) -> Hashable:
        return example.context  # questions about one text stay together

    def learn(self, parts: Parts) -> Parts:
        if not any(example.answers for example in parts.training):
            raise InputError(
                "no question of the training part has an answer; give a file in SQuAD's format with answers"
            )
        self.may_be_none = any(not example.answers for example in parts.training)
        return parts

    def texts(self, examples: Sequence[QuestionExample]) -> Iterator[str]:
        contexts = dict.fromkeys(example.context for example in examples)  # each once
        yield from contexts
        yield from (example.question for example in examples)

    def encode(self, examples: list[QuestionExample], part: str, tokenizer: Any, max_length: int) -> Encoded:
        self.check_room(examples, part, tokenizer, max_length)
        batch = tokenizer(
            [example.question for example in examples], [example.context for example in examples],
            truncation="only_second", max_length=max_length, stride=self.options.stride,
            return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip
        encoded = Encoded(examples)
        for n, owner in enumerate(batch["overflow_to_sample_mapping"]):
            sequence, offsets = batch.sequence_ids(n), np.array(batch["offset_mapping"][n]).reshape(-1, 2)
            row = {name: batch[name][n] for name in FEATURES if name in batch}
            answers = examples[owner].answers
            place = answer_positions(offsets, sequence, answers[0].start, answers[0].text) if answers else (0, 0)
            row["start_positions"], row["end_positions"] = place
            offsets[[s != 1 for s in sequence]] = -1
            encoded.rows.append(row)
            encoded.places.append(Window(int(owner), offsets))
        encoded.longest = max(map(len, (row["input_ids"] for row in encoded.rows)), default=0)
        return encoded

    def check_room(self, examples: list[QuestionExample], part: str, tokenizer: Any, max_length: int) -> None:
        """Raise InputError for a question that leaves no room for the text."""
        questions = list(dict.fromkeys(example.question for example in examples))
        lengths = [len(ids) for ids in tokenizer(questions, add_special_tokens=False)["input_ids"]]
        room = max_length - tokenizer.num_special_tokens_to_add(True) - self.options.stride - 1
        if max(lengths) > room:
            longest = int(np.argmax(lengths))
            raise InputError(
                f"a question of the {part} part has {lengths[longest]} tokens, and max_length {max_length} with stride "
                f"{self.options.stride} leaves {room}: {shown(questions[longest])!r}; raise --max_length, lower --stride, "
                "or shorten the question"
            )

    def collator(self, tokenizer: Any, model: Any) -> DataCollatorWithPadding:
        return DataCollatorWithPadding(tokenizer)

    def metrics(self, part: Encoded, tokenizer: Any) -> Callable[[EvalPrediction], dict[str, float]]:
        def compute(evaluation: EvalPrediction) -> dict[str, float]:
            exact, f1 = self.statistics(part, self.answers(part, evaluation.predictions)).mean(0)
            return {"exact_match": float(exact), "f1": float(f1)}

        return compute

    def answers(self, part: Encoded, predictions: Any) -> list[list[Candidate]]:
        """The n_best answers of each question, the best first; an empty text says that the text does not tell."""
        starts, ends = (np.asarray(scores, np.float64) for scores in predictions)
        o = self.options
        contexts = [example.context for example in part.examples]
        return best_answers(
            contexts, part.places, starts, ends, o.n_best, o.max_answer_length, self.may_be_none, o.null_threshold
        )

    def statistics(self, part: Encoded, answers: list[list[Candidate]]) -> np.ndarray:
        """(N, 2): each question's exact match and F1."""
        references = [list(example.answer_texts) for example in part.examples]
        texts = (text for given in references for text in given)
        language = language_of(texts, self.options.language)
        return answer_statistics([best[0].text for best in answers], references, language)

    def judge(self, part: Encoded, predictions: Any, tokenizer: Any) -> Judgement:
        answers = self.answers(part, predictions)
        statistics = self.statistics(part, answers)
        metrics: dict[str, Callable[[np.ndarray], float]] = {
            "exact match": lambda rows: float(statistics[rows, 0].mean()),
            "F1": lambda rows: float(statistics[rows, 1].mean()),
        }
        told = [
            {
                "id": example.id,
                "text": example.question,
                "context": example.context,
                "expected": list(example.answer_texts) or "(no answer)",
                "predicted": best[0].text or "(no answer)",
                "probability": best[0].probability,
                "n_best": [candidate._asdict() for candidate in best],
                "exact match": exact,
                "F1": f1,
                "right": bool(exact),
            }
            for example, best, (exact, f1) in zip(part.examples, answers, statistics.tolist())
        ]
        return Judgement(intervals(metrics, len(told), self.options.resamples), told)
