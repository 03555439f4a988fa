"""The ladder: every rung gives the numbers of a float64 oracle, and counts what it says it counts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minilm_kernels
from minilm_kernels import reference
from minilm_kernels.ladder import ATTENTION, PRODUCT, Rung
from minilm_kernels.ladder.inputs import check_attention, check_product

pytestmark = pytest.mark.slow  # every rung is compiled

try:
    import numba  # noqa: F401

    HAVE_NUMBA = True
except ImportError:
    HAVE_NUMBA = False

LADDER = Path(minilm_kernels.__file__).parent / "ladder"
SHAPES = [(2, 1, 1, 8), (1, 3, 7, 33), (1, 2, 65, 64), (1, 1, 130, 8), (2, 2, 130, 33), (1, 1, 64, 64), (1, 1, 9, 1)]
PRODUCTS = [(1, 1, 1), (7, 65, 33), (4, 32, 8), (130, 70, 300), (129, 33, 513), (5, 9, 0)]  # M, N, K


def rungs(ladder, call):
    return [pytest.param(rung, id=rung.name, marks=needs_numba(rung)) for rung in ladder if rung.call == call]


def needs_numba(rung: Rung):
    return pytest.mark.skipif(rung.numba and not HAVE_NUMBA, reason="Numba is not installed")


def normal(generator, *shape, scale=1.0):
    return (scale * generator.standard_normal(shape)).astype(np.float32)


def wide(*arrays):
    return [a.astype(np.float64) for a in arrays]


def check(got, exact, plain):
    """As near to the exact result as twice the plain float32 formula, or a few roundings of the largest number."""
    assert got.dtype == np.float32
    assert got.shape == exact.shape
    allowed = 2 * abs(plain - exact).max(initial=0) + 8 * np.finfo(np.float32).eps * abs(exact).max(initial=0)
    assert abs(got - exact).max(initial=0) <= allowed


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rung", rungs(ATTENTION, "attention"))
def test_attention(generator, rung, shape, causal):
    if rung.number == "1" and shape[2] > 9:
        shape = (1, 1, 13, 5)
    Q, K, V = (normal(generator, *shape, scale=s) for s in (3, 1, 1))
    exact = reference.attention(*wide(Q, K, V), causal=causal)[0]
    plain = reference.attention(Q, K, V, causal=causal)[0]
    before = [x.copy() for x in (Q, K, V)]
    check(rung.function(Q, K, V, causal=causal), exact, plain)
    assert all(np.array_equal(x, y) for x, y in zip((Q, K, V), before))


@pytest.mark.parametrize("rung", rungs(ATTENTION, "attention"))
def test_attention_with_huge_scores(generator, rung):
    """Scores of ±10⁴: exp must not overflow, and hardly visible keys must be exactly nothing, not NaN."""
    shape = (1, 1, 12, 4) if rung.number == "1" else (1, 2, 70, 16)
    Q, K, V = (normal(generator, *shape, scale=s) for s in (100, 100, 1))
    for causal in (False, True):
        exact, plain = (reference.attention(*x, causal=causal)[0] for x in (wide(Q, K, V), (Q, K, V)))
        check(rung.function(Q, K, V, causal), exact, plain)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rung", rungs(ATTENTION, "attention_backward"))
def test_attention_backward(generator, rung, shape, causal):
    dO, Q, K, V = (normal(generator, *shape) for _ in range(4))
    O, residuals = reference.attention(*wide(Q, K, V), causal=causal)
    S = np.einsum("bhid,bhjd->bhij", *wide(Q, K)) / np.sqrt(shape[3])
    if causal:
        S[..., np.triu(np.ones(S.shape[-2:], bool), 1)] = -np.inf
    L = np.log(np.exp(S).sum(-1)).astype(np.float32)
    exact = reference.attention_backward(dO.astype(np.float64), residuals)
    plain = reference.attention_backward(dO, reference.attention(Q, K, V, causal=causal)[1])
    for got, e, p in zip(rung.function(dO, Q, K, V, O.astype(np.float32), L, causal), exact, plain):
        # the log-sum-exp and O were rounded to float32 on their way here, which alone moves W by a few roundings
        allowed = 4 * abs(p - e).max() + 64 * np.finfo(np.float32).eps * max(1, abs(e).max())
        assert abs(got - e).max() <= allowed


@pytest.mark.skipif(not HAVE_NUMBA, reason="Numba is not installed")
@pytest.mark.parametrize("causal", [False, True])
def test_forward_leaves_the_log_sum_exp(generator, causal):
    from minilm_kernels.ladder.attention.rung8_threads import attention_with_log_sum_exp

    Q, K, V = (normal(generator, 2, 1, 70, 8) for _ in range(3))
    S = np.einsum("bhid,bhjd->bhij", *wide(Q, K)) / np.sqrt(8)
    if causal:
        S[..., np.triu(np.ones((70, 70), bool), 1)] = -np.inf
    O, L = attention_with_log_sum_exp(Q, K, V, causal)
    np.testing.assert_allclose(L, np.log(np.exp(S).sum(-1)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(O, reference.attention(Q, K, V, causal=causal)[0], atol=2e-6)


@pytest.mark.parametrize("shape", PRODUCTS)
@pytest.mark.parametrize("rung", rungs(PRODUCT, "matmul"))
def test_matmul(generator, rung, shape):
    M, N, K = shape
    a, b = normal(generator, M, K), normal(generator, K, N)
    exact = np.matmul(*wide(a, b))
    # one sum after the other grows in error with K; a BLAS has several
    bound = (K + 2) * np.finfo(np.float32).eps * (abs(a) @ abs(b))
    assert np.all(abs(rung.function(a, b) - exact) <= bound)


@pytest.mark.parametrize("shape", PRODUCTS)
@pytest.mark.parametrize("rung", rungs(PRODUCT, "layer"))
def test_layer(generator, rung, shape):
    M, N, K = shape
    a, b, bias, residual = (normal(generator, *s) for s in ((M, K), (K, N), (N,), (M, N)))
    x = np.matmul(*wide(a, b)) + bias
    exact = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) + residual
    np.testing.assert_allclose(rung.function(a, b, bias, residual), exact, rtol=2e-6, atol=2e-6 * (K + 8))


@pytest.mark.skipif(not HAVE_NUMBA, reason="Numba is not installed")
def test_the_bits_do_not_depend_on_the_number_of_threads(generator):
    from minilm_kernels.cpu import pool
    from minilm_kernels.ladder.attention import rung7_vectors, rung8_threads, rung9_backward
    from minilm_kernels.ladder.product import rung4_register_tile, rung5_threads

    Q, K, V, dO = (normal(generator, 2, 2, 130, 16) for _ in range(4))
    a, b = normal(generator, 300, 70), normal(generator, 70, 90)
    before, results = pool.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            pool.set_num_threads(threads)
            O, L = rung8_threads.attention_with_log_sum_exp(Q, K, V, True)
            gradients = rung9_backward.attention_backward(dO, Q, K, V, O, L, True)
            results.append([O, L, *gradients, rung5_threads.matmul(a, b)])
    finally:
        pool.set_num_threads(before)
    results.append([rung7_vectors.attention(Q, K, V, True), *results[0][1:5], rung4_register_tile.matmul(a, b)])
    for other in results[1:]:
        assert all(np.array_equal(x, y) for x, y in zip(results[0], other))


# --- what the rungs say about themselves ------------------------------------------------------------------------------


class Counted:
    """An array that counts the bytes read and written in it, one number at a time."""

    def __init__(self, array, tally):
        self.array, self.tally, self.shape = array, tally, array.shape

    def __getitem__(self, at):
        if isinstance(at, tuple) and any(isinstance(i, slice) for i in at):
            return Counted(self.array[at], self.tally)
        self.tally[0] += 4
        return self.array[at]

    def __setitem__(self, at, value):
        self.tally[0] += 4
        self.array[at] = value


def plain(function):
    """The Python function below @njit."""
    return getattr(function, "py_func", function)


def test_traffic_of_the_loops_is_what_they_do():
    from minilm_kernels.ladder.attention import rung1_python_loops

    tally, (T, D) = [0], (6, 3)
    Q, K, V, O = (Counted(np.ones((T, D), np.float32), tally) for _ in range(4))
    S = Counted(np.ones((T, T), np.float32), tally)
    rung1_python_loops.attend(Q, K, V, O, S, np.float32(1), False)
    assert tally[0] == rung1_python_loops.traffic((1, 1, T, D))


@pytest.mark.skipif(not HAVE_NUMBA, reason="Numba is not installed")
def test_traffic_of_fused_rows_is_what_they_do():
    """The query in hand, its scores and its output are near: Q and O count once, K and V whenever they are read."""
    from minilm_kernels.ladder.attention import rung4_fused_rows

    tally, (T, D) = [0], (6, 3)
    K, V = (Counted(np.ones((T, D), np.float32), tally) for _ in range(2))
    Q, O = np.ones((T, D), np.float32), np.zeros((T, D), np.float32)
    plain(rung4_fused_rows.attend)(Q, K, V, O, np.empty(T, np.float32), np.float32(1), False)
    assert tally[0] + Q.nbytes + O.nbytes == rung4_fused_rows.traffic((1, 1, T, D))


@pytest.mark.skipif(not HAVE_NUMBA, reason="Numba is not installed")
def test_traffic_of_the_product_loops_and_blocks_is_what_they_do(monkeypatch):
    from minilm_kernels.ladder.product import rung1_loops, rung2_blocks

    tally = [0]
    M, N, K = 5, 7, 9
    A, B, C = (Counted(np.ones(s, np.float32), tally) for s in ((M, K), (K, N), (M, N)))
    plain(rung1_loops.multiply)(A, B, C)
    assert tally[0] == rung1_loops.traffic((M, N, K))

    # blocks: what one block of each matrix holds is near, so count blocks
    moved = [0]

    def add_product(A, B, C):
        moved[0] += A.size + B.size

    monkeypatch.setattr(rung2_blocks, "add_product", add_product)
    M, N, K = 130, 64, 65
    A, B, C = np.ones((M, K)), np.ones((K, N)), np.ones((M, N))
    plain(rung2_blocks.multiply)(A, B, C)
    assert 4 * (moved[0] + 2 * M * N) == rung2_blocks.traffic((M, N, K))


@pytest.mark.skipif(not HAVE_NUMBA, reason="Numba is not installed")
def test_traffic_of_tiles_is_what_they_do(monkeypatch):
    """Rung 5 asks for each tile of keys and values once per tile of queries."""
    from minilm_kernels.ladder.attention import rung5_tiles

    moved = [0]
    for name in ("scores", "add_values", "load_queries"):
        monkeypatch.setattr(rung5_tiles, name, lambda x, *rest: moved.__setitem__(0, moved[0] + x.size))
    for name in ("hide_the_future", "online_softmax"):
        monkeypatch.setattr(rung5_tiles, name, lambda *rest: None)
    B, H, T, D = shape = (1, 2, 150, 8)
    Q, K, V, O = (np.ones((B * H, T, D), np.float32) for _ in range(4))
    with np.errstate(all="ignore"):
        plain(rung5_tiles.attend)(Q, K, V, O, np.float32(1), False)
    assert 4 * (moved[0] + O.size) == rung5_tiles.traffic(shape)


@pytest.mark.skipif(not HAVE_NUMBA, reason="Numba is not installed")
def test_each_rung_of_attention_moves_no_more_than_the_one_before():
    shape = (1, 8, 1024, 64)
    forward = [rung.traffic(shape) for rung in ATTENTION if rung.call == "attention"]
    loops, tiled = [forward[0], *forward[2:4]], forward[4:]
    assert loops == sorted(loops, reverse=True)
    assert len(set(tiled)) == 1
    assert 40 * tiled[0] < loops[-1]
    assert forward[1] > tiled[0]  # NumPy writes its scores down
    backward = {rung.number: rung.traffic(shape) for rung in ATTENTION if rung.call != "attention"}
    assert backward["9"] < backward["9a"]
    product = {rung.number: rung.traffic((1024, 1024, 1024)) for rung in PRODUCT}
    assert product["1"] > product["2"] > product["3"] == product["4"] == product["5"]
    assert product["6a"] - product["6"] == 4 * 6 * 1024 * 1024


@pytest.mark.skipif(not HAVE_NUMBA, reason="Numba is not installed")
def test_extra_memory_grows_with_the_square_of_t_up_to_the_fused_rows_only():
    growth = {
        rung.number: rung.extra_bytes((1, 1, 8192, 64)) / rung.extra_bytes((1, 1, 4096, 64)) for rung in ATTENTION
    }
    assert {number for number, factor in growth.items() if factor > 3} == {"1", "2", "3", "9a"}
    assert {number for number, factor in growth.items() if factor == 1} == {"5", "6", "7", "8"}


def test_operations():
    attention, product = {r.number: r for r in ATTENTION}, {r.number: r for r in PRODUCT}
    assert attention["2"].flops((2, 3, 5, 7)) == 2 * 3 * (2 * 5 * 5 * 7) * 2
    assert attention["9"].flops((2, 3, 5, 7)) == 2.5 * attention["2"].flops((2, 3, 5, 7))
    assert product["1"].flops((2, 3, 5)) == 2 * 2 * 3 * 5


def test_every_rung_is_listed_explained_and_short():
    listed = {rung.module.replace(".", "/") + ".py": rung for rung in (*ATTENTION, *PRODUCT)}
    files = {str(f.relative_to(LADDER).as_posix()) for f in LADDER.glob("*/*.py") if f.name != "__init__.py"}
    assert files == set(listed)
    for name in files:
        text = (LADDER / name).read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 120, f"{name}: a rung has at most 120 lines"
        for part in ("Idea.", "Memory traffic.", "bytes"):
            assert part in text, f"{name} does not say: {part}"
        if not listed[name].number.endswith("a") or "9a" in listed[name].number:
            assert "Beside the rung before:" in text, name


def test_a_rung_says_what_it_takes():
    good = np.zeros((1, 1, 4, 8), np.float32)
    check_attention(good, good)
    bad = (good.astype(np.float64), good[0], good[:, :, ::2], np.zeros((1, 1, 5, 8), np.float32), good.swapaxes(2, 3))
    for other in bad:
        with pytest.raises(ValueError, match="a rung takes contiguous float32 arrays of one shape"):
            check_attention(good, other)
    check_product(good[0, 0], np.zeros((8, 2), np.float32))
    with pytest.raises(ValueError, match=r"a \(4, 8\) and b \(4, 8\) do not fit"):
        check_product(good[0, 0], good[0, 0])
    with pytest.raises(ValueError, match="a rung takes contiguous float32 matrices"):
        check_product(good[0, 0].T, good[0, 0])


def test_the_list_of_rungs_needs_no_numba():
    program = (
        "import sys; from minilm_kernels.ladder import ATTENTION; ATTENTION[1].load(); ATTENTION[1].traffic((1, 1, 2, 2));"
        "print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=LADDER.parents[1], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
