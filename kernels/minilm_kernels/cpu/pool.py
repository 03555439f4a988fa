"""The threads that kernels share, and `parallel_for`, which hands them tasks.

A kernel cuts its work into tasks 0 … count − 1, each of which writes its own part of the result. A thread begins with its own
range of numbers, so that a step of a network finds in a core's cache what the same core wrote in the step before; whoever is
done with that helps the others. So the result never depends on the number of threads or on who was faster, and nobody
waits for a thread that the system has put aside before it took a task: the calling thread simply does more.

    @part
    def double_row(worker, row, x, y): ...            # worker: 0 … threads − 1, for scratch memory of one's own

    @kernel
    def double(pool, x, y):
        parallel_for(pool, x.shape[0], double_row, (x, y))

    double(pool.start(), x, y)

Waiting threads spin for about a millisecond, in which the next kernel of a training step usually comes, and then sleep: on
Linux in a futex, where they need neither Python nor its lock to wake up, elsewhere in a threading.Condition. The pool
belongs to one caller at a time: a second Python thread meanwhile computes alone. After a fork the child starts
threads of its own when it needs them.

All threads look at one array of 64-bit numbers, `state`; each number has a cache line to itself.
"""

from __future__ import annotations

import atexit
import os
import threading
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from minilm_kernels.cpu.compile import kernel, part
from minilm_kernels.cpu.system import (
    CPU_WORDS,
    EVERYBODY,
    FUTEX,
    FUTEX_WAIT,
    FUTEX_WAKE,
    I8P,
    I64,
    atomic_add,
    atomic_get,
    atomic_replace,
    atomic_swap,
    current_cpu,
    futex,
    get_affinity,
    give_way,
    pause,
    set_affinity,
)

LINE = 8  # 64-bit numbers in a cache line
LOCK, EPOCH, RANGES, INSIDE, FUNCTION, ARGUMENTS, COUNT, THREADS, STOP, ASLEEP = (LINE * i for i in range(10))
CPUS = LINE * 10  # room for two sets of processors
WORKERS = CPUS + 2 * CPU_WORDS  # the system's numbers of the threads 1, 2, ...
MOST_THREADS = 1024
TICKETS = WORKERS + MOST_THREADS  # one for each range, a line apart
SPINS = 20_000  # pauses before a waiting thread goes to sleep: about a millisecond
PAUSES = 2_000  # pauses before a thread that waits for the last task lets others run on its core
INDEX_BITS = 40  # a ticket is an epoch above and a task's number below
CLOSED = (1 << INDEX_BITS) - 1  # a number of a task that no job has

TASK = ir.FunctionType(ir.VoidType(), [I8P, I64, I64])  # arguments, worker, number of the task


# --- a job ------------------------------------------------------------------------------------------------------------


