"""Perplexity and bits per character: the mean loss of a language model, in units that a person can picture."""

from __future__ import annotations

import math

from minilm.errors import InputError

LARGEST_EXPONENT = 709.78  # e^709.78 is just below the largest float64


def perplexity(loss: float) -> float:
    r"""PPL = e^L,  L = −(1/N) Σ_t ln P(w_t | w_<t).    [eq:perplexity] [F15, F18; 000 §2.1, 000 FAQ]

    loss: L, the mean loss in nats per token.  Returns infinity where e^L is beyond float64.
    A model that hesitates evenly between k tokens at every step has perplexity k.
    """
    return math.inf if loss > LARGEST_EXPONENT else math.exp(loss)


def bits_per_character(loss: float, tokens: int, characters: int) -> float:
    r"""BPC = L N_tokens / (N_characters ln 2).    [eq:bits-per-character] [F15; 000 §2.1]

    loss: L, the mean loss in nats per token; tokens: how many it is the mean of; characters: how many characters those
    tokens spell. Unlike perplexity it can be compared between tokenizers: the code length of the same text.
    Raises InputError unless there is at least one character.
    """
    if characters < 1:
        raise InputError(f"bits per character of {characters} characters; measure a text that has at least one")
    return loss * tokens / (characters * math.log(2))


def bits_per_byte(loss: float, tokens: int, text: str) -> float:
    r"""BPB = L N_tokens / (N_bytes ln 2).    [eq:bits-per-byte] [F15; 000 §2.1]

    loss: L, the mean loss in nats per token; tokens: how many it is the mean of; text: what those tokens spell, counted
    in bytes of UTF-8. It compares tokenizers as bits per character does, and scripts better: a Chinese character has
    three bytes, a Latin letter one.  Raises InputError for an empty text.
    """
    size = len(text.encode("utf-8"))
    if size == 0:
        raise InputError("bits per byte of an empty text; measure a text that has at least one character")
    return loss * tokens / (size * math.log(2))
