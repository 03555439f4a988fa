"""What transformers' generate() can be told, under its names and with its defaults."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from minilm.errors import InputError

DEFAULT_NEW_TOKENS = 20


@dataclass
class GenerationOptions:
    """How to continue texts. Without anything said: greedy, 20 new tokens.

    Args:
        max_new_tokens: how many tokens to write at most.
        max_length: the same, with the prompt counted (of an encoder-decoder: with the start token); max_new_tokens goes first.
        min_new_tokens: how many tokens to write at least, before eos_token_id may come.
        min_length: the same, with the prompt counted.
        do_sample: draw tokens instead of always taking the most probable.
        temperature: below 1 plays safe, above 1 is adventurous; for do_sample.
        top_k: draw among this many most probable tokens; 0 or None means no limit.
        top_p: draw among the most probable tokens that together reach this probability; 1 means no limit.
        min_p: draw among tokens at least this fraction as probable as the most probable one; None means no limit.
        num_beams: how many texts beam search follows at once; 1 means no beam search.
        length_penalty: a finished beam's score is Σ log P / length^this; above 0 prefers longer texts.
        early_stopping: True ends beam search when num_beams texts are finished; False when the running ones are unlikely to
            become better; "never" when they cannot.
        repetition_penalty: above 1 makes tokens that have occurred less probable; 1 changes nothing.
        no_repeat_ngram_size: no n tokens in a row occur twice; 0 means no such rule.
        num_return_sequences: how many texts to return for each prompt; at most num_beams in a beam search.
        eos_token_id: the token, or tokens, after which a text ends; the model's own unless given.
        pad_token_id: what fills rows that ended early; the model's own, or the first eos_token_id, unless given.
        bos_token_id: what a text begins with if there is no prompt, and a decoder if there is no decoder_start_token_id.
        decoder_start_token_id: what an encoder-decoder's text begins with; the model's own unless given.
        stop_strings: texts after which a text ends; they need the tokenizer.
        use_cache: keep keys and values instead of computing them again; the text is the same, only later without.
        return_dict_in_generate: return a GenerateOutput with the scores of beams, not only the tokens.
    """

    max_new_tokens: int | None = None
    max_length: int | None = None
    min_new_tokens: int | None = None
    min_length: int = 0
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int | None = 50
    top_p: float = 1.0
    min_p: float | None = None
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    num_return_sequences: int = 1
    eos_token_id: int | Sequence[int] | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    decoder_start_token_id: int | None = None
    stop_strings: str | Sequence[str] | None = None
    use_cache: bool = True
    return_dict_in_generate: bool = False

    @classmethod
    def for_model(cls, model: Any, **given: Any) -> GenerationOptions:
        """What was given; for the rest what model.generation_config says, then model.config (special tokens), then defaults.

        Raises InputError for a name that does not exist, with the nearest that does, and for values that cannot work.
        """
        names = [f.name for f in fields(cls)]
        for name in given:
            if name not in names:
                near = get_close_matches(name, names, 1)
                hint = f"did you mean {near[0]}?" if near else f"the options are {', '.join(names)}"
                raise InputError(f"generate() has no option {name!r}; {hint}")
        values: dict[str, Any] = {}
        config = getattr(model, "config", None)
        for name in ("eos_token_id", "pad_token_id", "bos_token_id", "decoder_start_token_id"):
            values[name] = getattr(config, name, None)
        own = getattr(model, "generation_config", None) or {}
        own = own if isinstance(own, dict) else vars(own)
        values |= {name: value for name, value in own.items() if name in names and value is not None}
        if "max_length" in given and "max_new_tokens" not in given:
            values.pop("max_new_tokens", None)  # what the caller says goes before what the folder says
        options = cls(**{**values, **given})
        options.check()
        return options

    def check(self) -> None:
        """Raise InputError with the first value that cannot work."""
        for name in ("max_new_tokens", "max_length", "num_beams", "num_return_sequences"):
            self._number(name, 1, "it must be at least 1")
        for name in ("min_new_tokens", "min_length", "no_repeat_ngram_size", "top_k"):
            self._number(name, 0, "it must be at least 0")
        if self.min_new_tokens and self.max_new_tokens and self.min_new_tokens > self.max_new_tokens:
            raise InputError(
                f"min_new_tokens is {self.min_new_tokens} and max_new_tokens {self.max_new_tokens}; give at most as many"
            )
        if self.do_sample and not 0 < self.temperature < math.inf:
            raise InputError(
                f"temperature is {self.temperature}; it must be above 0 (for the most probable token take do_sample=False)"
            )
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}; it must be above 0 and at most 1 (1: no limit)")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise InputError(f"min_p is {self.min_p}; it must be at least 0 and at most 1 (0.05 is usual)")
        if not 0 < self.repetition_penalty < math.inf:
            raise InputError(
                f"repetition_penalty is {self.repetition_penalty}; it must be above 0 (1: none, 1.2 is usual)"
            )
        if not math.isfinite(self.length_penalty):
            raise InputError(
                f"length_penalty is {self.length_penalty}; it must be a number (1: the mean log-probability)"
            )
        if self.early_stopping not in (True, False, "never"):
            raise InputError(f"early_stopping is {self.early_stopping!r}; it must be True, False or 'never'")
        if self.num_beams > 1 and self.num_return_sequences > self.num_beams:
            raise InputError(
                f"num_return_sequences is {self.num_return_sequences}, but only {self.num_beams} beams are followed; "
                f"use num_beams={self.num_return_sequences}"
            )
        if self.num_beams == 1 and self.num_return_sequences > 1 and not self.do_sample:
            raise InputError(
                "greedy decoding has one result, so num_return_sequences must be 1; use do_sample=True or num_beams"
            )
        if self.stop_strings is not None and not all(isinstance(s, str) and s for s in self.stops):
            raise InputError(f"stop_strings is {self.stop_strings!r}; give a text, or several, none of them empty")

    def _number(self, name: str, least: int, message: str) -> None:
        value = getattr(self, name)
        if value is None:
            return
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
            raise InputError(f"{name} is {value!r}; {message}")

    @property
    def eos(self) -> list[int]:
        """The tokens that end a text."""
        given = self.eos_token_id
        if given is None:
            return []
        return [int(given)] if hasattr(given, "__index__") else [int(token) for token in given]

    @property
    def padding(self) -> int | None:
        """What fills rows that ended early."""
        if self.pad_token_id is not None:
            return self.pad_token_id
        return self.eos[0] if self.eos else None

    @property
    def stops(self) -> list[str]:
        if self.stop_strings is None:
            return []
        return [self.stop_strings] if isinstance(self.stop_strings, str) else list(self.stop_strings)

    def length_limit(self, prompt_length: int) -> int:
        """How long a text may become, prompt included. Raises InputError if the prompt is as long already."""
        if self.max_new_tokens is not None:
            return prompt_length + self.max_new_tokens
        if self.max_length is None:
            return prompt_length + DEFAULT_NEW_TOKENS
        if self.max_length <= prompt_length:
            raise InputError(
                f"max_length is {self.max_length} and the prompt has {prompt_length} token(s) already; "
                "give a larger max_length, or max_new_tokens, which does not count the prompt"
            )
        return self.max_length

    def least_length(self, prompt_length: int) -> int:
        """How long a text must become before a token of eos may come."""
        if self.min_new_tokens is not None:
            return prompt_length + self.min_new_tokens
        return self.min_length
