"""What transformers' generate() can be told, under its names and with its defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
        typical_p: draw among the tokens whose surprise is closest to the expected one, which together reach this probability.
        epsilon_cutoff: draw among tokens that are at least so probable; 0 means no limit.
        num_beams: how many texts beam search follows at once; 1 means no beam search.
        length_penalty: a finished beam's score is Σ log P / length^this; above 0 prefers longer texts.
        early_stopping: True ends beam search when num_beams texts are finished; False when the running ones are unlikely to
            become better; "never" when they cannot.
        repetition_penalty: above 1 makes tokens that have occurred less probable; 1 changes nothing.
        no_repeat_ngram_size: no n tokens in a row occur twice; 0 means no such rule.
        encoder_no_repeat_ngram_size: no n tokens in a row that stand in the source (or in the prompt); 0 means no such rule.
        bad_words_ids: lists of tokens that may not come in a row; a token that ends a text is never forbidden so.
        suppress_tokens: tokens that may not come. begin_suppress_tokens: tokens that may not come first.
        forced_bos_token_id: the token that comes right behind a single start token, such as that of a language.
        forced_eos_token_id: the token, or one of those, that comes last if the text reaches its greatest length.
        exponential_decay_length_penalty: (n, f): from n new tokens on, the end becomes more probable by f at each step.
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
    typical_p: float = 1.0
    epsilon_cutoff: float = 0.0
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    encoder_no_repeat_ngram_size: int = 0
    bad_words_ids: Sequence[Sequence[int]] | None = None
    suppress_tokens: Sequence[int] | None = None
    begin_suppress_tokens: Sequence[int] | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | Sequence[int] | None = None
    exponential_decay_length_penalty: tuple[int, float] | None = None
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
        least, most = values.get("min_new_tokens"), given.get("max_new_tokens")
        if "min_new_tokens" not in given and isinstance(least, int) and isinstance(most, int):
            values["min_new_tokens"] = min(least, most)
        options = cls(**{**values, **given})
        options.check()
        options.check_tokens(getattr(config, "vocab_size", None))
        return options

    def check(self) -> None:
        """Raise InputError with the first value that cannot work."""
        for name in ("max_new_tokens", "max_length", "num_beams", "num_return_sequences"):
            self._number(name, 1, "it must be at least 1")
        for name in ("min_new_tokens", "min_length", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "top_k"):
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
        if not 0 < self.typical_p <= 1:
            raise InputError(f"typical_p is {self.typical_p}; it must be above 0 and at most 1 (1: no limit)")
        if not 0 <= self.epsilon_cutoff < 1:
            raise InputError(
                f"epsilon_cutoff is {self.epsilon_cutoff}; it must be at least 0 and below 1 (0: no limit)"
            )
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

    def check_tokens(self, vocab_size: int | None) -> None:
        """Raise InputError for rules about tokens that are none, or that a model of this vocabulary does not have."""
        for name in ("suppress_tokens", "begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id"):
            value = getattr(self, name)
            if value is not None:
                _check_list(name, [value] if hasattr(value, "__index__") else value, vocab_size)
        for name in ("forced_bos_token_id", "forced_eos_token_id"):
            value = getattr(self, name)
            forced = set() if value is None else {value} if hasattr(value, "__index__") else set(value)
            if forced and forced <= set(self.suppress_tokens or ()):
                raise InputError(
                    f"{name} {value} is in suppress_tokens too, so nothing could come there; take it out of one"
                )
        if self.bad_words_ids is not None:
            if not isinstance(self.bad_words_ids, list | tuple) or not self.bad_words_ids:
                raise InputError(
                    f"bad_words_ids is {self.bad_words_ids!r}; give lists of tokens, such as [[5, 3], [8]]"
                )
            for word in self.bad_words_ids:
                _check_list("bad_words_ids", word, vocab_size)
                if len(word) == 0:
                    raise InputError("bad_words_ids has an empty list, which forbids nothing; take it out")
        decay = self.exponential_decay_length_penalty
        if decay is not None:
            if not isinstance(decay, list | tuple) or len(decay) != 2 or not hasattr(decay[0], "__index__"):
                raise InputError(
                    f"exponential_decay_length_penalty is {decay!r}; give how many tokens are free, and a factor: (20, 1.1)"
                )
            if not self.eos:
                raise InputError(
                    "exponential_decay_length_penalty needs eos_token_id, the token that ends a text; give it"
                )

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
    def forced_ends(self) -> list[int]:
        given = self.forced_eos_token_id
        if given is None:
            return []
        return [int(given)] if hasattr(given, "__index__") else [int(token) for token in given]

    @property
    def bad_words(self) -> list[list[int]]:
        """bad_words_ids but for those that are a token which ends a text."""
        words = [[int(token) for token in word] for word in self.bad_words_ids or ()]
        return [word for word in words if len(word) > 1 or word[0] not in self.eos]

    @property
    def padding(self) -> int | None:
        """What fills rows that ended early."""
        if self.pad_token_id is not None:
            return self.pad_token_id
        return self.eos[0] if self.eos else None

    @property
    def stops(self) -> list[str]:
        """stop_strings as a list."""
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


def options_of(config: Any) -> dict[str, Any]:
    """The options in a generation_config: a dictionary, GenerationOptions, or a GenerationConfig, of transformers too.

    Of the last only what generate() here knows. Raises InputError for anything else.
    """
    names = [f.name for f in fields(GenerationOptions)]
    if isinstance(config, Mapping):
        return dict(config)
    if isinstance(config, GenerationOptions):
        plain = GenerationOptions()
        return {name: getattr(config, name) for name in names if getattr(config, name) != getattr(plain, name)}
    if hasattr(config, "by_name"):
        return dict(config.by_name())
    if hasattr(config, "to_diff_dict"):
        return {name: value for name, value in config.to_diff_dict().items() if name in names and value is not None}
    raise InputError(
        f"generation_config is a {type(config).__name__}; give a dictionary of options, or a GenerationConfig"
    )


def _check_list(name: str, tokens: Any, vocab_size: int | None) -> None:
    """Raise InputError unless `tokens` are whole numbers that the vocabulary has."""
    if not hasattr(tokens, "__len__") or not all(hasattr(t, "__index__") and not isinstance(t, bool) for t in tokens):
        raise InputError(f"{name} is {tokens!r}; give tokens, whole numbers from 0")
    for token in tokens:
        if token < 0 or (vocab_size is not None and token >= vocab_size):
            limit = "" if vocab_size is None else f"; the model has tokens 0 to {vocab_size - 1}"
            raise InputError(f"{name} holds token {token}, which does not exist{limit}")
