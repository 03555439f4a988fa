"""How many threads multiply the matrices of a training run."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

from minilm.models import GPTConfig

SMALL_PRODUCT = 200_000_000  # multiplications; on one core a few milliseconds
VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def thread_limit(model: GPTConfig, batch_size: int) -> int | None:
    """1 for a model whose largest product is small, None (as many threads as the BLAS likes) for a larger one.

    Cutting a small product into halves gains little, and threads that wait for each other do so by spinning: as soon
    as another program wants a core, every product waits for the thread that was put aside, and the run takes many
    times as long. The rule looks at sizes only, so that a resumed run computes with as many threads, to the same bits.
    A number of threads set in the environment is left alone.
    """
    if any(name in os.environ for name in VARIABLES):
        return None
    rows = batch_size * model.context_length
    widest = max(model.intermediate_size or 4 * model.hidden_size, model.vocab_size)
    return 1 if rows * model.hidden_size * widest < SMALL_PRODUCT else None


def limited_threads(limit: int | None) -> AbstractContextManager:
    """Within this block the BLAS uses at most `limit` threads; without a limit, or without threadpoolctl, nothing changes."""
    if limit is None:
        return nullcontext()
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    return threadpool_limits(limits=limit, user_api="blas")
