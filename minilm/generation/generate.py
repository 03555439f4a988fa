"""Decoding: a model continues a text, one token after the other.

A step asks the model for the logits of the next token, chooses one (processors.py) and appends it. With the cache a
step computes one position instead of all: the keys and values of the others are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minilm.devices import to_host
from minilm.errors import InputError
from minilm.functional.normalization import softmax_array
from minilm.generation.decoders import is_called_by_name
from minilm.generation.decoding import Run, generate_by_name
from minilm.generation.options import GenerationOptions
from minilm.generation.processors import (
    apply_temperature,
    greedy,
    keep_top_k,
    keep_top_p,
    penalize_repetition,
    sample,
)
from minilm.metrics import evaluation_mode
from minilm.tensor import as_array


@dataclass
class GenerationConfig:
    """How to continue a text.

    Args:
        max_new_tokens: how many tokens to write at most.
        temperature: below 1 plays safe, above 1 is adventurous; 0 always takes the most probable token.
        top_k: choose among this many most probable tokens; 0 means no limit.
        top_p: choose among the most probable tokens that together reach this probability; 1 means no limit.
        repetition_penalty: above 1 makes tokens that have occurred less probable; 1 changes nothing.
        stop_ids: tokens after which the text ends; the token itself is still written.
        use_cache: keep keys and values instead of computing them again; the text is the same, only later without.
    """

    max_new_tokens: int = 100
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    stop_ids: list[int] = field(default_factory=list)
    use_cache: bool = True

    def by_name(self) -> dict[str, Any]:
        """The same as options of generate() by name, for models that are called so."""
        self.check()
        options: dict[str, Any] = {"max_new_tokens": self.max_new_tokens, "repetition_penalty": self.repetition_penalty}
        if self.stop_ids:
            options["eos_token_id"] = self.stop_ids
        if self.temperature:
            options |= {"do_sample": True, "temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
        return {**options, "use_cache": self.use_cache}

    def check(self) -> None:
        """Raise InputError with the first value that cannot work."""
        if self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {self.max_new_tokens}; it must be at least 1")
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"temperature is {self.temperature}; it must be at least 0 (0: the most probable token)")
        if self.top_k < 0:
            raise InputError(f"top_k is {self.top_k}; it must be at least 1, or 0 for no limit")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}; it must be above 0 and at most 1 (1: no limit)")
        if not 0 < self.repetition_penalty < math.inf:
            raise InputError(
                f"repetition_penalty is {self.repetition_penalty}; it must be above 0 (1: none, 1.2 is usual)"
            )


def generate_tokens(
    model: Any,
    prompt_ids: Any,
    config: GenerationConfig | None = None,
    generator: np.random.Generator | None = None,
    **options: Any,
) -> Iterator[int]:
    """Continue one prompt and give each token as soon as it is there.    [F15; 000 §2.1]

    model: a GPT, or what is called like one: model(ids, cache=..., last_only=True) → (logits, ...), new_cache(), config
    with context_length and vocab_size. With options by name, any model that generate() takes.
    prompt_ids: at least one token; of a prompt longer than the context the model sees the last part.
    generator: where the draws come from, one number per token; the same state gives the same text. Without one it is a
    fresh one. Ends after max_new_tokens, or with the first of stop_ids.
    options: transformers' names, as in generate(), instead of a config.

    Between tokens the model is in the mode it was in, so a caller may stop listening whenever it likes.
    Raises InputError, at the call, for options out of range, an empty prompt, or ids that the model does not have.
    """
    if options or is_called_by_name(model):
        tokenizer = options.pop("tokenizer", None)
        options = {**(config.by_name() if config else {}), **options}
        chosen = GenerationOptions.for_model(model, **options)
        run = Run(model, prompt_ids, chosen, generator, tokenizer=tokenizer)
        if len(run.batch.ids) != 1 or run.copies != 1:
            raise InputError(
                "tokens are streamed for one prompt and one text, without beams; use generate() for a batch"
            )
        return (int(step[0]) for step in run.steps())
    config = config or GenerationConfig()
    config.check()
    prompts = check_prompts(prompt_ids, model.config.vocab_size)
    if len(prompts) != 1:
        raise InputError(f"tokens are streamed for one prompt, not for {len(prompts)}; use generate() for a batch")
    return (int(step[0]) for step in _decode(model, prompts, config, generator or np.random.default_rng()))


def generate(
    model: Any,
    prompt_ids: Any = None,
    config: GenerationConfig | GenerationOptions | None = None,
    generator: np.random.Generator | None = None,
    *,
    attention_mask: Any = None,
    encoder_outputs: Any = None,
    tokenizer: Any = None,
    streamer: Any = None,
    **options: Any,
) -> Any:
    """Continue a prompt, or a batch of prompts, and give prompts and continuations together.

        generate(model, ids, GenerationConfig(...))                        minilm's own: samples, unless temperature is 0
        generate(model, ids, max_new_tokens=50, num_beams=4)               transformers' options: greedy, unless do_sample

    prompt_ids: (T,) or (B, T) integers, T ≥ 1. For an encoder-decoder they are the source, and what is returned is the target
    with its start token.

    With a GenerationConfig (or nothing) and a GPT: returns (T + n,) or (B, T + n) int64, n ≤ max_new_tokens. A row that has
    met one of stop_ids repeats it until all rows have ended. A text that outgrows the context is continued from its last
    part. Everything else is as in generate_tokens.

    With options by name, those of GenerationOptions (or with one as `config`):
    prompt_ids may be lists of unequal length; they are padded on the left (a source: on the right).
    attention_mask: (B, T), 0 for padding that is in prompt_ids already; for a source with padding always give it.
    encoder_outputs: what encode() gave, instead of a source. tokenizer: for stop_strings.
    streamer: what has put(tokens) and end(), such as a TextStreamer; for one text and no beams.
    Returns (B · num_return_sequences, T + n) int64, the texts of a prompt one after the other, padded behind their end with
    pad_token_id; (T + n,) for a prompt (T,) and one text; a GenerateOutput with return_dict_in_generate=True.
    A text must fit the model's positions: more is an InputError, before anything is computed.
    """
    extra = {
        "attention_mask": attention_mask, "encoder_outputs": encoder_outputs, "tokenizer": tokenizer, "streamer": streamer
    }  # fmt: skip
    by_name = bool(options) or any(value is not None for value in extra.values())
    if config is None and not by_name and not is_called_by_name(model):
        config = GenerationConfig()
    if isinstance(config, GenerationConfig):
        if by_name:
            raise InputError(
                "a GenerationConfig goes without options by name; give all by name: generate(model, ids, do_sample=True, ...)"
            )
        if not is_called_by_name(model):
            return _generate_plainly(model, prompt_ids, config, generator)
        options = config.by_name()
    elif config is not None:
        options = {**vars(config), **options}
    return generate_by_name(model, prompt_ids, generator, **extra, **options)


def _generate_plainly(
    model: Any, prompt_ids: Any, config: GenerationConfig, generator: np.random.Generator | None
) -> np.ndarray:
    config.check()
    prompts = check_prompts(prompt_ids, model.config.vocab_size)
    steps = list(_decode(model, prompts, config, generator or np.random.default_rng()))
    text = np.concatenate([prompts, np.stack(steps, axis=1)], axis=1)
    return text[0] if np.ndim(prompt_ids) == 1 else text


def _decode(
    model: Any, prompts: np.ndarray, config: GenerationConfig, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield the next token of every row, (B,), until the text ends."""
    B, T = prompts.shape
    context = model.config.context_length
    text = np.empty((B, T + config.max_new_tokens), np.int64)
    text[:, :T] = prompts
    stop_ids = np.asarray(config.stop_ids, np.int64)
    ended = np.zeros(B, bool)
    inference = evaluation_mode(model)
    cache = model.new_cache(B, min(context, text.shape[1])) if config.use_cache else None
    start, cached = max(0, T - context), 0  # the window is text[start:length]; so many of its tokens are in the cache

    for length in range(T, text.shape[1]):
        if window_start(start, length, context) != start:
            start, cached = window_start(start, length, context), 0
        if cache is None or cached == 0:
            tokens = text[:, start:length]
            for layer in cache or ():
                layer.length = 0
        else:
            tokens = text[:, length - 1 : length]
        with inference:
            logits = to_host(model(tokens, cache=cache, last_only=True)[0].data[:, -1])  # (B, vocab)
        cached = length - start
        new = choose(logits, text[:, :length], config, generator)
        if stop_ids.size:
            new = np.where(ended, text[:, length - 1], new)
            ended = np.isin(new, stop_ids)  # stays so: an ended row has its stop token again
        text[:, length] = new
        yield text[:, length]
        if ended.all():
            return


