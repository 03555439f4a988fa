"""The matrix product and linear in Numba against float64 and against the reference."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is not installed")

from minilm_kernels import reference
from minilm_kernels.cpu import pool
from minilm_kernels.cpu.gemm import A_ROWS, KC, PANELS
from minilm_kernels.cpu.gemm_few import FEW, STRIPE
from minilm_kernels.cpu.gemm_linear import activation_backward, linear, linear_backward, weight_backward
from minilm_kernels.cpu.gemm_product import matmul, plan
from minilm_kernels.cpu.gemm_tiles import ROWS, VECTORS
from minilm_kernels.cpu.target import lanes_of

DTYPES = [np.float32, np.float64]
PANEL = VECTORS * lanes_of(4)


def drawn(generator, dtype, *shape):
    return generator.standard_normal(shape).astype(dtype)


def assert_close(result, exact, dtype, K):
    """Rounding errors of a sum of K products of numbers of size 1, with much room; a lost product is 1."""
    assert result.dtype == dtype
    assert result.shape == exact.shape
    np.testing.assert_allclose(result, exact, rtol=0, atol=np.finfo(dtype).eps * 4 * (K + 16))


@pytest.fixture
def threads():
    """Sets the number of threads; puts the old number back."""
    before = pool.get_num_threads()
    yield pool.set_num_threads
    pool.set_num_threads(before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["rows-rows", "rows-columns", "columns-rows", "columns-columns"])
def test_every_edge_of_the_tiles(generator, dtype, layout):
    first, second = layout.split("-")
    row_counts, column_counts = [0, 9, ROWS, A_ROWS + 3], [0, 1, 3, 33, 2 * PANEL + 1, PANEL * PANELS + 17]
    for M, N, K in itertools.product(row_counts, column_counts, [0, 1, 17, KC + 5]):
        a = drawn(generator, dtype, M, K) if first == "rows" else drawn(generator, dtype, K, M).T
        b = drawn(generator, dtype, K, N) if second == "rows" else drawn(generator, dtype, N, K).T
        exact = a.astype(np.float64) @ b.astype(np.float64)
        assert_close(matmul(a, b), exact, dtype, K)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("M", [1, 2, FEW])
@pytest.mark.parametrize("N", [1, 5, 64, 67, STRIPE + 3])
def test_few_rows(generator, dtype, M, N):
    for K in (1, 3, 4, 31, 2 * KC + 7):
        x, w = drawn(generator, dtype, M, K), drawn(generator, dtype, N, K)
        exact = x.astype(np.float64) @ w.T.astype(np.float64)
        assert_close(matmul(x, w.T), exact, dtype, K)
        assert_close(matmul(x, np.ascontiguousarray(w.T)), exact, dtype, K)
        assert_close(matmul(w, x.T), exact.T, dtype, K)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("M", [3, 40])
def test_any_strides(generator, dtype, M):
    K, N = 70, 90
    wide_a, wide_b = drawn(generator, dtype, 2 * M, 3 * K), drawn(generator, dtype, 2 * K, 3 * N)
    lefts = [wide_a[:M, :K], wide_a[::2, K : 2 * K], wide_a[:M, ::3], wide_a[M - 1 :: -1, :K], wide_a[:M, K - 1 :: -1]]
    lefts += [np.broadcast_to(wide_a[0, :K], (M, K)), np.broadcast_to(wide_a[:M, :1], (M, K))]
    rights = [wide_b[:K, :N], wide_b[::2, ::3], wide_b[K - 1 :: -1, :N], wide_b.reshape(3 * N, 2 * K)[:N, :K].T]
    for a, b in itertools.product(lefts, rights):
        a, b = a.view(), b.view()
        a.flags.writeable = b.flags.writeable = False
        assert_close(matmul(a, b), a.astype(np.float64) @ b.astype(np.float64), dtype, K)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("accumulate", [False, True])
def test_out(generator, dtype, accumulate):
    M, N, K = 30, 70, KC + 9
    a, b = drawn(generator, dtype, M, K), drawn(generator, dtype, K, N)
    wide = drawn(generator, dtype, 2 * M, 2 * N)
    views = [
        lambda x: x[:M, :N],
        lambda x: x[::2, N:],
        lambda x: x[:M, ::2],
        lambda x: x[M - 1 :: -1, :N],
        lambda x: x.reshape(2 * N, 2 * M)[:N, :M].T,
    ]
    for view in views:
        whole, expected = wide.copy(), wide.astype(np.float64)
        out = view(whole)
        assert matmul(a, b, out=out, accumulate=accumulate) is out
        exact = a.astype(np.float64) @ b.astype(np.float64)
        view(expected)[...] = exact + view(expected) if accumulate else exact
        assert_close(whole, expected, dtype, K)  # also: nothing beside `out` was written


def test_out_may_overlap_an_input(generator):
    a, b = drawn(generator, np.float32, 40, 40), drawn(generator, np.float32, 40, 40)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    c = a.copy()
    assert_close(matmul(c, b, out=c), exact, np.float32, 40)
    c = b.copy()
    assert_close(matmul(a, c, out=c, accumulate=True), exact + b, np.float32, 40)


def test_not_a_number_and_infinity_stay_visible(generator):
    for M in (2, 50):
        a, b = np.ones((M, 60), np.float32), np.ones((60, 70), np.float32)
        a[1, 7], b[9, 66] = np.nan, np.inf
        c = matmul(a, b)
        assert np.isnan(c[1]).all()
        assert np.isinf(c[0, 66])
        assert np.isfinite(np.delete(np.delete(c, 1, 0), 66, 1)).all()
        assert np.array_equal(np.isnan(matmul(a.T.copy().T, b.T.copy().T)), np.isnan(c))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_number_of_threads_changes_no_bit(generator, dtype, threads):
    shapes = [(4, 3000, 500), (900, 200, KC + 70), (100, 1500, 80), (65, 65, 2 * KC)]
    for M, N, K in shapes:
        x, w, dy = drawn(generator, dtype, M, K), drawn(generator, dtype, N, K), drawn(generator, dtype, M, N)
        bias, results = drawn(generator, dtype, N), []
        for n in (1, 2, 3, 7):
            threads(n)
            y, saved = linear(x, w, bias, activation="gelu", residual=dy)
            results.append((y, saved.preactivation, *linear_backward(dy, saved)[:3]))
        for other in results[1:]:
            assert all(np.array_equal(p, q) for p, q in zip(results[0], other))


def test_where_c_is_cut_changes_no_bit(generator):
    a, b = drawn(generator, np.float32, 300, KC + 50), drawn(generator, np.float32, KC + 50, 300)
    whole = matmul(a, b)
    np.testing.assert_array_equal(matmul(a[11:111], b[:, 13:113].copy()), whole[11:111, 13:113])


@pytest.mark.parametrize("threads", [1, 2, 3, 64])
def test_a_plan_covers_c(threads):
    for M, N, K in itertools.product([1, 9, 100, 5000], [1, 70, 1000, 60000], [1, 500, 60001]):
        mc, nc, shared = plan(M, N, K, threads, 4, K % 2)
        assert mc > 0
        assert mc % ROWS == 0
        assert nc % PANEL == 0
        assert 0 < nc <= PANELS * PANEL
        assert shared >= 0


@pytest.mark.parametrize("K", [50, 3000, 50_000])
def test_error_at_most_twice_that_of_numpy(generator, K):
    for M, N in ((1, 40), (4, 40), (50, 60)):
        a, b = drawn(generator, np.float32, M, K), drawn(generator, np.float32, K, N)
        exact = a.astype(np.float64) @ b.astype(np.float64)
        error, numpy_error = (np.sqrt(np.mean((c - exact) ** 2)) for c in (matmul(a, b), a @ b))
        assert error <= 2 * numpy_error
        assert np.sqrt(np.mean((matmul(a, b.T.copy().T) - exact) ** 2)) <= 2 * numpy_error


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [None, "gelu", "gelu_tanh", "relu", "silu"])
@pytest.mark.parametrize("shape", [(3,), (1, 70), (2, 50, 70)])
def test_linear_agrees_with_the_reference(generator, dtype, activation, shape):
    shape, size, out = shape[:-1], shape[-1], 101
    for has_bias, has_residual in itertools.product([False, True], repeat=2):
        arguments = [drawn(generator, dtype, *shape, size), drawn(generator, dtype, out, size) / size**0.5]
        arguments.append(drawn(generator, dtype, out) if has_bias else None)
        residual = drawn(generator, dtype, *shape, out) if has_residual else None
        dy = drawn(generator, dtype, *shape, out)
        exact_arguments = [None if a is None else a.astype(np.float64) for a in arguments]
        exact_residual = None if residual is None else residual.astype(np.float64)
        for a in (*arguments, residual, dy):
            if a is not None:
                a.flags.writeable = False
        y, saved = linear(*arguments, activation=activation, residual=residual)
        expected, exact_saved = reference.linear(*exact_arguments, activation=activation, residual=exact_residual)
        assert_close(y, expected, dtype, size)
        results = linear_backward(dy, saved)
        exact_results = reference.linear_backward(dy.astype(np.float64), exact_saved)
        for result, exact in zip(results, exact_results):
            assert (result is None) == (exact is None)
            if exact is not None:
                assert_close(result, exact, dtype, 400)
        for needs in itertools.product([False, True], repeat=2):
            some = linear_backward(dy, saved, needs=needs)
            assert [g is not None for g in some] == [*needs, has_bias, has_residual]
            if has_bias:
                assert_close(some[2], exact_results[2], dtype, 400)


@pytest.mark.parametrize("M", [2, 90])
def test_linear_over_several_blocks_of_k(generator, M):
    x, w, b, r = (drawn(generator, np.float64, *s) for s in ((M, 2 * KC + 5), (50, 2 * KC + 5), (50,), (M, 50)))
    y, saved = linear(x, w, b, activation="gelu_tanh", residual=r)
    expected, exact = reference.linear(x, w, b, activation="gelu_tanh", residual=r)
    assert_close(y, expected, np.float64, 2 * KC)
    assert_close(saved.preactivation, exact.preactivation, np.float64, 2 * KC)


@pytest.mark.parametrize("shape", [(0, 5), (2, 0, 5), (4, 0), (0, 0)])
@pytest.mark.parametrize("out", [0, 6])
def test_linear_of_nothing(generator, shape, out):
    x, w, b = np.ones(shape), np.ones((out, shape[-1])), np.arange(float(out))
    for activation in (None, "silu"):
        results, expected = (f(x, w, b, activation=activation) for f in (linear, reference.linear))
        np.testing.assert_allclose(results[0], expected[0])
        dy = np.ones(results[0].shape)
        for p, q in zip(linear_backward(dy, results[1]), reference.linear_backward(dy, expected[1])):
            assert (p is None and q is None) or (p.shape == q.shape and np.allclose(p, q))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_weight_gradient_in_given_memory(generator, dtype):
    for M in (1, 2, 60, KC + 30):
        x, w, b, dy = (drawn(generator, dtype, *s) for s in ((M, 50), (70, 50), (70,), (M, 70)))
        _, saved = linear(x, w, b, activation="relu")
        exact = reference.linear_backward(dy, saved)
        dZ = activation_backward(dy, saved)
        flat = np.ones(70 * 50, dtype)
        out, db = weight_backward(dZ, saved, out=flat.reshape(70, 50), accumulate=True)
        assert np.shares_memory(out, flat)
        assert_close(flat.reshape(70, 50), exact[1] + 1, dtype, M)
        assert_close(db, exact[2], dtype, M)


def test_inputs_in_odd_layouts(generator):
    x, w = drawn(generator, np.float32, 40, 2, 33), drawn(generator, np.float32, 33, 90)
    b, r = drawn(generator, np.float32, 180)[::2], drawn(generator, np.float32, 90, 2, 40)
    y, saved = linear(x.swapaxes(0, 1), w.T, b, residual=r.T.swapaxes(0, 1), activation="silu")
    expected, expected_saved = reference.linear(
        x.swapaxes(0, 1), w.T, b, residual=r.T.swapaxes(0, 1), activation="silu"
    )
    assert_close(y, expected, np.float32, 33)
    dy = drawn(generator, np.float32, 90, 40, 2).T
    for p, q in zip(linear_backward(dy, saved), reference.linear_backward(dy, expected_saved)):
        assert_close(p, q, np.float32, 400)


SCRIPT = """
import itertools, numpy as np
from minilm_kernels.cpu.gemm_product import matmul
from minilm_kernels.cpu.gemm_linear import linear, linear_backward
from minilm_kernels import reference
g = np.random.default_rng(1)
for M, N, K in {sizes}:
    for dtype in (np.float32, np.float64):
        a, b = g.standard_normal((M, K)).astype(dtype), g.standard_normal((K, N)).astype(dtype)
        for x, y in itertools.product((a, a.T.copy().T), (b, b.T.copy().T)):
            np.testing.assert_allclose(matmul(x, y), a @ b, rtol=0, atol=1e-4 if dtype == np.float32 else 1e-12)
        dy = g.standard_normal((M, N)).astype(dtype)
        (y, saved), (z, other) = (f(a, b.T, b[0], activation="gelu", residual=dy) for f in (linear, reference.linear))
        np.testing.assert_allclose(y, z, rtol=0, atol=1e-4 if dtype == np.float32 else 1e-12)
        for p, q in zip(linear_backward(dy, saved), reference.linear_backward(dy, other)):
            np.testing.assert_allclose(p, q, rtol=0, atol=1e-4 if dtype == np.float32 else 1e-12)
