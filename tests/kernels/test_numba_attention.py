"""Attention in Numba: what its tiles, chunks, threads and layouts could get wrong. Its laws are tested elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from minilm_kernels import reference

pytest.importorskip("numba", reason="Numba is not installed")

from minilm_kernels import cpu
from minilm_kernels.cpu import attention_call, attention_decoding, attention_gradient

ROOT = Path(__file__).resolve().parents[2]


def inputs(generator, Tq, Tk, D=16, Dv=None, B=1, H=2, H_kv=None, dtype=np.float32):
    """query, key, value, grad_output"""
    H_kv, Dv = H_kv or H, Dv or D
    shapes = [(B, H, Tq, D), (B, H_kv, Tk, D), (B, H_kv, Tk, Dv), (B, H, Tq, Dv)]
    return [generator.standard_normal(shape).astype(dtype) for shape in shapes]


def both_passes(kernels, Q, K, V, dO, **options):
    O, residuals = kernels.attention(Q, K, V, **options)
    return [O, *kernels.attention_backward(dO, residuals)]


def wide(x):
    """The same numbers in the next longer float."""
    longer = {"float32": np.float64, "float64": np.longdouble}
    return x.astype(longer[x.dtype.name]) if isinstance(x, np.ndarray) and x.dtype.name in longer else x


def error(a, b):
    return np.sqrt(np.mean((a - b) ** 2)) if a.size else 0.0


def assert_as_good_as_the_formula(arrays, **options):
    """Output and gradients: at most twice the formula's error against float64, and a rounding."""
    ours, plain = both_passes(cpu, *arrays, **options), both_passes(reference, *arrays, **options)
    exact = both_passes(reference, *map(wide, arrays), **{key: wide(x) for key, x in options.items()})
    for name, a, b, x in zip(("output", "query", "key", "value", "bias"), ours, plain, exact):
        if x is None:
            assert a is None
            continue
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        rounding = np.finfo(a.dtype).eps * (np.sqrt(np.mean(x**2)) if x.size else 0)
        assert error(a, x) <= 2 * error(b, x) + rounding, name


# a tile has 96 keys and 64 queries (32 in float64), a block 8 to 64 queries; chunks of keys begin at 512
SIZES = [(1, 1), (1, 64), (31, 65), (32, 32), (33, 95), (64, 96), (65, 97), (127, 129), (130, 7), (3, 600)]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("Tq", "Tk"), SIZES)
def test_edges_of_tiles(generator, Tq, Tk, dtype, causal):
    assert_as_good_as_the_formula(inputs(generator, Tq, Tk, dtype=dtype), causal=causal)


@pytest.mark.parametrize(("D", "Dv"), [(1, 1), (7, 3), (15, 17), (16, 40), (80, 33), (130, 200)])
def test_any_width(generator, D, Dv):
    assert_as_good_as_the_formula(inputs(generator, 40, 70, D, Dv, H=2, H_kv=1), causal=True)


# single draws of large queries whose rounding errors were more than twice the formula's when δ came from the rounded output
UNLUCKY = [
    ((4, 2, 33, 16), 1, 3, [134, 280, 1527, 2198, 2689, 2798]),
    ((2, 2, 64, 16), 1, 3, [29, 203, 250]),
    ((2, 2, 64, 64), 4, 3, [34, 52, 67, 127]),
    ((1, 2, 256, 16), 4, 3, [13, 89, 144, 182]),
]


@pytest.mark.parametrize(
    ("shape", "size", "offset", "seed"), [(*case, seed) for *case, seeds in UNLUCKY for seed in seeds]
)
def test_gradients_of_nearly_certain_weights(shape, size, offset, seed):
    generator = np.random.default_rng(seed)
    Q, K, V, dO = (generator.standard_normal(shape).astype(np.float32) for _ in range(4))
    assert_as_good_as_the_formula([(Q + np.float32(offset)) * np.float32(size), K, V, dO])


def test_sums_over_many_keys(generator):
    """Two thousand weights in one sum would lose more than the formula's pairs of pairs: each tile is summed by itself."""
    Q, K, V, dO = inputs(generator, 2048, 2048, H=1)
    assert_as_good_as_the_formula([4 * Q, K, V, dO])


