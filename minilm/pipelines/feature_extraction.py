"""feature-extraction: the numbers that a model has for each token, without a head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from minilm.errors import InputError
from minilm.generation.decoders import is_encoder_decoder
from minilm.metrics import evaluation_mode
from minilm.pipelines.base import Pipeline, Window


class FeatureExtractionPipeline(Pipeline):
    """A text → the last hidden state of each of its tokens, [[[...], ...]]: 1 × T × hidden, nested lists of numbers.

    truncation: True shortens a text to what the model can read. tokenize_kwargs: further options for the tokenizer.
    return_tensors: True gives NumPy arrays (1, T, hidden) instead of lists.
    A model with a head gives its first output, as in transformers; an encoder-decoder what its encoder makes of the text.
    Padding is left out of the rows, also in batches.
    """

    parameters: ClassVar[Mapping[str, Any]] = {"truncation": None, "tokenize_kwargs": None, "return_tensors": False}

    def preprocess(self, item: Any, p: dict[str, Any]) -> list[Window]:
        options = dict(p["tokenize_kwargs"] or {})
        if p["truncation"] is not None:
            if "truncation" in options:
                raise InputError("truncation is given twice, also in tokenize_kwargs; give it once")
            options["truncation"] = p["truncation"]
        return [self.window(encoding, item) for encoding in self.encode(item, **options)[:1]]

    def forward(self, windows: Sequence[Window], p: dict[str, Any]) -> list[Any]:
        if not is_encoder_decoder(self.model):
            return super().forward(windows, p)
        batch = self.padded(windows, self.tokenizer.padding_side)
        with evaluation_mode(self.model):
            return self.without_padding(windows, self.model.encode(**batch)[0])

    def postprocess(self, done: list[tuple[Window, Any]], p: dict[str, Any]) -> Any:
        features = done[0][1][None]  # (1, T, hidden)
        return features.copy() if p["return_tensors"] else features.tolist()
