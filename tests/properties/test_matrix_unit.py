"""Products on the matrix unit: their laws with the compiled kernels, where the processor has one, and their bits."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties.kernel_backends import Backend, has_numba
from properties.matrix_unit_laws import (
    feed_forward_adds_to_gradients,
    feed_forward_on_the_matrix_unit,
    products_on_the_matrix_unit,
    small_products_too,
    sums_cut_along_k,
)

import minilm_kernels

pytestmark = pytest.mark.skipif(not has_numba(), reason="Numba is not installed")


@pytest.fixture
def unit():
    """gemm_product, with every product on the unit."""
    from minilm_kernels.cpu.target import MATRIX_UNIT

    if not MATRIX_UNIT:
        pytest.skip("this processor has no matrix unit")
    with small_products_too(minilm_kernels) as product, minilm_kernels.use_kernels("numba"):
        yield product


@pytest.mark.parametrize(
    "law",
    [products_on_the_matrix_unit, sums_cut_along_k, feed_forward_on_the_matrix_unit, feed_forward_adds_to_gradients],
)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_against_float64(data, law):
    from minilm_kernels.cpu.target import MATRIX_UNIT

    if not MATRIX_UNIT:
        pytest.skip("this processor has no matrix unit")
    with minilm_kernels.use_kernels("numba"):
        law(Backend("numba", minilm_kernels, size="medium"), data.draw)


def drawn(generator, *shape):
    return generator.standard_normal(shape).astype(np.float32)


def test_errors_are_smaller_than_those_of_vectors(unit, generator, monkeypatch):
    a, b = drawn(generator, 200, 600), drawn(generator, 600, 130)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    on_unit = np.abs(minilm_kernels.matmul(a, b) - exact)
    monkeypatch.setattr(unit, "MATRIX_UNIT", False)
    on_vectors = np.abs(minilm_kernels.matmul(a, b) - exact)
    assert 0 < on_unit.mean() < on_vectors.mean()


def test_bits_do_not_depend_on_the_number_of_threads(unit, generator):
    from minilm_kernels.cpu import pool

    x, w, b, g = (
        drawn(generator, 300, 500),
        drawn(generator, 700, 500),
        drawn(generator, 700),
        drawn(generator, 300, 700),
    )
    x[40, 3] = np.inf
    before, results = pool.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            pool.set_num_threads(threads)
            with np.errstate(all="ignore"):
                y, residuals = minilm_kernels.linear(x, w, b, activation="gelu")
                results.append((y, *minilm_kernels.linear_backward(g, residuals)[:3]))
    finally:
        pool.set_num_threads(before)
    for other in results[1:]:
        for mine, theirs in zip(results[0], other):
            assert mine.tobytes() == theirs.tobytes()


def test_bits_of_sums_cut_along_k_do_not_depend_on_the_number_of_threads(generator):
    from minilm_kernels.cpu import pool
    from minilm_kernels.cpu.target import MATRIX_UNIT

    if not MATRIX_UNIT:
        pytest.skip("this processor has no matrix unit")
    a, b = drawn(generator, 1600, 150).T, drawn(generator, 1600, 130)
    before, results = pool.get_num_threads(), []
    try:
        with small_products_too(minilm_kernels, chunks=True), minilm_kernels.use_kernels("numba"):
            for threads in (1, 2, 3, 7):
                pool.set_num_threads(threads)
                results.append(minilm_kernels.matmul(a, b).tobytes())
    finally:
        pool.set_num_threads(before)
    assert len(set(results)) == 1


def test_a_sum_of_very_many_numbers_takes_bearable_room():
    from minilm_kernels.cpu.gemm_plan import worth_chunks

    assert worth_chunks(128, 128, 4096)
    assert not worth_chunks(128, 128, 1 << 20)  # 2,731 chunks of 64 KiB


def test_a_row_with_infinity_leaves_the_other_rows_alone(unit, generator):
    a, b = drawn(generator, 100, 64), drawn(generator, 64, 50)
    clean = minilm_kernels.matmul(a, b)
    a[70, 5] = np.inf
    result = minilm_kernels.matmul(a, b)
    others = np.r_[0:64, 96:100]  # not in the same panel
    assert np.array_equal(result[others], clean[others])
    assert np.array_equal(result[70], np.copysign(np.inf, b[5]))
    np.testing.assert_allclose(np.delete(result, 70, axis=0), np.delete(clean, 70, axis=0), rtol=0, atol=1e-4)


def test_accumulating(unit, generator):
    a, b, c = drawn(generator, 90, 400), drawn(generator, 400, 70), drawn(generator, 90, 70)
    exact = c.astype(np.float64) + a.astype(np.float64) @ b.astype(np.float64)
    result = minilm_kernels.matmul(a, b, out=c, accumulate=True)
    assert result is c
    np.testing.assert_allclose(c, exact, rtol=0, atol=2e-4)


def test_it_is_used_and_can_be_switched_off(generator):
    program = (
        "from minilm_kernels.cpu import gemm_product as p, target\n"
        "import numpy as np; p.worth_splitting = lambda *s: True; said = []\n"
        "p.gemm_split = lambda *a: said.append(1) or 0\n"
        "a = np.ones((64, 64), np.float32); p.matmul(a, a); print(target.MATRIX_UNIT, len(said))"
    )
    from minilm_kernels.cpu.target import MATRIX_UNIT

    for switch, expected in (("1", MATRIX_UNIT), ("0", False)):
        environment = os.environ | {"MINILM_MATRIX_UNIT": switch, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == [str(expected), str(int(expected))]