OPTIONS = {
    "padding": lambda g, B, H, Tq, Tk: {"key_padding_mask": g.random((B, Tk)) < 0.7},
    "padding of 0 and 1": lambda g, B, H, Tq, Tk: {"key_padding_mask": g.integers(0, 2, (B, Tk))},
    "tiles of padding": lambda g, B, H, Tq, Tk: {"key_padding_mask": np.arange(Tk) < np.array([[5], [0]])},
    "bias": lambda g, B, H, Tq, Tk: {"bias": g.standard_normal((B, H, Tq, Tk))},
    "bias of heads": lambda g, B, H, Tq, Tk: {"bias": g.standard_normal((1, H, Tq, Tk))},
    "bias of all": lambda g, B, H, Tq, Tk: {"bias": g.standard_normal((Tq, Tk))},
    "bias of keys": lambda g, B, H, Tq, Tk: {"bias": g.standard_normal((B, 1, 1, Tk))},
    "turned bias": lambda g, B, H, Tq, Tk: {"bias": g.standard_normal((H, Tk, Tq)).swapaxes(1, 2)},
    "bias that hides": lambda g, B, H, Tq, Tk: {"bias": np.where(g.random((B, 1, Tq, Tk)) < 0.5, -np.inf, 1.0)},
    "mask": lambda g, B, H, Tq, Tk: {"bias": g.random((B, 1, Tq, Tk)) < 0.6},
    "mask of keys": lambda g, B, H, Tq, Tk: {"bias": g.random((1, 1, Tk)) < 0.6},
    "dropout": lambda g, B, H, Tq, Tk: {"dropout": 0.3, "seed": 5},
    "everything": lambda g, B, H, Tq, Tk: {
        "dropout": 0.2, "seed": 2**63 + 1, "bias": g.standard_normal((H, Tq, Tk)), "scale": 0.1,
        "key_padding_mask": g.random((B, Tk)) < 0.7,
    },
}  # fmt: skip


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", OPTIONS)
def test_options(generator, name, causal):
    B, H, Tq, Tk = 2, 4, 70, 130
    options = OPTIONS[name](generator, B, H, Tq, Tk)
    if "bias" in options and options["bias"].dtype != bool:
        options["bias"] = options["bias"].astype(np.float32)
    if "key_padding_mask" in options and name == "padding of 0 and 1":
        arrays = inputs(generator, Tq, Tk, B=B, H=H)
        as_numbers = both_passes(cpu, *arrays, **options)
        as_booleans = both_passes(cpu, *arrays, key_padding_mask=options["key_padding_mask"] == 1)
        assert all(np.array_equal(a, b) for a, b in zip(as_numbers[:4], as_booleans[:4]))
        return
    assert_as_good_as_the_formula(inputs(generator, Tq, Tk, B=B, H=H, H_kv=2), causal=causal, **options)


def test_bias_that_is_constant_along_the_keys_has_no_gradient(generator):
    arrays = inputs(generator, 70, 70)
    for shape in [(), (1, 2, 70, 1), (2, 1, 1)]:
        bias = generator.standard_normal(shape).astype(np.float32)
        assert not both_passes(cpu, *arrays, bias=bias)[4].any()


def test_a_row_of_the_most_negative_numbers_is_not_hidden(generator):
    """The score times log2(e) would overflow to −∞; the formula sees a row of equal scores."""
    arrays = inputs(generator, 8, 70)
    bias = np.full((8, 70), np.finfo(np.float32).min, np.float32)
    for kernels in (cpu, reference):
        np.testing.assert_allclose(
            kernels.attention(*arrays[:3], bias=bias)[0][0, :, 0], arrays[2][0].mean(1), atol=1e-6
        )


def test_one_weight_of_1_has_an_exact_gradient(generator):
    """Where all other weights are 0, dS is exactly 0, however large dO V is."""
    Q = np.zeros((1, 1, 40, 64), np.float32)
    Q[..., 0] = 1e4
    K = np.zeros((1, 1, 70, 64), np.float32)
    K[:, :, 66, 0] = 1
    V, dO = (100 * generator.standard_normal((1, 1, T, 64)).astype(np.float32) for T in (70, 40))
    O, dQ, dK, dV, _ = both_passes(cpu, Q, K, V, dO)
    assert np.array_equal(O, np.broadcast_to(V[:, :, 66:67], O.shape))
    assert not dQ.any()
    assert not dK.any()
    np.testing.assert_allclose(dV[0, 0, 66], dO[0, 0].sum(0), rtol=1e-3, atol=1e-3)


