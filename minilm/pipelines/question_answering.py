"""question-answering: the piece of a text that answers a question.

spans.py finds the pieces of a window; this file makes the windows and puts what they give together.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from minilm.errors import InputError
from minilm.pipelines.base import Array, Pipeline, Window, positive
from minilm.pipelines.spans import best_spans, place_in_text, span_probabilities

MAX_WINDOW, MAX_OVERLAP = 384, 128


class QuestionAnsweringPipeline(Pipeline):
    """question="...", context="..." → {"score": 0.92, "start": 34, "end": 40, "answer": "Berlin"}.

    Lists of questions (with one context, or as many) give a list of answers, and so does a list of dictionaries
    {"question": ..., "context": ...}.
    top_k: so many answers, the most probable first, in a list; one alone comes without a list.
    max_answer_len: how many tokens an answer has at most. align_to_words: an answer is made of whole words, and those that
    become the same text are added up. handle_impossible_answer: "" may be the answer.
    A long context is read in windows of max_seq_len tokens with the question (384, or what the model can read), of which
    neighbours share doc_stride tokens (128, or half a window). max_question_len: shorten longer questions.

    score: P(start) · P(end) within the window. start, end: context[start:end] is the answer. Text that no span could be
    (the end before the start, a part of the question) is never an answer, so there may be fewer than top_k.
    Raises InputError for an empty question or context, and a question that leaves no room for the context.
    """

    parameters: ClassVar[Mapping[str, Any]] = {
        "top_k": 1,
        "topk": None,
        "doc_stride": None,
        "max_answer_len": 15,
        "max_seq_len": None,
        "max_question_len": None,
        "handle_impossible_answer": False,
        "align_to_words": True,
    }

    def __call__(self, *inputs: Any, question: Any = None, context: Any = None, **given: Any) -> Any:
        if inputs and (question is not None or context is not None):
            raise InputError("give question= and context=, or dictionaries with the two, not both")
        if len(inputs) == 2 and all(isinstance(item, str) for item in inputs):
            question, context = inputs
        if question is None and context is None:
            examples = inputs[0] if len(inputs) == 1 else list(inputs)
        else:
            examples = paired(question, context)
        if isinstance(examples, list | tuple) and len(examples) == 1:
            examples = examples[0]
        return super().__call__(examples, **given)

    def settle(self, given: Mapping[str, Any]) -> dict[str, Any]:
        p = super().settle(given)
        if p["topk"] is not None:
            warnings.warn("topk is now called top_k", DeprecationWarning, stacklevel=3)
            p["top_k"] = p["topk"] if "top_k" not in given else p["top_k"]
        for name in ("top_k", "max_answer_len", "max_seq_len", "max_question_len"):
            if p[name] is not None:
                positive(name, p[name])
        p["max_seq_len"] = p["max_seq_len"] or min(MAX_WINDOW, self.longest_text or MAX_WINDOW)
        if p["doc_stride"] is None:
            p["doc_stride"] = min(p["max_seq_len"] // 2, MAX_OVERLAP)
        if not hasattr(p["doc_stride"], "__index__") or not 0 <= p["doc_stride"] < p["max_seq_len"]:
            raise InputError(
                f"doc_stride is {p['doc_stride']}, the overlap of windows of max_seq_len = {p['max_seq_len']} tokens; "
                "give a smaller one"
            )
        return p

    def preprocess(self, item: Any, p: dict[str, Any]) -> list[Window]:
        question, context = checked(item)
        if p["max_question_len"] is not None:
            question = self.shortened(question, p["max_question_len"])
        encodings = self.encode(
            *((question, context) if self.question_first else (context, question)),
            truncation="only_second" if self.question_first else "only_first",
            max_length=p["max_seq_len"],
            stride=self.overlap(question, p),
            return_overflowing_tokens=True,
        )
        return [self.window(encoding, context) for encoding in encodings]

    @property
    def question_first(self) -> bool:
        """The context stands at the side that is padded."""
        return self.tokenizer.padding_side == "right"

    def overlap(self, question: str, p: dict[str, Any]) -> int:
        """doc_stride, or less where a long question leaves small windows for the context."""
        taken = len(self.encode(question, add_special_tokens=False)[0])
        room = p["max_seq_len"] - taken - self.tokenizer.num_special_tokens_to_add(pair=True)
        if room < 1:
            raise InputError(
                f"the question {question!r:.40} has {taken} tokens, which leaves no room for the context in windows of "
                f"{p['max_seq_len']}; shorten it, or give max_question_len"
            )
        return min(p["doc_stride"], room - 1)

    def shortened(self, question: str, length: int) -> str:
        """The first `length` tokens of a question, as text."""
        offsets = self.encode(question, add_special_tokens=False)[0].offsets
        return question if len(offsets) <= length else question[: int(offsets[length - 1, 1])]

    def forward(self, windows: Sequence[Window], p: dict[str, Any]) -> list[Any]:
        output = self.run(windows)
        starts = self.without_padding(windows, output.start_logits)
        ends = self.without_padding(windows, output.end_logits)
        return list(zip(starts, ends))

    def postprocess(self, done: list[tuple[Window, Any]], p: dict[str, Any]) -> Any:
        # some candidates become one when they are aligned to words, so there must be more of them
        wanted = 2 * p["top_k"] + 10 if p["align_to_words"] else p["top_k"]
        answers: dict[str, dict[str, Any]] = {}
        impossible = float("inf")
        for window, (start_logits, end_logits) in done:
            allowed = self.allowed(window)
            start, end, null = span_probabilities(start_logits, end_logits, allowed, self.cls_places(window))
            impossible = min(impossible, null)
            for i, j, score in best_spans(start, end, wanted, p["max_answer_len"], allowed):
                begin, stop = place_in_text(window.encoding, i, j, p["align_to_words"])
                text = window.source[begin:stop]
                if text.lower() in answers:
                    answers[text.lower()]["score"] += score
                else:
                    answers[text.lower()] = {"score": score, "start": begin, "end": stop, "answer": text}
        found = list(answers.values())
        if p["handle_impossible_answer"]:
            found.append({"score": impossible, "start": 0, "end": 0, "answer": ""})
        found = sorted(found, key=lambda answer: -answer["score"])[: p["top_k"]]
        return found[0] if len(found) == 1 else found

    def allowed(self, window: Window) -> Array:
        """(T,) bool: the tokens of the context."""
        return window.encoding.sequences == (1 if self.question_first else 0)

    def cls_places(self, window: Window) -> Array:
        """(T,) bool: [CLS], where a model says that there is no answer."""
        return window.encoding.ids == (-1 if self.tokenizer.cls_token is None else self.tokenizer.cls_token_id)


def paired(question: Any, context: Any) -> list[dict[str, Any]]:
    """Questions and contexts as dictionaries. Raises InputError for lists of different lengths."""
    if isinstance(question, str) and isinstance(context, str):
        return [{"question": question, "context": context}]
    if isinstance(question, list | tuple) and isinstance(context, str):
        context = [context] * len(question)
    if not isinstance(question, list | tuple) or not isinstance(context, list | tuple):
        raise InputError("give question= as a text or a list of them, and context= likewise")
    if len(question) != len(context):
        raise InputError(
            f"there are {len(question)} questions and {len(context)} contexts; give one context for each, or one for all"
        )
    return [{"question": q, "context": c} for q, c in zip(question, context)]


def checked(item: Any) -> tuple[str, str]:
    """Question and context. Raises InputError if one is missing, empty or no text."""
    if not isinstance(item, Mapping) or not {"question", "context"} <= set(item):
        raise InputError(f'{item!r:.60} is no question; give {{"question": "...", "context": "..."}}')
    for name in ("question", "context"):
        if not isinstance(item[name], str) or not item[name].strip():
            raise InputError(f"the {name} is {item[name]!r:.40}; give a text that is not empty")
    return item["question"], item["context"]
