r"""Beam search: follow the num_beams most probable texts at once and keep the best that end.

    score(w_1 … w_n) = Σ_t ln P(w_t | w_<t),    of a finished text divided by n^length_penalty        [eq:beam-score]

At each step every running text is continued with every token; of all these the best num_beams that do not end go on, and
those among the first num_beams that end are finished. The search is over when no running text can beat the worst finished
one (early_stopping says what "can" means), or when there is no room.    [Graves 2012; Wu et al. 2016 §7]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minilm.generation.decoders import Decoder
from minilm.generation.options import GenerationOptions
from minilm.generation.search import Rules, check_scores
from minilm.generation.stopping import Stopping

NEVER = -1e9  # the score of what is no candidate; as in transformers a number, so that rounding and ties are the same


@dataclass
class Beams:
    """For each prompt (B) the n running texts and the n best finished ones, each set best first.

    texts, done: (B, n, max_length) tokens; scores, done_scores: (B, n); finished: (B, n), whether a done text is there at
    all; lengths: (B, n), of the done texts; open: (B,), whether a running text may still beat a finished one.
    """

    texts: np.ndarray
    scores: np.ndarray
    done: np.ndarray
    done_scores: np.ndarray
    finished: np.ndarray
    lengths: np.ndarray
    open: np.ndarray


def beam_search(
    decoder: Decoder,
    state: Any,
    logits: np.ndarray,
    prompts: np.ndarray,
    options: GenerationOptions,
    rules: Rules,
    stopping: Stopping,
    generator: np.random.Generator,
    inference: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """The num_return_sequences best texts of each prompt, best first: (B · r, T) with padding behind, and scores (B · r,).

    logits: (B · n, V), of the first token; state: of the decoder, which has seen each prompt n times; prompts: (B, T).
    """
    n, (B, T) = options.num_beams, prompts.shape
    beams = start(prompts, options, stopping.max_length)
    for length in range(T, stopping.max_length):
        check_scores(logits)
        texts = beams.texts.reshape(B * n, -1)[:, :length]
        scores = rules(log_softmax(logits), texts).reshape(B, n, -1) + beams.scores[..., None]
        parents, tokens, scores = best_continuations(scores, options, generator)
        candidates = np.take_along_axis(beams.texts, parents[..., None], axis=1)
        candidates[..., length] = tokens
        ends = stopping(candidates[..., : length + 1].reshape(-1, length + 1)).reshape(B, -1)
        keep = ranked(scores + NEVER * ends, n)  # (B, n): the best that do not end
        finish(beams, candidates, scores, ends, length + 1, T, options)
        beams.texts = np.take_along_axis(candidates, keep[..., None], axis=1)
        beams.scores = np.take_along_axis(scores + NEVER * ends, keep, axis=1)
        beams.open &= may_improve(beams, length + 1, T, stopping.max_length, options)
        all_full = options.early_stopping is True and beams.finished.all()
        if not beams.open.any() or all_full or ends.all():
            break
        rows = (np.take_along_axis(parents, keep, axis=1) + n * np.arange(B)[:, None]).reshape(-1)
        with inference:
            decoder.reorder(state, rows)
            logits = decoder.step(beams.texts[..., length].reshape(-1, 1), state)
    r = options.num_return_sequences
    longest = int(beams.lengths[:, :r].max())
    return beams.done[:, :r, :longest].reshape(B * r, -1), beams.done_scores[:, :r].reshape(-1)


def start(prompts: np.ndarray, options: GenerationOptions, max_length: int) -> Beams:
    """All beams of a prompt are the same at first, so only the first has a score that counts."""
    n, (B, T) = options.num_beams, prompts.shape
    # transformers fills with the token that ends a text where padding is token 0 (or unset)
    fill = (options.padding or options.eos[0]) if options.eos else 0
    texts = np.full((B, n, max_length), fill, np.int64)
    texts[:, :, :T] = prompts[:, None]
    scores = np.full((B, n), NEVER)
    scores[:, 0] = 0
    no = np.zeros((B, n), bool)
    return Beams(texts, scores, texts.copy(), np.full((B, n), NEVER), no, np.full((B, n), T), np.ones(B, bool))


def best_continuations(
    scores: np.ndarray, options: GenerationOptions, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of (B, n, V) scores the best k of each prompt: which beam they continue, with which token, and their scores, (B, k).

    k = n · max(2, 1 + number of tokens that end a text): even if each beam's best tokens end it, n are left that go on.
    With do_sample they are drawn without replacement, by adding Gumbel noise to the scores.    [Kool et al. 2019]
    """
    B, n, V = scores.shape
    k = min(n * max(2, 1 + len(options.eos)), n * V)
    flat = scores.reshape(B, n * V)
    noisy = flat + generator.gumbel(size=flat.shape) if options.do_sample else flat
    chosen = ranked(noisy, k)
    return chosen // V, chosen % V, np.take_along_axis(flat, chosen, axis=1)


def finish(
    beams: Beams,
    candidates: np.ndarray,
    scores: np.ndarray,
    ends: np.ndarray,
    length: int,
    prompt_length: int,
    options: GenerationOptions,
) -> None:
    """Put the candidates that end among the finished texts, if they are better; `length` counts their last token."""
    n = options.num_beams
    ends = ends & (np.arange(ends.shape[1]) < n)  # the others are there to go on, should these end
    refused = ~ends | ~beams.open[:, None]
    if options.early_stopping is True:
        refused = refused | beams.finished.all(axis=1, keepdims=True)
    new_scores = scores / (length - prompt_length) ** options.length_penalty + NEVER * refused  # [eq:beam-score]
    merged_scores = np.concatenate([beams.done_scores, new_scores], axis=1)
    best = ranked(merged_scores, n)
    merged = np.concatenate([beams.done, candidates], axis=1)
    lengths = np.concatenate([beams.lengths, np.full(ends.shape, length)], axis=1)
    finished = np.concatenate([beams.finished, ends], axis=1)
    beams.done = np.take_along_axis(merged, best[..., None], axis=1)
    beams.done_scores = np.take_along_axis(merged_scores, best, axis=1)
    beams.lengths = np.take_along_axis(lengths, best, axis=1)
    beams.finished = np.take_along_axis(finished, best, axis=1)


def may_improve(
    beams: Beams, length: int, prompt_length: int, max_length: int, options: GenerationOptions
) -> np.ndarray:
    """(B,): whether the best running text could become better than the worst finished one.

    Its score can only fall with more tokens. early_stopping=False takes it as it is now, "never" at the length that
    would suit it best: the longest, if longer texts are preferred.
    """
    longest = options.early_stopping == "never" and options.length_penalty > 0
    written = (max_length if longest else length) - prompt_length
    best_running = beams.scores[:, :1] / written**options.length_penalty
    worst = np.where(beams.finished, beams.done_scores.min(axis=1, keepdims=True), NEVER)
    return (best_running > worst).any(axis=1)


def ranked(scores: np.ndarray, k: int) -> np.ndarray:
    """The places of the k largest of each row, largest first; of equals the first."""
    kth = np.partition(scores, -k, axis=-1)[:, -k]  # of a large vocabulary only a few need to be put in order
    best = np.empty((len(scores), k), np.int64)
    for i, row in enumerate(scores):
        places = np.flatnonzero(row >= kth[i])
        best[i] = places[np.argsort(-row[places], kind="stable")[:k]]
    return best


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """ln softmax of each row, in float64."""
    z = logits.astype(np.float64)
    z -= z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