def test_nan_stays_where_it_is_seen(generator):
    Q, K, V, dO = inputs(generator, 100, 100)
    Q[0, 0, 70] = np.nan
    O, dQ, dK, _, _ = both_passes(cpu, Q, K, V, dO)
    assert np.isnan(O[0, 0, 70]).all()
    assert np.isnan(dQ[0, 0, 70]).all()
    assert np.isnan(dK[0, 0]).all()
    assert not np.isnan(np.delete(O[0], 70, axis=1)).any()
    Q, K, V, dO = inputs(generator, 100, 100)
    K[0, 1, 3] = np.nan
    assert np.isnan(cpu.attention(Q, K, V)[0][0, 1]).all()
    K[0, 1, 3], V[0, 1, 3, 0] = 0, np.nan
    assert np.isnan(cpu.attention(Q, K, V)[0][0, 1, :, 0]).all()


@pytest.mark.parametrize("options", [{}, {"causal": True, "dropout": 0.1, "seed": 3}])
def test_bits_do_not_depend_on_the_number_of_threads(generator, options):
    arrays = inputs(generator, 300, 700, 32, H=2, H_kv=1)
    bias = generator.standard_normal((1, 2, 300, 700)).astype(np.float32)
    threads = cpu.get_num_threads()
    results = []
    try:
        for n in (1, 2, 5):
            cpu.set_num_threads(n)
            decoded = cpu.attention_decode(arrays[0][:, :, :3], *arrays[1:3])
            results.append([decoded, *both_passes(cpu, *arrays, bias=bias, **options)])
    finally:
        cpu.set_num_threads(threads)
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other))


def test_few_heads_are_cut_into_chunks_of_keys(generator, monkeypatch):
    arrays = inputs(generator, 600, 1100, 16, H=2, H_kv=1)
    counts = []
    backward = attention_gradient.backward
    monkeypatch.setattr(attention_gradient, "backward", lambda *a: (counts.append((a[-2].size, a[-1])), backward(*a)))
    for options in ({}, {"causal": True}, {"key_padding_mask": np.arange(1100)[None] < 300}):
        assert_as_good_as_the_formula(arrays, **options)
        assert counts.pop() == (4 * 2, 4)  # four chunks of keys, the later ones add to dQ in turn


def test_nothing_of_the_size_of_the_scores_is_allocated(generator):
    T, D = 2048, 16
    arrays = inputs(generator, T, T, D, H=1)
    mask = generator.random((T, T)) < 0.9
    both_passes(cpu, *arrays, bias=mask, dropout=0.1, seed=1)  # compiles, and makes the scratch memory
    tracemalloc.start()
    try:
        both_passes(cpu, *arrays, bias=mask, dropout=0.1, seed=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < T * T  # a quarter of one array of scores; it is about 20 arrays of (T, D)
    residuals = cpu.attention(*arrays[:3], dropout=0.1, seed=1)[1]
    kept = sum(a.nbytes for a in residuals if isinstance(a, np.ndarray))
    assert kept < 6 * T * D * 4


def test_merging_the_heads_copies_nothing(generator):
    packed = generator.standard_normal((2, 50, 3 * 4 * 16)).astype(np.float32)
    Q, K, V = (packed[..., i * 64 : (i + 1) * 64].reshape(2, 50, 4, 16).transpose(0, 2, 1, 3) for i in range(3))
    O, residuals = cpu.attention(Q, K, V, causal=True)
    grads = cpu.attention_backward(O, residuals)[:3]
    assert residuals.query.base is packed.base or np.shares_memory(residuals.query, packed)
    for a in (O, *grads):
        assert np.shares_memory(a.transpose(0, 2, 1, 3).reshape(2, 50, 64), a)
    for a, b in zip((O, *grads), both_passes(cpu, *(np.ascontiguousarray(x) for x in (Q, K, V, O)), causal=True)):
        assert np.array_equal(a, b)


def test_any_strides_and_no_writing(generator):
    base = generator.standard_normal((3, 2, 80, 40)).astype(np.float32)
    Q, V = base[0:1, :, ::-1, ::2], base[1:2, :, ::2, 3:23][:, :, ::-1]
    K = np.broadcast_to(base[2, :1, :40, :20], (1, 2, 40, 20))
    dO = np.asfortranarray(generator.standard_normal((1, 2, 80, 20)).astype(np.float32))
    base.flags.writeable = dO.flags.writeable = False
    before = base.copy()
    assert_as_good_as_the_formula([Q, K, V, dO])
    dense = both_passes(cpu, *(np.array(x) for x in (Q, K, V, dO)))
    assert all(np.array_equal(a, b) for a, b in zip(both_passes(cpu, Q, K, V, dO)[:4], dense[:4]))
    assert np.array_equal(base, before)


@pytest.mark.parametrize(("B", "Tq", "Tk"), [(0, 3, 3), (1, 0, 3), (1, 3, 0), (1, 0, 0)])
def test_nothing_to_do(generator, B, Tq, Tk):
    results = both_passes(cpu, *inputs(generator, Tq, Tk, B=B), bias=np.zeros((Tq, Tk), np.float32))
    assert all(not a.any() for a in results)
    assert [a.shape for a in results] == [(B, 2, Tq, 16), (B, 2, Tq, 16), (B, 2, Tk, 16), (B, 2, Tk, 16), (Tq, Tk)]
    Q, K, V, _ = inputs(generator, Tq, Tk, B=B)
    assert not cpu.attention_decode(Q, K, V).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("Tq", "Tk", "D", "Dv"), [(1, 1, 16, 16), (3, 255, 7, 40), (8, 256, 64, 64), (2, 513, 80, 33)])
