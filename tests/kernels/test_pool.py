"""The pool of threads: every task runs once, and neither a fork, nor nesting, nor several Python threads confuse it."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

numba = pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

from minilm_kernels.cpu import pool  # noqa: E402  this and the next need Numba
from minilm_kernels.cpu.compile import kernel, part  # noqa: E402
from minilm_kernels.cpu.pool import parallel_for  # noqa: E402


@part
def _count(worker, i, seen, workers, work):
    total = 0.0
    for k in range(work):
        total += k * 0.5
    seen[i] += 1 + 0 * total
    workers[i] = worker


@kernel
def _count_all(state, seen, workers, work):
    parallel_for(state, len(seen), _count, (seen, workers, work))


@kernel
def _twice(state, seen, workers, work):
    parallel_for(state, len(seen), _count, (seen, workers, work))
    parallel_for(state, len(seen), _count, (seen, workers, work))


def run(count: int, work: int = 0, function=_count_all) -> tuple[np.ndarray, np.ndarray]:
    seen, workers = np.zeros(count), np.full(count, -1)
    function(pool.start(), seen, workers, work)
    return seen, workers


@pytest.fixture(autouse=True)
def threads():
    before = pool.get_num_threads()
    yield
    pool.set_num_threads(before)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_every_task_runs_once(n):
    pool.set_num_threads(n)
    for count in (0, 1, 2, 3, 100, 1000):
        for _ in range(20):
            seen, workers = run(count)
            assert (seen == 1).all()
            assert ((workers >= 0) & (workers < n)).all()


def test_two_jobs_in_one_kernel():
    pool.set_num_threads(3)
    for _ in range(200):
        assert (run(50, function=_twice)[0] == 2).all()


def test_the_other_threads_do_help():
    pool.set_num_threads(2)
    for _ in range(50):
        _, workers = run(200, work=20_000)
        if set(workers) == {0, 1}:
            return
    pytest.fail("the second thread never took a task")


def test_a_thread_begins_with_its_own_range():
    """Of two tasks on two threads each begins its own; the caller may also do both, or the other one, but never crosswise."""
    pool.set_num_threads(2)
    seen, end = set(), time.monotonic() + 10
    for i in itertools.count():
        seen.add(tuple(run(2, work=20_000)[1].tolist()))
        if i >= 200 and (
            (0, 1) in seen or time.monotonic() > end
        ):  # the system may give the other core to others for a while
            break
    assert (0, 1) in seen
    assert (1, 0) not in seen


def test_sleeping_threads_wake_up():
    pool.set_num_threads(2)
    run(10)
    time.sleep(0.1)  # a hundred times longer than they spin
    assert pool._pool.state[pool.ASLEEP] >= 1
    for _ in range(50):
        _, workers = run(500, work=20_000)
        if 1 in workers:
            return
    pytest.fail("the thread did not wake up")


@pytest.mark.parametrize("n", [2, pytest.param(4, marks=pytest.mark.slow), pytest.param(8, marks=pytest.mark.slow)])
def test_many_jobs_of_changing_size(n):
    """A thread that comes late must neither run a task of the next job nor draw its ticket, which nobody else would get.

    A ticket drawn without looking at its epoch loses a task in about one of 100,000 jobs.
    """
    pool.set_num_threads(n)
    rng = np.random.default_rng(0)
    for count in rng.integers(1, 40, 100_000):
        assert (run(int(count))[0] == 1).all()


def test_several_python_threads_at_once():
    pool.set_num_threads(3)
    wrong = []

    def work():
        for _ in range(500):
            seen, _ = run(20, work=100)
            if not (seen == 1).all():
                wrong.append(seen)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong


def test_epochs_wrap_around():
    pool.set_num_threads(2)
    state = pool.start()
    time.sleep(0.05)
    state[pool.EPOCH] = 0x3FFFFD  # three jobs before the counter starts again
    for _ in range(10):
        assert (run(30)[0] == 1).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_threads_of_its_own():
    code = """
import os, sys, numpy as np
from minilm_kernels.cpu import pool
sys.path.insert(0, sys.argv[1])
from test_pool import run
pool.set_num_threads(2)
run(100)
child = os.fork()
if child == 0:
    seen, _ = run(1000, 1000)
    os._exit(0 if (seen == 1).all() and len(pool._pool.workers) == 1 else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert (run(1000, 1000)[0] == 1).all()
print("fine")
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, os.path.dirname(__file__)],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout.strip() == "fine", done.stderr


def test_the_number_of_threads_is_checked(monkeypatch):
    with pytest.raises(ValueError, match="at least 1"):
        pool.set_num_threads(0)
    with pytest.raises(ValueError, match="at most 1024"):
        pool.set_num_threads(1025)
    monkeypatch.setenv("MINILM_NUM_THREADS", "many")
    with pytest.raises(ValueError, match="MINILM_NUM_THREADS is 'many'"):
        pool.default_threads()
    monkeypatch.setenv("MINILM_NUM_THREADS", "3")
    assert pool.default_threads() == 3


def test_scratch_rows_are_aligned_apart_and_kept():
    pool.set_num_threads(3)
    rows = pool.scratch(5000)
    assert rows.shape[0] >= 3
    assert rows.shape[1] >= 5000
    assert all(row.ctypes.data % 4096 == 0 for row in rows)
    assert pool.scratch(4000) is rows
    other = []
    thread = threading.Thread(target=lambda: other.append(pool.scratch(4000)))
    thread.start()
    thread.join()
    assert not np.shares_memory(other[0], rows)


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="only Linux tells on which processors a thread may run"
)
def test_waking_leaves_the_threads_free_to_run_anywhere():
    """The caller's processor is forbidden to them while they are woken, and allowed again."""
    pool.set_num_threads(3)
    allowed = os.sched_getaffinity(0)
    for _ in range(3):
        time.sleep(0.05)  # they fall asleep
        assert (run(64)[0] == 1).all()
    workers = [thread for thread in threading.enumerate() if thread.name.startswith("minilm-")]
    assert workers
    for thread in workers:
        assert os.sched_getaffinity(thread.native_id) == allowed
