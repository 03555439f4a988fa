"""text-classification: a text, or a pair, and its classes with their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from minilm.devices import to_host
from minilm.errors import InputError
from minilm.pipelines.base import Array, Pipeline, Window, one_of, positive, softmax
from minilm.tensor import as_array

FUNCTIONS = ("softmax", "sigmoid", "none", "default")
TOKENIZER_OPTIONS = ("truncation", "max_length", "padding", "add_special_tokens")


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^(−x)), without overflow for large |x|."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


class TextClassificationPipeline(Pipeline):
    """A text → [{"label": "POSITIVE", "score": 0.98}]; a list of n texts → n dictionaries.

    A pair is {"text": ..., "text_pair": ...}.
    top_k: so many classes, the most probable first, as a list for each text; None for all of them.
    function_to_apply: how scores are made of the model's numbers: "softmax", "sigmoid" or "none"; by default none for a
    regression, sigmoid for several labels at once or a single class, and else softmax.
    truncation, max_length, padding, add_special_tokens: for the tokenizer.

    One text comes back as a list of one dictionary, or with top_k as the list of its classes, as in transformers.
    """

    parameters: ClassVar[Mapping[str, Any]] = {
        "top_k": 1,
        "function_to_apply": None,
        **dict.fromkeys(TOKENIZER_OPTIONS),
    }

    def __call__(self, inputs: Any, **given: Any) -> Any:
        result = super().__call__(inputs, **given)
        return [result] if isinstance(inputs, str) and "top_k" not in given else result

    def settle(self, given: Mapping[str, Any]) -> dict[str, Any]:
        p = super().settle(given)
        if p["top_k"] is not None:
            positive("top_k", p["top_k"])
        if p["function_to_apply"] is not None:
            p["function_to_apply"] = one_of("function_to_apply", p["function_to_apply"], FUNCTIONS)
        return {**p, "as_list": "top_k" in self.given or "top_k" in given}

    def preprocess(self, item: Any, p: dict[str, Any]) -> list[Window]:
        options = {name: p[name] for name in TOKENIZER_OPTIONS if p[name] is not None}
        if isinstance(item, Mapping):
            if not set(item) <= {"text", "text_pair"} or "text" not in item:
                raise InputError(f'{item!r:.60} is no pair; give {{"text": "...", "text_pair": "..."}}')
            return [self.window(self.encode(item["text"], item.get("text_pair"), **options)[0], item["text"])]
        if not isinstance(item, str):
            raise InputError(
                f'{item!r:.60} is no text; give a str, or {{"text": "...", "text_pair": "..."}} for a pair'
            )
        return [self.window(self.encode(item, **options)[0], item)]

    def forward(self, windows: Sequence[Window], p: dict[str, Any]) -> list[Any]:
        return list(to_host(as_array(self.run(windows).logits)))  # (C,) each

    def postprocess(self, done: list[tuple[Window, Any]], p: dict[str, Any]) -> Any:
        scores = self.scores(done[0][1], p["function_to_apply"])
        labels = self.model.config.id2label
        if not p["as_list"]:
            return {"label": labels[int(scores.argmax())], "score": float(scores.max())}
        found = [{"label": labels[i], "score": float(score)} for i, score in enumerate(scores)]
        return sorted(found, key=lambda each: -each["score"])[: p["top_k"]]

    def scores(self, logits: Array, function: str | None) -> Array:
        config = self.model.config
        if function in (None, "default"):
            several = config.problem_type == "multi_label_classification" or len(logits) == 1
            function = "none" if config.problem_type == "regression" else "sigmoid" if several else "softmax"
        if function == "none":
            return logits
        return sigmoid(logits) if function == "sigmoid" else softmax(logits)
