"""`minilm selftest --device cuda`, on the stand-in for CuPy and without any GPU."""

from __future__ import annotations

import math

import numpy as np
import pytest
from properties.kernel_backends import why_not

import minilm_kernels
from minilm import selftest
from minilm.cli import main
from minilm.devices import CPU


@pytest.mark.skipif(not why_not("cupy"), reason="there is a GPU")
def test_without_a_gpu_it_says_why(capsys):
    assert main(["selftest", "--device", "cuda"]) == 2
    said = capsys.readouterr().err
    assert "needs cupy" in said or "finds no GPU" in said
    assert main(["selftest", "--device", "cpu"]) == 2
    assert "give --device cuda" in capsys.readouterr().err


def test_a_wrong_kernel_is_seen(monkeypatch):
    said = []
    with minilm_kernels.use_kernels("reference"):
        assert selftest.check_kernels(CPU, np.float32, said.append) == 0
        right = minilm_kernels.rms_norm
        monkeypatch.setattr(minilm_kernels, "rms_norm", lambda *args, **kwargs: right(*args, **kwargs, eps=1e-3))
        assert selftest.check_kernels(CPU, np.float32, said.append) == 1
    assert sum("WRONG" in line for line in said) == 1


def test_a_result_that_is_no_number_is_seen(monkeypatch):
    said = []
    with minilm_kernels.use_kernels("reference"):
        right = minilm_kernels.rms_norm

        def broken(*args, **kwargs):
            y, residuals = right(*args, **kwargs)
            y.flat[3] = np.nan
            return y, residuals

        monkeypatch.setattr(minilm_kernels, "rms_norm", broken)
        assert selftest.check_kernels(CPU, np.float32, said.append) == 1
    assert sum("WRONG" in line for line in said) == 1


def test_a_wrong_training_is_seen():
    said = []
    assert selftest.compare([4.0, 3.0], [4.0, 3.1], "float32", 1e-2, said.append)
    assert selftest.compare([4.0, 3.0], [4.0, math.nan], "float32", 1e-2, said.append)
    assert not selftest.compare([4.0, 3.0], [4.0, 3.01], "float32", 1e-2, said.append)
    assert ["WRONG" in line for line in said] == [True, True, False]


@pytest.mark.usefixtures("cupy")
def test_16_bits_compute_otherwise_and_nearly_the_same():
    shape = {"hidden_size": 16, "num_layers": 1}
    with minilm_kernels.use_kernels("reference"):
        full, half = (selftest.losses_of("cuda", precision, **shape)[0] for precision in ("float32", "float16"))
    assert full != half
    assert not selftest.compare(full, half, "float16", selftest.HALVES_AGREE["float16"], str)


@pytest.mark.slow
def test_on_the_stand_in():
    from gpu import stand_in

    said = []
    with stand_in.installed():
        assert selftest.selftest("cuda", said.append, bench=False) == 0, "\n".join(said)
    assert said[-1] == "\nall is right"


@pytest.mark.gpu
@pytest.mark.skipif(bool(why_not("cupy")), reason=str(why_not("cupy")))
def test_on_a_gpu():
    said = []
    assert selftest.selftest("cuda", said.append) == 0, "\n".join(said)