print("fine")
"""


def run_elsewhere(sizes, tmp_path, **environment):
    environment = {
        **os.environ,
        "MINILM_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
        **environment,
    }
    script = SCRIPT.format(sizes=sizes)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "fine", done.stderr


GUARDED = """
import ctypes, itertools, mmap, numpy as np
from minilm_kernels.cpu.gemm_product import matmul

PAGE = mmap.PAGESIZE
protect = ctypes.CDLL(None, use_errno=True).mprotect

def at_an_end(*shape):
    # an array whose last byte is the last one that may be touched
    size = int(np.prod(shape)) * 4
    pages = -(-size // PAGE) * PAGE
    memory = mmap.mmap(-1, pages + PAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert protect(ctypes.c_void_p(address + pages), PAGE, 0) == 0
    a = np.frombuffer(memory, np.float32, size // 4, pages - size).reshape(shape)
    a[...] = 1
    return a

for M, N, K in itertools.product((1, 3, 7, 9, 105), (1, 5, 17, 49, 65), (1, 5, 17, 390)):
    a, at, b, bt, c = (at_an_end(*s) for s in ((M, K), (K, M), (K, N), (N, K), (M, N)))
    for x, y in itertools.product((a, at.T), (b, bt.T)):
        matmul(x, y, out=c)
        assert (c == K).all()
print("fine")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs mprotect")
def test_nothing_beyond_an_array_is_touched(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", GUARDED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "fine", (done.returncode, done.stderr)


def test_without_a_compiler(tmp_path):
    run_elsewhere([(3, 5, 2), (9, 50, 4), (10, 17, 9)], tmp_path, NUMBA_DISABLE_JIT="1")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["haswell", "generic"])
def test_for_other_processors(tmp_path, name):
    sizes = [(m, n, k) for m in (1, 4, 7, 30, 100) for n in (1, 4, 17, 33, 200) for k in (1, 5, 17, 400)]
    run_elsewhere(sizes, tmp_path, NUMBA_CPU_NAME=name)
