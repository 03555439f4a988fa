"""How sure a score is: confidence intervals by resampling the examples.

Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7(1), 1979; for comparing two systems:
Koehn, "Statistical Significance Tests for Machine Translation Evaluation", EMNLP 2004.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minilm.errors import InputError

Metric = Callable[[np.ndarray], float]


class Interval(NamedTuple):
    """A score and the bounds that it would stay within on `level` of test sets drawn like this one."""

    score: float
    low: float
    high: float


class Comparison(NamedTuple):
    """Two systems on the same examples: each one's interval, that of second − first, and how often second won.

    second_wins: the share of resamples in which the second's score was higher (ties count half).
    """

    first: Interval
    second: Interval
    difference: Interval
    second_wins: float


def bootstrap_interval(
    metric: Metric, examples: int, generator: np.random.Generator, resamples: int = 1000, level: float = 0.95
) -> Interval:
    r"""[q_{α/2}, q_{1−α/2}] of metric(i*),  i* = N examples drawn with replacement,  α = 1 − level.    [eq:bootstrap]

    metric: the score of the examples in an index array (N,), for example
        bootstrap_interval(lambda rows: accuracy(predictions[rows], references[rows]), N, generator)
        bootstrap_interval(lambda rows: bleu_of(statistics[rows].sum(0)).score, N, generator)
    examples: N. generator: where the draws come from. resamples: how many test sets to draw. level: the share of them
    that lies within (the percentile method).

    The interval tells what other examples would change, not what another training seed would.
    Raises InputError for no example, fewer than one resample, or a level outside 0 to 1.
    """
    check(examples, resamples, level)
    scores = [metric(generator.integers(0, examples, examples)) for _ in range(resamples)]
    return interval(metric(np.arange(examples)), np.array(scores), level)


def paired_bootstrap(
    first: Metric,
    second: Metric,
    examples: int,
    generator: np.random.Generator,
    resamples: int = 1000,
    level: float = 0.95,
) -> Comparison:
    """Two systems' scores on the same resampled examples: what is hard in a resample is hard for both.

    first, second: the systems' metrics over the same N examples; the rest as for `bootstrap_interval`.
    Where the difference's interval leaves out 0, the systems differ by more than chance would explain. It is narrower
    than the two single intervals suggest. Raises InputError as `bootstrap_interval` does.
    """
    check(examples, resamples, level)
    scores = np.empty((resamples, 2))
    for row in scores:
        rows = generator.integers(0, examples, examples)
        row[:] = first(rows), second(rows)
    everything = np.arange(examples)
    a, b = first(everything), second(everything)
    gain = scores[:, 1] - scores[:, 0]
    return Comparison(
        interval(a, scores[:, 0], level),
        interval(b, scores[:, 1], level),
        interval(b - a, gain, level),
        float((gain > 0).mean() + (gain == 0).mean() / 2),
    )


def interval(score: float, scores: np.ndarray, level: float) -> Interval:
    """The score with the percentiles of the resampled scores."""
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Interval(float(score), low, high)


def check(examples: int, resamples: int, level: float) -> None:
    """Raise InputError for numbers that no interval can be made of."""
    if examples < 1:
        raise InputError("there is no example to resample; give at least one (and better a few hundred)")
    if resamples < 1:
        raise InputError(f"resamples is {resamples}; give a positive number, such as 1000")
    if not 0 < level < 1:
        raise InputError(f"level is {level}; give one between 0 and 1, such as 0.95")
