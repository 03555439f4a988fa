"""How many threads of the BLAS work in a training run."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import minilm_kernels as kernels
from minilm.models import GPTConfig

SMALL_PRODUCT = 200_000_000  # multiplications; on one core a few milliseconds
VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def thread_limit(model: GPTConfig, batch_size: int) -> int | None:
    """How many threads the BLAS may use: None for as many as it likes.

    With the Numba kernels, 1: their own threads multiply the large matrices, and threads of a BLAS would only spin beside
    them, which costs up to a quarter of a step on two cores. Those kernels give the same bits with any number of threads.

    With the NumPy reference, 1 for a model whose largest product is small. Cutting a small product into halves gains
    little, and threads that wait for each other do so by spinning: as soon as another program wants a core, every product
    waits for the thread that was put aside, and the run takes many times as long. The rule looks at sizes only, so that a
    resumed run computes with as many threads, to the same bits.

    A number of threads set in the environment is left alone.
    """
    if any(name in os.environ for name in VARIABLES):
        return None
    if kernels.active() == "numba":
        return 1
    rows = batch_size * model.context_length
    widest = max(model.intermediate_size or 4 * model.hidden_size, model.vocab_size)
    return 1 if rows * model.hidden_size * widest < SMALL_PRODUCT else None


def kernel_thread_limit() -> int | None:
    """The same for a model of any kind and batches of any size: 1 with the Numba kernels, else as many as the BLAS likes."""
    return 1 if kernels.active() == "numba" and not any(name in os.environ for name in VARIABLES) else None


def limited_threads(limit: int | None) -> AbstractContextManager:
    """Within this block the BLAS uses at most `limit` threads; without a limit, or without threadpoolctl, nothing changes."""
    if limit is None:
        return nullcontext()
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    return threadpool_limits(limits=limit, user_api="blas")
