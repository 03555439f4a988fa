"""`minilm bench ladder`: what is planned, counted and written. Nothing here is timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import combinations
from math import log10

import pytest

pytest.importorskip("numba", reason="the ladder needs Numba")

from minilm.bench import ladder, ladder_memory, ladder_plots, ladder_report
from minilm.bench.ladder_report import Result
from minilm_kernels.ladder import ATTENTION, PRODUCT

LIMITS = {
    "threads": 2, "peak": {1: 200e9, 2: 400e9}, "memory": {1: 10e9, 2: 16e9}, "cache": 90e9,
    "triad_bytes": 2 << 30, "last_cache_bytes": 1 << 25,
}  # fmt: skip


def result(number="5", title="tiles", seconds=1e-3, ladder="attention", intensity=30.0, faster=None, threads=1):
    flops = 10**8
    shape = (1, 4, 1024, 64)
    return Result(
        ladder, number, title, "an idea", shape, threads, seconds, flops, int(flops / intensity), None, faster
    )


def test_each_rung_is_planned_once_and_compared_with_the_right_one():
    cases = [*ladder.plan("attention", quick=False), *ladder.plan("product", quick=False)]
    assert [c.rung for c in cases if not c.engine] == [*ATTENTION, *PRODUCT]
    assert [c.engine for c in cases if c.engine] == ["attention", "attention_backward", "matmul"]
    before = {(c.ladder, c.engine or c.rung.number): c.before for c in cases}
    assert before["attention", "1"] is before["attention", "9a"] is before["product", "6a"] is None
    assert before["attention", "6"] == "5"
    assert before["attention", "9"] == "9a"
    assert before["product", "6"] == "6a"
    assert before["attention", "attention_backward"] == "9"
    assert before["product", "matmul"] == "5"
    assert all(c.before is None or (c.ladder, c.before) in before for c in cases)


def test_quick_is_smaller():
    for kind in ("attention", "product"):
        for slow, quick in zip(ladder.plan(kind, quick=False), ladder.plan(kind, quick=True)):
            assert quick.rung is slow.rung
            assert all(q <= s for q, s in zip(quick.shape, slow.shape))


@pytest.fixture(autouse=True)
def _same_number_of_threads_afterwards():
    from minilm_kernels.cpu import pool

    before = pool.get_num_threads()
    yield
    pool.set_num_threads(before)


def test_a_measured_rung_has_its_own_counts():
    case = next(c for c in ladder.plan("attention", quick=True) if c.rung.number == "2")
    measured = ladder.measure(case, threads=2, seconds=0.0)
    assert measured.threads == 1
    assert measured.flops == case.rung.flops(case.shape)
    assert measured.bytes == case.rung.traffic(case.shape)
    assert measured.seconds > 0


def test_the_table_says_when_a_rung_is_slower():
    text = ladder_report.document(
        [result(faster=0.25), result("6", "exp2", faster=1.4)], LIMITS, ["cpu.matmul is not there."], 2, True
    )
    assert "| 0.25 (slower) |" in text
    assert "Slower than the rung before, and kept: 5 (tiles)." in text
    assert "| 1.40 |" in text
    assert "Taken with --quick" in text
    assert "cpu.matmul is not there." in text
    assert "beyond the last cache (32 MiB)" in text
    assert "NOT" not in ladder_report.describe(LIMITS)
    assert "NOT beyond" in ladder_report.describe({**LIMITS, "triad_bytes": 1 << 20})


@pytest.mark.parametrize(
    ("nbytes", "text"), [(999, "999 B"), (1536, "1.5 KiB"), (64 << 20, "64 MiB"), (3 << 30, "3 GiB")]
)
def test_amount(nbytes, text):
    assert ladder_report.amount(nbytes) == text


def test_labels_do_not_touch():
    seconds = [1e-3, 1.01e-3, 1.02e-3, 1.3e-3, 5e-3, 5.1e-3, 1.0, 1.5]
    points = [result(str(i), seconds=s, intensity=25 + i % 3) for i, s in enumerate(seconds)]
    points += [result("x", seconds=s, intensity=0.3) for s in (1e-3, 1.1e-3)]
    places = ladder_plots.label_places(points)
    for (x1, y1), (x2, y2) in combinations(places, 2):
        assert x1 != x2 or abs(log10(y1 / y2)) >= ladder_plots.LABEL_GAP * 0.999
    by_label, by_speed = (sorted(range(8), key=key) for key in (lambda i: places[i][1], lambda i: points[i].gflops))
    assert by_label == by_speed


def test_pictures_are_written(tmp_path):
    points = [
        result(),
        result("1", seconds=1.0, intensity=0.25),
        result("minilm", "matmul", ladder="product", threads=2),
    ]
    ladder_plots.draw_roofline(tmp_path / "roofline.png", points, LIMITS)
    memory = {"shape": ["B=1"], "rungs": {
        "rung5_tiles": {"title": "5 tiles", "counted": {128: 5000, 256: 5000}, "measured": {256: 70000}},
        "rung6_exp2": {"title": "6 exp2", "counted": {128: 5000, 256: 5000}, "measured": {}},
    }}  # fmt: skip
    ladder_plots.draw_memory(tmp_path / "memory.png", memory)
    for name in ("roofline.png", "memory.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["memory.png", "roofline.png"]


def test_measured_memory_is_what_numpy_allocates():
    """The NumPy rung at T = 1024 with two heads: three arrays of scores of 8 MiB. In a process that keeps no freed memory."""
    if not ladder_memory.forget_peak():
        pytest.skip("this system does not let a process reset its peak memory")
    program = "from minilm.bench import ladder_memory; ladder_memory.measure_here('rung2_numpy', 1, [1024])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=120)
    assert 16 << 20 < json.loads(done.stdout)["1024"] < 40 << 20