@intrinsic
def call_task(typingctx, function, arguments, worker, i):
    """Call the function at an address: one task of a job."""

    def generate(context, builder, sig, args):
        target = builder.inttoptr(args[0], TASK.as_pointer())
        builder.call(target, [builder.inttoptr(args[1], I8P), args[2], args[3]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.intp, types.intp), generate


@part
def work(state, worker, epoch):
    """Take tasks of the job with this epoch until none is left: those of the own range, then those of the ranges behind it.

    A ticket holds the epoch above and the number of the range's next task below, and is drawn only if it is of this epoch.
    So a thread that comes late, when the next job has begun, leaves that job's tickets alone; and one that has drawn a ticket
    has read function, arguments, count and ranges of the same job, for these change only after all tickets did.
    """
    function, arguments, count, ranges = state[FUNCTION], state[ARGUMENTS], state[COUNT], state[RANGES]
    for k in range(ranges):
        which = (worker + k) % ranges
        stop, place = count * (which + 1) // ranges, TICKETS + LINE * which
        while True:
            ticket = atomic_get(state, place)
            i = ticket & ((1 << INDEX_BITS) - 1)
            if ticket >> INDEX_BITS != epoch or i >= stop:
                break
            if atomic_replace(state, place, ticket, ticket + 1):
                call_task(function, arguments, worker, i)


@part
def wake_elsewhere(state):
    """Wake the sleeping threads, on other processors than this one.

    A waker's own processor is where Linux likes to put who is woken. There it would wait until the caller is interrupted, and
    take turns with it, while another processor is idle.
    """
    cpu = current_cpu()
    word, bit = CPUS + CPU_WORDS + cpu // 64, 1 << (cpu % 64)
    for worker in range(1, state[THREADS]):
        thread = state[WORKERS + worker]
        if thread > 0 and get_affinity(thread, state, CPUS) == 0:
            for i in range(CPU_WORDS):
                state[CPUS + CPU_WORDS + i] = state[CPUS + i]
            state[word] &= ~bit
            set_affinity(thread, state, CPUS + CPU_WORDS)
    futex(state, EPOCH, FUTEX_WAKE, EVERYBODY)
    for worker in range(1, state[THREADS]):
        thread = state[WORKERS + worker]
        if thread > 0:
            set_affinity(thread, state, CPUS)


@part
def run_job(state, function, arguments, count, in_order):
    """Run tasks 0 … count − 1 of the function at that address on all threads; returns when all are done.

    in_order: there is one range, and tasks begin in the order of their numbers.
    """
    if count == 0:
        return
    if count == 1 or state[THREADS] == 1 or atomic_swap(state, LOCK, 1) == 1:
        for i in range(count):
            call_task(function, arguments, 0, i)
        return
    epoch = (state[EPOCH] + 1) & 0x3FFFFF
    for which in range(state[RANGES]):  # late threads of the last job find no task any more
        atomic_swap(state, TICKETS + LINE * which, (epoch << INDEX_BITS) + CLOSED)
    ranges = 1 if in_order else state[THREADS]
    state[FUNCTION], state[ARGUMENTS], state[COUNT], state[RANGES] = function, arguments, count, ranges
    for which in range(ranges):
        atomic_swap(state, TICKETS + LINE * which, (epoch << INDEX_BITS) + count * which // ranges)
    atomic_swap(state, EPOCH, epoch)
    if FUTEX and atomic_get(state, ASLEEP) > 0:
        wake_elsewhere(state)
    work(state, 0, epoch)
    waited = 0
    while atomic_get(state, INSIDE) > 0:
        pause()
        waited += 1
        if waited > PAUSES:
            give_way()
    atomic_swap(state, LOCK, 0)


def _start_job(typingctx: Any, state: Any, task: Any, arguments: Any, in_order: bool) -> Any:
    """Numba: the signature and the code of parallel_for or parallel_for_in_order."""
    kinds = (types.intp, types.intp, *arguments.types)
    task_signature = typingctx.resolve_function_type(task, kinds, {})
    run_signature = types.void(state, types.int64, types.int64, types.intp, types.boolean)

    def generate(context, builder, sig, args):
        overload = task.dispatcher.overloads[tuple(task_signature.args)]
        context.active_code_library.add_linking_library(overload.library)
        # the arguments lie on the stack of the caller, who waits until all tasks are done
        box = cgutils.alloca_once_value(builder, args[3])
        name = context.mangler(f"task_{task.dispatcher.__name__}", kinds, abi_tags=())
        function = ir.Function(builder.module, TASK, name=builder.module.get_unique_name(name))
        function.linkage = "internal"
        inside = ir.IRBuilder(function.append_basic_block())
        packed = inside.load(inside.bitcast(function.args[0], box.type))
        values = cgutils.unpack_tuple(inside, packed, len(arguments))
        context.call_internal_no_propagate(
            inside, overload.fndesc, task_signature, [function.args[1], function.args[2], *values]
        )
        inside.ret_void()
        addresses = [builder.ptrtoint(function, I64), builder.ptrtoint(box, I64)]
        run_job.compile(run_signature.args)
        compiled = run_job.overloads[run_signature.args]
        context.active_code_library.add_linking_library(compiled.library)
        context.call_internal_no_propagate(
            builder,
            compiled.fndesc,
            run_signature,
            [args[0], *addresses, args[1], ir.Constant(ir.IntType(1), in_order)],
        )
        return context.get_dummy_value()

    return types.void(state, types.intp, task, arguments), generate


@intrinsic
def parallel_for(typingctx, state, count, task, arguments):
    """Run task(worker, i, *arguments) for i = 0 … count − 1 on the threads of the pool whose state this is.

    task: a function decorated with @part. Each task must write memory of its own.
    """
    return _start_job(typingctx, state, task, arguments, in_order=False)


@intrinsic
def parallel_for_in_order(typingctx, state, count, task, arguments):
    """parallel_for, where a task may wait for one with a smaller number: that has then begun before."""
    return _start_job(typingctx, state, task, arguments, in_order=True)


@kernel
def serve(state, worker, epoch):
    """What a thread of the pool does: wait for a job, help, wait again.

    Where there is no futex it returns, with the last epoch, when nothing came for long: to sleep in Python.
    """
    spins = 0
    while True:
        pause()
        spins += 1
        if spins > SPINS:
            if not FUTEX:
                return epoch
            # counted as asleep before the system looks at the epoch: a job that comes in between is seen by one of the two
            atomic_add(state, ASLEEP, 1)
            futex(state, EPOCH, FUTEX_WAIT, epoch)
            atomic_add(state, ASLEEP, -1)
            spins = 0
        if atomic_get(state, STOP):
            return -1
        if atomic_get(state, EPOCH) != epoch:
            atomic_add(state, INSIDE, 1)
            epoch = atomic_get(state, EPOCH)
            if worker < state[THREADS]:
                work(state, worker, epoch)
            atomic_add(state, INSIDE, -1)
            spins = 0


@kernel
def wake_all(state):
    futex(state, EPOCH, FUTEX_WAKE, EVERYBODY)


# --- the threads ------------------------------------------------------------------------------------------------------


def default_threads() -> int:
    """MINILM_NUM_THREADS, or OMP_NUM_THREADS, or as many cores as this process may use."""
    for name in ("MINILM_NUM_THREADS", "OMP_NUM_THREADS"):
        if given := os.environ.get(name):
            if not given.isdigit() or not 1 <= int(given) <= MOST_THREADS:
                raise ValueError(
                    f"{name} is {given!r}; set it to a whole number of threads, 1 to {MOST_THREADS}, or unset it"
                )
            return int(given)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_THREADS)


class Pool:
    """Threads that wait for jobs, and the state by which they are given them."""

    def __init__(self) -> None:
        self.state = np.zeros(TICKETS + LINE * MOST_THREADS, np.int64)
        self.set_threads(default_threads())
        self.workers: list[threading.Thread] = []
        self.wake = threading.Condition()
        self.starting = threading.Lock()

    def set_threads(self, n: int) -> None:
        if not 1 <= n <= MOST_THREADS:
            raise ValueError(f"{n} threads cannot be had; give at least 1 and at most {MOST_THREADS}")
        self.state[THREADS] = n
        self.threads = int(n)

    def start(self) -> np.ndarray:
        """The state to pass to a kernel; starts or wakes the other threads."""
        state = self.state
        if len(self.workers) < self.threads - 1 and not config.DISABLE_JIT:
            with self.starting:
                for worker in range(len(self.workers) + 1, self.threads):
                    thread = threading.Thread(
                        target=self._serve, args=(state, worker), name=f"minilm-{worker}", daemon=True
                    )
                    self.workers.append(thread)
                    thread.start()
        elif not FUTEX and state[ASLEEP]:
            with self.wake:
                self.wake.notify_all()
        return state

    def _serve(self, state: np.ndarray, worker: int) -> None:
        state[WORKERS + worker] = threading.get_native_id()
        epoch = int(state[EPOCH])
        while True:
            epoch = serve(state, worker, epoch)
            if epoch < 0:
                return
            with self.wake:
                state[ASLEEP] += 1
                if state[EPOCH] == epoch and not state[STOP]:
                    self.wake.wait()
                state[ASLEEP] -= 1

    def stop(self) -> None:
        """Let the threads end (at exit); they would otherwise run into an interpreter that is being taken apart."""
        self.state[STOP] = 1
        self.state[EPOCH] += 1  # so that nobody falls asleep any more; no job has this epoch
        if FUTEX and self.workers:
            wake_all(self.state)
        with self.wake:
            self.wake.notify_all()
        for thread in self.workers:
            thread.join(timeout=1)
        self.workers = []


_pool = Pool()


def start() -> np.ndarray:
    """The state of the process's pool, its threads awake: pass it to a kernel as `pool`."""
    return _pool.start()


def get_num_threads() -> int:
    return _pool.threads


def set_num_threads(n: int) -> None:
    """Use n threads from now on (more than there are cores only helps to test)."""
    _pool.set_threads(n)


def _after_fork() -> None:
    """A child has none of its parent's threads: give it a pool of its own."""
    global _pool
    threads = _pool.threads
    _pool = Pool()
    _pool.set_threads(threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(lambda: _pool.stop())


_scratch = threading.local()


def scratch(nbytes: int) -> np.ndarray:
    """`threads` rows of at least nbytes of memory for tasks (row = worker), the same each time for a Python thread.

    Returns (threads, n) bytes, each row aligned to 4,096.
    """
    threads, row = get_num_threads(), -(-nbytes // 4096) * 4096
    kept = getattr(_scratch, "memory", None)
    if kept is None or kept.shape[0] < threads or kept.shape[1] < row:
        memory = np.empty(threads * row + 4096, np.uint8)
        start = -memory.ctypes.data % 4096
        kept = _scratch.memory = memory[start : start + threads * row].reshape(threads, row)
    return kept


if config.DISABLE_JIT:

    def parallel_for(state, count, task, arguments):
        for i in range(count):
            task(0, i, *arguments)

    parallel_for_in_order = parallel_for