def window_start(start: int, length: int, context_length: int) -> int:
    """Where the window that the model looks at begins, once the text has `length` tokens; so far it began at `start`.

    While the window fits the context it grows. When it is full, the last half of the context is kept.

    Dropping only the oldest token, as one would without a cache, costs a whole context of computing per token:
    every token moves to another position, so with learned positions every cached key and value is wrong. (Rotary keys
    could be turned, but above the first block they too have seen the tokens that are gone.) Dropping half makes the
    cache anew once in context_length/2 tokens. Decoding without a cache looks at the same windows, so its text is the same.
    """
    if length - start <= context_length:
        return start
    return length - max(1, context_length // 2)


def choose(
    logits: np.ndarray, seen: np.ndarray, config: GenerationConfig, generator: np.random.Generator
) -> np.ndarray:
    """The next token of each row: logits (B, V) and the text so far (B, n) → (B,).

    At temperature 0 nothing is drawn from the generator. Raises InputError if the logits hold NaN.
    """
    if np.isnan(logits.max()):
        raise InputError("the model's scores are NaN, so its weights are broken; take an earlier checkpoint")
    logits = penalize_repetition(logits, seen, config.repetition_penalty)
    if config.temperature == 0:
        return greedy(logits)
    logits = apply_temperature(logits.astype(np.float64), config.temperature)
    if config.top_k:
        logits = keep_top_k(logits, config.top_k)
    logits = keep_top_p(logits, config.top_p)
    return sample(softmax_array(logits), generator)


def check_prompts(prompt_ids: Any, vocab_size: int) -> np.ndarray:
    """The prompts as an int64 array (B, T). Raises InputError unless each id is an integer in [0, vocab_size) and T ≥ 1."""
    try:
        prompts = np.asarray(as_array(prompt_ids))
    except ValueError as error:
        raise InputError("the prompts of a batch have different lengths; continue them one by one") from error
    if prompts.size == 0:
        raise InputError(
            "the prompt is empty, and a language model continues a text; give it at least one token, such as a line break"
        )
    if prompts.ndim not in (1, 2) or prompts.dtype.kind not in "iu":
        raise InputError(
            f"a prompt of shape {prompts.shape} and type {prompts.dtype} cannot be continued; "
            "give integers, (T,) for one prompt or (B, T) for a batch of equal length"
        )
    for token in (int(prompts.min()), int(prompts.max())):
        if not 0 <= token < vocab_size:
            raise InputError(
                f"the prompt holds token {token}, but the model has tokens 0 to {vocab_size - 1}; "
                "encode it with the tokenizer that the model was trained with"
            )
    return np.atleast_2d(prompts).astype(np.int64)
