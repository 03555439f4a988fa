"""Small products run on one thread; what the user has set is left alone."""

import pytest
from threadpoolctl import threadpool_info

from minilm.models import GPTConfig
from minilm.training.threads import VARIABLES, limited_threads, thread_limit
from minilm_kernels import use_kernels


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_the_blas_has_one_thread_beside_the_kernels_own():
    pytest.importorskip("numba", reason="Numba is not installed")
    with use_kernels("numba"):
        assert thread_limit(GPTConfig.gpt2(), 1) == 1


@use_kernels("reference")
def test_one_thread_for_a_small_model_and_all_for_a_large_one():
    assert thread_limit(GPTConfig.nanogpt_char(), 12) == 1
    assert thread_limit(GPTConfig.nanogpt_char_big(), 12) is None
    assert thread_limit(GPTConfig.gpt2(), 1) is None


def test_a_number_in_the_environment_wins(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    assert thread_limit(GPTConfig.nanogpt_char(), 12) is None


def test_the_limit_holds_within_the_block_only():
    def threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    with limited_threads(1):
        assert set(threads()) <= {1}
    assert threads() == before
    with limited_threads(None):
        assert threads() == before
