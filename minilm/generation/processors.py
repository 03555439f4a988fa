"""From logits to a token: reshape the distribution of the next token, then draw from it.

Every function takes the logits of one text, (V,), or of several, (B, V), and returns new logits of that shape; a token
that may not come has the logit −∞. generate.py applies them in the order of the field: penalty, temperature, top-k, top-p.
[F15; 000 §2.1: the model gives P(w_t | w_<t); choosing a w_t from it is decoding]
"""

from __future__ import annotations

import math

import numpy as np

from minilm.errors import InputError
from minilm.functional.normalization import softmax_array

Array = np.ndarray


def apply_temperature(logits: Array, temperature: float) -> Array:
    r"""z / τ.    [eq:temperature] [Ackley, Hinton & Sejnowski 1985]

    P_i ∝ e^(z_i/τ): τ < 1 sharpens, τ > 1 flattens; τ → 0 is greedy() in the limit and no division.
    Raises InputError unless 0 < τ < ∞.
    """
    if not 0 < temperature < math.inf:
        raise InputError(
            f"temperature {temperature} cannot divide the logits; it must be above 0 (for 0 take greedy())"
        )
    return logits / logits.dtype.type(temperature)


def keep_top_k(logits: Array, k: int) -> Array:
    """Keep the k largest logits of each row, −∞ for the others.    [eq:top-k] [Fan, Lewis & Dauphin 2018 §4.2]

    Logits equal to the k-th largest all stay, so that no token is preferred for its number; k ≥ V keeps all.
    Raises InputError unless k ≥ 1.
    """
    if k < 1:
        raise InputError(f"top_k is {k}; it must be at least 1 (and {logits.shape[-1]} keeps all tokens)")
    V = logits.shape[-1]
    if k >= V:
        return logits
    kth = np.partition(logits, V - k, axis=-1)[..., V - k, None]  # the k-th largest of each row
    return np.where(logits < kth, logits.dtype.type(-np.inf), logits)


def keep_top_p(logits: Array, p: float) -> Array:
    r"""Keep the nucleus of each row, −∞ for the others.    [eq:top-p] [Holtzman et al. 2020 §3.1]

    The nucleus is the smallest set of tokens, taken from the most probable down, with Σ P_i ≥ p. It always has a token; of
    equally probable ones the lower number comes first; p = 1 keeps all.
    Raises InputError unless 0 < p ≤ 1.
    """
    if not 0 < p <= 1:
        raise InputError(f"top_p is {p}; it must be above 0 and at most 1 (1 keeps all tokens)")
    if p == 1:
        return logits
    probabilities = softmax_array(logits.astype(np.float64))
    # sorting the values alone is many times faster than ordering the tokens by them
    ordered = np.sort(probabilities, axis=-1)[..., ::-1]
    size = 1 + (np.cumsum(ordered, axis=-1) < p).sum(axis=-1, keepdims=True)  # the first n with P_1 + … + P_n ≥ p
    size = np.minimum(size, logits.shape[-1])  # should rounding leave the whole sum below p
    smallest = np.take_along_axis(ordered, size - 1, axis=-1)
    kept = probabilities > smallest
    tied = probabilities == smallest
    kept |= tied & (np.cumsum(tied, axis=-1) <= size - kept.sum(axis=-1, keepdims=True))
    return np.where(kept, logits, logits.dtype.type(-np.inf))


def keep_min_p(logits: Array, p: float) -> Array:
    r"""Keep the tokens with P_i ≥ p max_j P_j, −∞ for the others.    [eq:min-p] [Nguyen et al. 2024]

    Where the model is sure few tokens are left, where it is not, many. The most probable one always stays.
    Raises InputError unless 0 ≤ p ≤ 1.
    """
    if not 0 <= p <= 1:
        raise InputError(f"min_p is {p}; it must be at least 0 and at most 1 (0.05 is usual)")
    probabilities = softmax_array(logits.astype(np.float64))
    kept = probabilities >= p * probabilities.max(axis=-1, keepdims=True)
    return np.where(kept, logits, logits.dtype.type(-np.inf))


def keep_typical(logits: Array, p: float, at_least: int = 1) -> Array:
    r"""Keep the tokens whose surprise is close to the expected one, −∞ for the others.    [eq:typical] [Meister et al. 2023 §3]

        d_i = |−ln P_i − H|,  H = −Σ_j P_j ln P_j

    Taken by growing d_i until Σ P_i ≥ p: what is far more probable than typical goes as well as what is far less so.
    at_least: so many always stay. Raises InputError unless 0 < p ≤ 1.
    """
    if not 0 < p <= 1:
        raise InputError(f"typical_p is {p}; it must be above 0 and at most 1 (1 keeps all tokens)")
    if p == 1:
        return logits
    probabilities = softmax_array(logits.astype(np.float64))
    possible = probabilities > 0
    surprise = -np.log(np.where(possible, probabilities, 1))
    H = (probabilities * surprise).sum(axis=-1, keepdims=True)
    distance = np.where(possible, np.abs(surprise - H), np.inf)
    order = np.argsort(distance, axis=-1, kind="stable")
    sums = np.cumsum(np.take_along_axis(probabilities, order, axis=-1), axis=-1)
    last = np.minimum((sums < p).sum(axis=-1, keepdims=True), logits.shape[-1] - 1)
    farthest = np.take_along_axis(distance, np.take_along_axis(order, last, axis=-1), axis=-1)
    kept = distance <= farthest
    np.put_along_axis(kept, order[..., :at_least], True, axis=-1)
    return np.where(kept, logits, logits.dtype.type(-np.inf))


