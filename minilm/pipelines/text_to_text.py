"""summarization, translation and text2text-generation: an encoder-decoder writes a text from a text.

transformers 5 has left these three out; this is what those of transformers 4 gave and give.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from minilm.pipelines.base import Window
from minilm.pipelines.writing import OPTIONS, WritingPipeline


class Text2TextGenerationPipeline(WritingPipeline):
    """A text → [{"generated_text": "..."}], one dictionary for each of num_return_sequences; n texts → n dictionaries.

    return_tensors: True gives {"generated_token_ids": (T,)} instead of text. truncation: shorten the text to the
    tokenizer's model_max_length. clean_up_tokenization_spaces: for decoding. prefix: what is put before every text; else what
    config.json says in task_specific_params for this task, as T5's "summarize: ".
    All other options are those of generate(). Unless they, the task_specific_params or generation_config.json say
    otherwise: at most 256 tokens, beam search with 4 beams.
    """

    parameters: ClassVar[Mapping[str, Any]] = {
        "return_tensors": None,
        "return_text": None,
        "clean_up_tokenization_spaces": False,
        "truncation": None,
        "stop_sequence": None,
        "stop": None,
        "prefix": None,
    }
    own_defaults: ClassVar[Mapping[str, Any]] = {"max_new_tokens": 256, "num_beams": 4}
    return_name: ClassVar[str] = "generated"

    def __call__(self, inputs: Any, **given: Any) -> Any:
        result = super().__call__(inputs, **given)
        single = isinstance(inputs, list | tuple) and all(len(texts) == 1 for texts in result)
        return [texts[0] for texts in result] if single else result

    def settle(self, given: Mapping[str, Any]) -> dict[str, Any]:
        p = super().settle(given)
        if p["prefix"] is None:
            said = self.task_specific_params(p).get("prefix") or getattr(self.model.config, "extra", {}).get("prefix")
            p["prefix"] = said if isinstance(said, str) else ""
        return p

    def task_name(self, said: Mapping[str, Any], p: Mapping[str, Any]) -> str:
        """What config.json calls this task; said: its task_specific_params."""
        return self.task

    def task_specific_params(self, p: Mapping[str, Any]) -> dict[str, Any]:
        """What config.json says for this task, or nothing."""
        said = getattr(self.model.config, "extra", {}).get("task_specific_params")
        found = said.get(self.task_name(said, p)) if isinstance(said, dict) else None
        return found if isinstance(found, dict) else {}

    def task_options(self, p: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in self.task_specific_params(p).items() if name in OPTIONS}

    def preprocess(self, item: Any, p: dict[str, Any]) -> list[Window]:
        options = {} if p["truncation"] is None else {"truncation": p["truncation"]}
        text = p["prefix"] + item if isinstance(item, str) else item
        window = self.window(self.encode(text, **options)[0], item)
        return [window]

    def forward(self, windows: Sequence[Window], p: dict[str, Any]) -> list[Any]:
        return list(self.written(self.rows(windows, "right"), p, 1))

    def postprocess(self, done: list[tuple[Window, Any]], p: dict[str, Any]) -> Any:
        if p["return_tensors"]:
            return [{f"{self.return_name}_token_ids": text} for text in done[0][1]]
        cleans = p["clean_up_tokenization_spaces"]
        texts = [self.tokenizer.decode(text, True, cleans) for text in done[0][1]]
        return [{f"{self.return_name}_text": text} for text in texts]


class SummarizationPipeline(Text2TextGenerationPipeline):
    """A text → [{"summary_text": "..."}] (or "summary_token_ids"); all else as in Text2TextGenerationPipeline."""

    return_name = "summary"


class TranslationPipeline(Text2TextGenerationPipeline):
    """A text → [{"translation_text": "..."}] (or "translation_token_ids"); all else as in Text2TextGenerationPipeline.

    The languages are named in the task, "translation_en_to_fr", or by src_lang="en" and tgt_lang="fr"; they say which prefix
    of config.json's task_specific_params is put before a text, if it has any for them. Where neither is given the first
    languages of config.json are taken, with a warning.
    """

    parameters: ClassVar[Mapping[str, Any]] = {
        **Text2TextGenerationPipeline.parameters,
        "src_lang": None,
        "tgt_lang": None,
    }
    return_name = "translation"

    def task_name(self, said: Mapping[str, Any], p: Mapping[str, Any]) -> str:
        if p["src_lang"] and p["tgt_lang"]:
            return f"translation_{p['src_lang']}_to_{p['tgt_lang']}"
        known = [name for name in said if name.startswith("translation_")]
        if self.task != "translation" or not known:
            return self.task
        warnings.warn(f"translation between which languages? {known[0]} is taken; name others like that", stacklevel=5)
        return known[0]