def test_decoding_a_chunk_at_a_time(generator, Tq, Tk, D, Dv, dtype):
    Q, K, V, _ = inputs(generator, Tq, Tk, D, Dv, B=2, H=4, H_kv=2, dtype=dtype)
    padding = np.arange(Tk) < np.array([[Tk], [1]])
    for options in (
        {}, {"causal": False, "scale": 0.2}, {"key_padding_mask": padding}, {"bias": generator.random((4, 1, Tk)) < 0.5},
        {"bias": generator.standard_normal((2, 1, Tq, Tk)).astype(dtype)},
    ):  # fmt: skip
        ours = cpu.attention_decode(Q, K, V, **options)
        assert ours.dtype == dtype
        exact = reference.attention_decode(*map(wide, (Q, K, V)), **{key: wide(x) for key, x in options.items()})
        plain = reference.attention_decode(Q, K, V, **options)
        assert error(ours, exact) <= 2 * error(plain, exact) + np.finfo(dtype).eps * np.sqrt(np.mean(exact**2))
    assert np.isnan(cpu.attention_decode(Q * np.nan, K, V)).all()


def test_decoding_many_queries_takes_the_tiles(generator):
    Q, K, V, _ = inputs(generator, attention_decoding.FEW + 1, 60)
    assert np.array_equal(cpu.attention_decode(Q, K, V), cpu.attention(Q, K, V, causal=True)[0])


def test_numbers_of_a_call_are_in_the_order_of_their_names(generator):
    Q, K, V, _ = inputs(generator, 3, 5, 8, 6, B=2, H=4, H_kv=2)
    residuals = cpu.attention(Q, K, V, causal=True, bias=np.zeros((4, 3, 5), np.float32))[1]
    call = attention_call.Call(*residuals.floats[:2], 0, residuals.floats[2], 0, 0, *residuals.numbers.tolist())
    assert (call.B, call.H, call.H_kv, call.Tq, call.Tk, call.D, call.Dv, call.causal) == (2, 4, 2, 3, 5, 8, 6, 1)
    assert (call.query_batch, call.query_head, call.query_row) == (4 * 3 * 8, 3 * 8, 8)
    assert (call.output_batch, call.output_head, call.output_row) == (3 * 4 * 6, 6, 4 * 6)
    assert (call.bias_batch, call.bias_head, call.bias_row, call.bias_column) == (0, 15, 5, 1)
    assert call.mask_head == call.mask == call.padding == 0
    assert (call.query, call.output) == (Q.ctypes.data, residuals.output.ctypes.data)


def run_these_tests(environment, tests):
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__, "-k", tests]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slow
def test_without_a_compiler():
    """The same source as ordinary Python."""
    run_these_tests({"NUMBA_DISABLE_JIT": "1"}, "(edges and (31-65 or 33-95)) or nothing_to_do or (options and mask)")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["haswell", "generic"])
def test_for_other_processors(name, tmp_path):
    """Narrower vectors, fewer registers, no fused multiply-add."""
    run_these_tests({"NUMBA_CPU_NAME": name, "MINILM_CACHE_DIR": str(tmp_path)}, "not other and not compiler")
