"""Tasks in one call: text in, plain lists and dictionaries out, as transformers' pipelines give them.

from minilm import pipeline
pipeline("fill-mask", model="folder")("the cat sat on the [MASK]")

opening.py finds model and tokenizer; base.py has what all tasks share; each task has a file of its own.
"""

from __future__ import annotations

import importlib
from typing import Any

# what `from minilm.pipelines import ...` finds, and where; a task is imported when it is asked for
EXPORTS = {
    "opening": ("pipeline",),
    "base": ("Pipeline",),
    "feature_extraction": ("FeatureExtractionPipeline",),
    "fill_mask": ("FillMaskPipeline",),
    "question_answering": ("QuestionAnsweringPipeline",),
    "text_classification": ("TextClassificationPipeline",),
    "text_generation": ("TextGenerationPipeline",),
    "text_to_text": ("SummarizationPipeline", "Text2TextGenerationPipeline", "TranslationPipeline"),
    "token_classification": ("TokenClassificationPipeline",),
}
MODULES = {name: f"minilm.pipelines.{module}" for module, names in EXPORTS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *MODULES])
