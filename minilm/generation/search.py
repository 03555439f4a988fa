"""Greedy decoding and sampling: one token after the other, each row for itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minilm.errors import InputError
from minilm.functional.normalization import softmax_array
from minilm.generation.constraints import forbid_ngrams_of, forbid_sequences, force_tokens, prefer_end
from minilm.generation.decoders import Decoder
from minilm.generation.options import GenerationOptions
from minilm.generation.processors import (
    apply_temperature,
    forbid_repeated_ngrams,
    forbid_tokens,
    greedy,
    keep_epsilon,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    keep_typical,
    penalize_repetition,
    sample,
)
from minilm.generation.stopping import Stopping


class Rules:
    """Reshapes the scores of the next token, as the options say, in transformers' order.

    prompt_length: of the texts. unseen: (B,), how many tokens at the left of each row are padding, which no penalty counts.
    max_tokens: the greatest length. source: (B, S), what the encoder reads, or the prompts; None if it is not known.
    """

    def __init__(
        self,
        options: GenerationOptions,
        prompt_length: int,
        unseen: np.ndarray,
        max_tokens: int,
        source: np.ndarray | None = None,
    ):
        self.options = options
        self.unseen, self.source = unseen, source
        self.prompt_length, self.max_tokens = prompt_length, max_tokens
        self.bad_words, self.forced_ends = options.bad_words, options.forced_ends
        self.least = min(options.least_length(prompt_length), max_tokens)
        # a beam must have a way on beside each token that ends it
        self.at_least = 1 if options.num_beams == 1 else 1 + max(1, len(options.eos))

    def __call__(self, scores: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """scores: (B, V) logits or log-probabilities, texts: (B, T).  Returns (B, V)."""
        o = self.options
        if o.repetition_penalty != 1:
            scores = self._penalized(scores, texts)
        if o.no_repeat_ngram_size:
            scores = forbid_repeated_ngrams(scores, texts, o.no_repeat_ngram_size)
        if o.encoder_no_repeat_ngram_size and self.source is not None:
            scores = forbid_ngrams_of(scores, texts, self.source, o.encoder_no_repeat_ngram_size)
        if self.bad_words:
            scores = forbid_sequences(scores, texts, self.bad_words)
        if o.eos and texts.shape[1] < self.least:
            scores = forbid_tokens(scores, o.eos)
        scores = self._forced(scores, texts.shape[1])
        return self._narrowed(scores) if o.do_sample else scores

    def _forced(self, scores: np.ndarray, length: int) -> np.ndarray:
        """What the options say of the first and the last tokens, and of those that may never come."""
        o = self.options
        if o.forced_bos_token_id is not None and length == 1:
            scores = force_tokens(scores, [o.forced_bos_token_id])
        if self.forced_ends and length == self.max_tokens - 1:
            scores = force_tokens(scores, self.forced_ends)
        if o.exponential_decay_length_penalty is not None:
            start, factor = o.exponential_decay_length_penalty
            if length > start + self.prompt_length:
                scores = prefer_end(scores, o.eos, factor, length - start - self.prompt_length)
        if o.suppress_tokens is not None:
            scores = forbid_tokens(scores, list(o.suppress_tokens))
        # a forced first token is not what the text begins with: that is the one behind it
        first = self.prompt_length + (self.prompt_length == 1 and o.forced_bos_token_id is not None)
        if o.begin_suppress_tokens is not None and length == first:
            scores = forbid_tokens(scores, list(o.begin_suppress_tokens))
        return scores

    def _penalized(self, scores: np.ndarray, texts: np.ndarray) -> np.ndarray:
        if not self.unseen.any():
            return penalize_repetition(scores, texts, self.options.repetition_penalty)
        # a padded place stands for the row's last token, which has been seen anyway
        padding = np.arange(texts.shape[1]) < self.unseen[:, None]
        return penalize_repetition(scores, np.where(padding, texts[:, -1:], texts), self.options.repetition_penalty)

    def _narrowed(self, scores: np.ndarray) -> np.ndarray:
        """What is drawn from: temperature, top-k, top-p, min-p."""
        o = self.options
        if o.temperature != 1:
            scores = apply_temperature(scores, o.temperature)
        best = keep_top_k(scores, self.at_least) if self.at_least > 1 else None

        def narrow(kept: np.ndarray) -> np.ndarray:
            return kept if best is None else np.maximum(kept, best)

        if o.top_k:
            scores = keep_top_k(scores, max(o.top_k, self.at_least))
        if o.top_p < 1:
            scores = narrow(keep_top_p(scores, o.top_p))
        if o.min_p is not None:
            scores = narrow(keep_min_p(scores, o.min_p))
        if o.typical_p < 1:
            scores = keep_typical(scores, o.typical_p, self.at_least)
        if o.epsilon_cutoff:
            scores = keep_epsilon(scores, o.epsilon_cutoff, self.at_least)
        return scores


def check_scores(logits: np.ndarray) -> None:
    """Raise InputError if the model's scores hold NaN."""
    if np.isnan(logits.max()):
        raise InputError("the model's scores are NaN, so its weights are broken; take an earlier checkpoint")


def search(
    decoder: Decoder,
    state: Any,
    logits: np.ndarray,
    texts: np.ndarray,
    options: GenerationOptions,
    rules: Rules,
    stopping: Stopping,
    generator: np.random.Generator,
    inference: Any,
) -> Iterator[np.ndarray]:
    """Yield the next token of every row, (B,), until all rows have ended; a row that has ended gives padding.

    logits: (B, V), of the first token; state: of the decoder, which has seen `texts` (B, T).
    """
    ended = np.zeros(len(texts), bool)
    padding = options.padding or 0
    while True:
        check_scores(logits)
        scores = rules(logits.astype(np.float64) if options.do_sample else logits, texts)
        if options.do_sample and np.isneginf(scores.max(axis=-1)).any():
            raise InputError("the options forbid every token that could come next; allow some of them")
        new = sample(softmax_array(scores), generator) if options.do_sample else greedy(scores)
        new = np.where(ended, padding, new)
        texts = np.concatenate([texts, new[:, None]], axis=1)
        yield new
        ended |= stopping(texts)
        if ended.all():
            return
        with inference:
            logits = decoder.step(new[:, None], state)
