"""`minilm bench gpu`: its cases, its comparison and its table; the calls themselves are NumPy's here."""

import argparse
import json
import re
import sys

import numpy as np
import pytest

from minilm.bench import gpu, gpu_pairs, train
from minilm.bench.gpu_pairs import GpuCase
from minilm.errors import InputError, MissingDependencyError


class Torch:
    """As much of PyTorch as the measuring needs."""

    class cuda:  # noqa: N801
        waited = 0

        @staticmethod
        def synchronize():
            Torch.cuda.waited += 1


OPTIONS = argparse.Namespace(turns=3, turn=0.001)


def case(ours, theirs, dtype="float32", unit="GB/s"):
    return GpuCase("rows", "a kernel", dtype, lambda torch: (ours, theirs, "F.kernel"), 2e6, unit)


def test_the_table_has_every_group_and_each_line_once():
    for quick in (True, False):
        made = gpu_pairs.cases(quick)
        assert {c.group for c in made} == set(gpu.GROUPS)
        assert len({c.name for c in made}) == len(made)
        assert {c.dtype for c in made if c.group == "attention"} == {"float32", "float16", "bfloat16"}
    flops = {c.name: c.work for c in made}
    whole = flops["attention forward (8, 12, 1024, 64) float16"]
    assert whole == 4 * 8 * 12 * 1024 * 1024 * 64
    assert flops["attention forward causal (8, 12, 1024, 64) float16"] == whole / 2
    assert flops["attention backward (8, 12, 1024, 64) float16"] == 2.5 * whole


def test_a_line_is_compared_and_timed():
    x = np.ones(10, np.float32)
    found = gpu.measure(case(lambda: (x,), lambda: (x + np.float32(1e-6),)), Torch, OPTIONS)
    assert (found["state"], len(found["seconds"]["ours"]), len(found["seconds"]["torch"])) == ("", 3, 3)
    assert found["difference"] == pytest.approx(1e-6, rel=0.1)
    assert found["rate"] == pytest.approx(2e6 / np.median(found["seconds"]["ours"]) / 1e9)
    assert Torch.cuda.waited > 12
    assert len(gpu.cells(found)) == len(gpu.HEAD)


@pytest.mark.parametrize(("dtype", "off", "state"), [
    ("float32", 1e-3, "DIFFERS"), ("float16", 1e-3, ""), ("float16", 0.02, "DIFFERS"), ("bfloat16", 0.02, ""),
    ("bfloat16", np.nan, "DIFFERS"),
])  # fmt: skip
def test_how_far_two_results_may_be_apart(dtype, off, state):
    x = np.ones(10, np.float32)
    found = gpu.measure(case(lambda: (x,), lambda: (x + np.float32(off),), dtype), Torch, OPTIONS)
    assert found["state"] == state


def test_a_kernel_that_fails_does_not_cost_the_others(capsys):
    def broken():
        raise ValueError("no such tile\nand more")

    x = np.ones(3, np.float32)
    results = []
    for c in (case(broken, broken), case(lambda: (x,), lambda: (x,))):
        results.append(gpu.measure(c, Torch, OPTIONS))
    assert [result["state"] for result in results] == ["failed", ""]
    text = gpu.summary(results)
    assert "FAILED: a kernel float32: ValueError: no such tile" in text
    assert re.search(r"rows: mean ratio \d", text)
    assert gpu.cells(results[0])[6] == "failed"
    json.dumps(results)


def test_wishes_that_cannot_be_met_are_one_sentence():
    with pytest.raises(InputError, match=r"no group 'atention' of kernels; choose from attention, decode"):
        gpu.main(["atention"])
    with pytest.raises(InputError, match="no kernel's line contains 'nothing'"):
        gpu.main(["--only", "nothing"])


def test_without_a_gpu_it_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(MissingDependencyError, match="computing on a GPU needs cupy"):
        gpu.main(["--quick"])


def test_a_training_step_asks_for_what_it_needs_before_it_begins(monkeypatch):
    with pytest.raises(InputError, match="on the CPU minilm computes in float32; leave --precision out"):
        train.main(["--precision", "bfloat16"])
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(MissingDependencyError, match="computing on a GPU needs cupy"):
        train.main(["--device", "cuda"])
