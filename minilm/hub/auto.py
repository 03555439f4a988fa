"""Opening a model without knowing its family: config.json says which one it is.

model = AutoModelForCausalLM.from_pretrained("folder")     # a GPT2LMHeadModel, a LlamaForCausalLM, ...
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, ClassVar

from minilm.errors import InputError
from minilm.folders import MODEL_FILES, TOKENIZER_FILES, find_folder
from minilm.hub.config import config_from_json, read_config

# model_type in config.json → task → class, as "module:Class"; a module is imported when one of its classes is asked for
REGISTRY: dict[str, dict[str, str]] = {
    "bert": {
        "base": "minilm.hub.bert:BertModel",
        "masked-lm": "minilm.hub.bert:BertForMaskedLM",
        "next-sentence": "minilm.hub.bert:BertForNextSentencePrediction",
        "pre-training": "minilm.hub.bert:BertForPreTraining",
        "sequence-classification": "minilm.hub.bert:BertForSequenceClassification",
        "token-classification": "minilm.hub.bert:BertForTokenClassification",
        "question-answering": "minilm.hub.bert:BertForQuestionAnswering",
    },
    "gpt2": {
        "base": "minilm.hub.gpt:GPT2Model",
        "causal-lm": "minilm.hub.gpt:GPT2LMHeadModel",
        "pre-training": "minilm.hub.gpt:GPT2LMHeadModel",
        "sequence-classification": "minilm.hub.gpt:GPT2ForSequenceClassification",
    },
    "llama": {
        "base": "minilm.hub.gpt:LlamaModel",
        "causal-lm": "minilm.hub.gpt:LlamaForCausalLM",
        "pre-training": "minilm.hub.gpt:LlamaForCausalLM",
        "sequence-classification": "minilm.hub.gpt:LlamaForSequenceClassification",
    },
    "t5": {
        "base": "minilm.hub.t5:T5Model",
        "seq2seq-lm": "minilm.hub.t5:T5ForConditionalGeneration",
        "pre-training": "minilm.hub.t5:T5ForConditionalGeneration",
    },
    "marian": {
        "base": "minilm.hub.marian:MarianModel",
        "seq2seq-lm": "minilm.hub.marian:MarianMTModel",
    },
    "pegasus": {
        "base": "minilm.hub.marian:PegasusModel",
        "seq2seq-lm": "minilm.hub.marian:PegasusForConditionalGeneration",
    },
}


def model_class(model_type: str, task: str) -> Any:
    """The class of a family for a task. Raises InputError that lists the known families, or the family's tasks."""
    if model_type not in REGISTRY:
        raise InputError(f"minilm has no model of type {model_type!r}; it knows {', '.join(REGISTRY)}")
    tasks = REGISTRY[model_type]
    if task not in tasks:
        raise InputError(f"{model_type} has no model for {task}; it has {', '.join(tasks)}")
    module, _, name = tasks[task].partition(":")
    return getattr(importlib.import_module(module), name)


class AutoModel:
    """The body of a model, without a head. The subclasses add the head of their task."""

    task: ClassVar[str] = "base"

    def __init__(self) -> None:
        raise TypeError(f"{type(self).__name__} is opened with from_pretrained(folder_or_name) or from_config(config)")

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, *, revision: str = "main", local_files_only: bool = False, **options: Any
    ) -> Any:
        """Open a model with the class that its config.json names; everything else is as in Pretrained.from_pretrained.

        Raises InputError for a model_type that minilm does not know, or that has no model for this task.
        """
        folder = find_folder(name_or_folder, MODEL_FILES, revision, local_files_only)
        return model_class(read_config(folder)["model_type"], cls.task).from_pretrained(folder, **options)

    @classmethod
    def from_config(cls, config: Any, generator: Any = None) -> Any:
        """A new model of a configuration's family, with random weights."""
        return model_class(config.model_type, cls.task)(config, generator)


class AutoModelForPreTraining(AutoModel):
    """With the head, or heads, that the family is pre-trained with."""

    task = "pre-training"


class AutoModelForCausalLM(AutoModel):
    """Predicts the next token."""

    task = "causal-lm"


class AutoModelForMaskedLM(AutoModel):
    """Predicts hidden words."""

    task = "masked-lm"


class AutoModelForNextSentencePrediction(AutoModel):
    """Tells whether sentence B follows sentence A."""

    task = "next-sentence"


class AutoModelForSequenceClassification(AutoModel):
    """Puts a text, or a pair, into a class."""

    task = "sequence-classification"


class AutoModelForTokenClassification(AutoModel):
    """Puts each token into a class."""

    task = "token-classification"


class AutoModelForQuestionAnswering(AutoModel):
    """Finds the answer to a question in a text."""

    task = "question-answering"


class AutoModelForSeq2SeqLM(AutoModel):
    """Writes a text from a text."""

    task = "seq2seq-lm"


class AutoConfig:
    """A model's configuration alone."""

    @staticmethod
    def from_pretrained(
        name_or_folder: str | Path, *, revision: str = "main", local_files_only: bool = False, **overrides: Any
    ) -> Any:
        """config.json as the dataclass of its family, changed by `overrides`."""
        values = read_config(find_folder(name_or_folder, MODEL_FILES[:1], revision, local_files_only))
        return config_from_json(model_class(values["model_type"], "base").config_class, values, overrides)


class AutoTokenizer:
    """A tokenizer, of the kind that its files describe."""

    @staticmethod
    def from_pretrained(
        name_or_folder: str | Path, *, revision: str = "main", local_files_only: bool = False, **options: Any
    ) -> Any:
        """Open the tokenizer of a model folder, or of a name in the Hugging Face cache or hub.

        options: arguments that differ from tokenizer_config.json, such as padding_side="left".
        """
        from minilm.text import PretrainedTokenizer  # the tokenizers are many files; a model needs none

        folder = find_folder(name_or_folder, TOKENIZER_FILES, revision, local_files_only)
        return PretrainedTokenizer.from_folder(folder, **options)
