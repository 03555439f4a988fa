"""Hugging Face folders: configuration, weights and tokenizers as minilm's own models, and back.

minilm/folders.py finds the files. Then read in this order: weights and saving (safetensors), mapping (whose tensor is whose),
config, pretrained (all of it together), auto (which family), and a family's own file: gpt, bert, t5, marian.
"""

from __future__ import annotations

import importlib
from typing import Any

# what `from minilm.hub import ...` finds, and where; a family is imported when it is asked for
EXPORTS = {
    "auto": (
        "AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoModelForNextSentencePrediction",
        "AutoModelForPreTraining", "AutoModelForQuestionAnswering", "AutoModelForSeq2SeqLM",
        "AutoModelForSequenceClassification", "AutoModelForTokenClassification", "AutoTokenizer",
    ),
    "bert": (
        "BertConfig", "BertForMaskedLM", "BertForNextSentencePrediction", "BertForPreTraining",
        "BertForQuestionAnswering", "BertForSequenceClassification", "BertForTokenClassification", "BertModel",
    ),
    "gpt": (
        "GPT2Config", "GPT2ForSequenceClassification", "GPT2LMHeadModel", "GPT2Model",
        "LlamaConfig", "LlamaForCausalLM", "LlamaForSequenceClassification", "LlamaModel",
    ),
    "marian": (
        "MarianConfig", "MarianModel", "MarianMTModel",
        "PegasusConfig", "PegasusForConditionalGeneration", "PegasusModel",
    ),
    "t5": ("T5Config", "T5ForConditionalGeneration", "T5Model"),
}  # fmt: skip
TOKENIZERS = (
    "BertTokenizer",
    "GPT2Tokenizer",
    "PretrainedTokenizer",
    "T5Tokenizer",
    "WordTokenizer",
)  # of the room below
MODULES = {name: f"minilm.hub.{module}" for module, names in EXPORTS.items() for name in names}
MODULES.update(dict.fromkeys(TOKENIZERS, "minilm.text"))


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *MODULES])
