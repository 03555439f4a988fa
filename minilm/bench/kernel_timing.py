"""Two calls timed in turns, and how far apart their results are."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from minilm.bench.kernel_pairs import Pair

LEAST_CALLS = 5
TURN = 0.02  # seconds of timed calls before it is the other one's turn
SHORT = 0.005  # a call that is over sooner is repeated three times as often


def measure(pair: Pair, reps: int, seconds: float, pause: float) -> dict[str, Any]:
    """Compare and time one pair: the difference, the seconds of each call, the ratios."""
    ours, theirs = pair.ours(), pair.theirs()
    error = worst_difference(ours, theirs)
    dtype = str(as_array(theirs[0]).dtype)
    del ours, theirs
    times = time_pair(pair, reps, seconds, pause)
    mine, other = times["ours"], times["torch"]
    return {
        "against": pair.opponent, "difference": error, "dtype": dtype, "seconds": times,
        "ratio": statistics.median(other) / statistics.median(mine), "ratio_of_fastest": min(other) / min(mine),
    }  # fmt: skip


def worst_difference(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """max|a − b| / max|b| of the worst pair of results; infinite if one has a NaN or another shape than its partner."""
    worst = 0.0
    for a, b in zip(map(as_array, ours), map(as_array, theirs), strict=True):
        if a.shape != b.shape:
            return math.inf
        if b.size:
            error = float(np.max(np.abs(a - b))) / (float(np.max(np.abs(b))) or 1.0)
            worst = math.inf if math.isnan(error) else max(worst, error)
    return worst


def as_array(result: Any) -> np.ndarray:
    return result.detach().numpy() if hasattr(result, "detach") else np.asarray(result)


def time_pair(pair: Pair, reps: int, seconds: float, pause: float) -> dict[str, list[float]]:
    """Seconds of each timed call of both, which take turns."""
    calls = {"ours": pair.ours, "torch": pair.theirs}
    times: dict[str, list[float]] = {who: [] for who in calls}
    one = max(typical_seconds(call, pause) for call in calls.values())
    block = max(1, min(8, int(TURN / one)))  # calls in a turn
    wanted = 3 * reps if one < SHORT else reps
    began, order = time.perf_counter(), list(calls)
    while len(times["ours"]) < wanted:
        if time.perf_counter() - began > seconds and len(times["ours"]) >= LEAST_CALLS:
            break
        for who in order:
            time.sleep(pause)
            if block > 1:
                calls[who]()  # wakes the threads
            times[who] += [timed(calls[who]) for _ in range(block)]
        order.reverse()
    return times


def typical_seconds(call: Any, pause: float) -> float:
    """A first look at how long a call takes; the shortest of a few where it is short."""
    time.sleep(pause)
    first = timed(call)
    return first if first > 5 * TURN else min(first, *(timed(call) for _ in range(3)))


def timed(call: Any) -> float:
    """Seconds of one call. What it returned is freed after the clock has stopped."""
    start = time.perf_counter()
    result = call()
    end = time.perf_counter()
    del result
    return end - start