def keep_epsilon(logits: Array, epsilon: float, at_least: int = 1) -> Array:
    r"""Keep the tokens with P_i ≥ ε, −∞ for the others.    [eq:epsilon] [Hewitt, Manning & Liang 2022 §3]

    The most probable one always stays, or so many as at_least says. Raises InputError unless 0 ≤ ε < 1.
    """
    if not 0 <= epsilon < 1:
        raise InputError(f"epsilon_cutoff is {epsilon}; it must be at least 0 and below 1 (3e-4 is usual)")
    probabilities = softmax_array(logits.astype(np.float64))
    k = min(at_least, logits.shape[-1])
    kept = (probabilities >= epsilon) | (logits >= np.partition(logits, -k, axis=-1)[..., -k, None])
    return np.where(kept, logits, logits.dtype.type(-np.inf))


def forbid_repeated_ngrams(logits: Array, seen: Array, n: int) -> Array:
    """−∞ for each token that would end n tokens which stand in the text already.    [Paulus, Xiong & Socher 2017 §2.5]

    logits: (B, V); seen: (B, T). If the last n − 1 tokens stand elsewhere in the row, what followed them there may not follow
    now. n = 1 forbids every token that has occurred. Raises InputError unless n ≥ 1.
    """
    if n < 1:
        raise InputError(f"no_repeat_ngram_size is {n}; it must be at least 1, or leave it out")
    T = seen.shape[1]
    if n > T:
        return logits
    windows = np.lib.stride_tricks.sliding_window_view(seen, n, axis=1)  # (B, T − n + 1, n)
    repeats = (windows[..., :-1] == seen[:, None, T + 1 - n :]).all(axis=-1)
    rows, places = np.nonzero(repeats)
    tokens = windows[rows, places, -1]
    known = tokens < logits.shape[-1]  # a table may have rows that no logit stands for
    logits = logits.copy()
    logits[rows[known], tokens[known]] = -np.inf
    return logits


def forbid_tokens(logits: Array, tokens: Array | list[int]) -> Array:
    """−∞ for these tokens."""
    logits = logits.copy()
    logits[..., tokens] = -np.inf
    return logits


def penalize_repetition(logits: Array, seen: Array, penalty: float) -> Array:
    r"""z_i / θ where z_i > 0, z_i θ where z_i ≤ 0, for every token i seen before.    [eq:repetition] [Keskar et al. 2019 §4.1]

    seen: the tokens of the text so far, (n,) or (B, n); how often one occurs does not matter.
    penalty: θ; above 1 makes repetition less likely, 1 changes nothing. (The paper divides always, which would make a
    token with a negative logit more likely; multiplying there is what the field, transformers too, means by it.)
    Raises InputError unless 0 < θ < ∞.
    """
    if not 0 < penalty < math.inf:
        raise InputError(f"repetition_penalty is {penalty}; it must be above 0 (1 changes nothing, 1.2 is usual)")
    if penalty == 1:
        return logits
    z = np.take_along_axis(logits, seen, axis=-1)
    theta = logits.dtype.type(penalty)
    penalized = logits.copy()
    np.put_along_axis(penalized, seen, np.where(z > 0, z / theta, z * theta), axis=-1)
    return penalized


def greedy(logits: Array) -> Array:
    """The most probable token of each row: argmax z, the lowest number among equals."""
    return logits.argmax(axis=-1)


def sample(probabilities: Array, generator: np.random.Generator) -> Array:
    r"""Draw one token per row by inverting the cumulative distribution.    [eq:inverse-cdf]

    With u uniform in [0, 1), the token is the first i with Σ_{j ≤ i} P_j > u: an interval of length P_i leads to i.
    probabilities: (V,) or (B, V), at least 0; they need not sum to exactly 1.  Returns an integer, or (B,) of them.
    Takes exactly one number per row from `generator`, row by row, whatever the probabilities are.
    Raises InputError for probabilities that are negative, NaN, or all 0.
    """
    cumulative = np.cumsum(probabilities, axis=-1, dtype=np.float64)
    total = cumulative[..., -1:]
    if not (np.isfinite(total).all() and (total > 0).all() and (np.asarray(probabilities) >= 0).all()):
        raise InputError(
            "cannot draw a token: its probabilities must be numbers of at least 0, not all of them 0; if a model gave "
            "them, its weights hold NaN or infinity: take an earlier checkpoint"
        )
    u = generator.random(total.shape)
    # u total < total, so there is such an i; and a token of probability 0 adds nothing, so it is never the first
    return (cumulative > u * total).argmax(axis=-1)
