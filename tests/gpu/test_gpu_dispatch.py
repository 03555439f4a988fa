"""Who gets the GPU kernels: signatures, CuPy without a GPU, heads that are too wide, files in the package."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import warnings
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import pytest

import minilm_kernels
from minilm_kernels import KERNELS, dispatch, gpu, reference
from minilm_kernels.gpu import compile as compiling
from minilm_kernels.gpu import flash
from minilm_kernels.gpu.compile import Device, device_of, running_on

ROOT = Path(__file__).resolve().parents[2]
CUPY = """
__version__ = "14.2.0"
class CUDARuntimeError(RuntimeError): pass
class cuda:
    class runtime:
        CUDARuntimeError = CUDARuntimeError
        @staticmethod
        def getDeviceCount(): raise CUDARuntimeError("cudaErrorInsufficientDriver: the driver is too old")
"""
PROGRAM = """
import numpy as np, minilm_kernels as kernels
kernels.gelu(np.ones(3, np.float32))
print(kernels.active(), "serves")
try:
    kernels.use_kernels("cupy")
except ImportError as error:
    print(error)
"""


def parameters(function):
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", KERNELS)
def test_the_signature_is_the_reference_s(name):
    assert parameters(getattr(gpu, name)) == parameters(getattr(reference, name))


def test_cupy_without_a_gpu_does_not_disturb_the_cpu(tmp_path):
    (tmp_path / "cupy.py").write_text(CUPY)
    folders = [str(tmp_path), str(ROOT), str(ROOT / "kernels")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders), "MINILM_KERNELS": ""}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first in ("numba serves", "reference serves")
    assert second == (
        "the cupy kernels cannot run here: CuPy 14.2.0 finds no GPU (cudaErrorInsufficientDriver: the driver is too old)"
    )


@pytest.mark.parametrize("gradients", [[], ()])
def test_clipping_nothing_needs_no_device(gradients, monkeypatch):
    """No array says where to compute: any kernels may be chosen."""
    monkeypatch.setattr(dispatch, "_chosen", ContextVar("chosen", default="cupy"))
    assert minilm_kernels.clip_by_norm(gradients, 1.0) == 0.0


def test_a_numpy_array_is_refused():
    with pytest.raises(TypeError, match="cupy kernels cannot work on a numpy array"):
        gpu.gelu(np.ones(3, np.float32))


def test_a_device_is_for_the_inside_of_with():
    device = Device(np, None, 80, 4)
    with running_on(device):
        assert device_of(np.ones(1)) is device
    with pytest.raises(TypeError):
        device_of(np.ones(1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_wider_heads_are_composed_and_it_is_said_once(dtype, generator, monkeypatch):
    monkeypatch.setattr(flash, "_said", [])
    q, k, v = (generator.standard_normal((1, 2, 5, 130)).astype(dtype) for _ in range(3))
    bias = generator.standard_normal((5, 5)).astype(dtype)
    place = np.zeros((1, 2, 5, 130), dtype)
    with running_on(Device(np, None, 80, 4)):
        with pytest.warns(UserWarning, match="heads of 130 features in float"):
            output, residuals = gpu.attention(q, k, v, causal=True, bias=bias)
        with warnings.catch_warnings(action="error"):
            again = gpu.attention_decode(q, k, v, bias=bias)
        gradients = gpu.attention_backward(output, residuals, out=(place, place.copy(), place.copy()))
    wide = [a.astype(np.float64) for a in (q, k, v)]
    exact, kept = reference.attention(*wide, causal=True, bias=bias.astype(np.float64))
    tolerance = {np.float32: 1e-5, np.float64: 1e-13, np.float16: 1e-2}[dtype]
    assert output.dtype == again.dtype == dtype
    assert gradients[0] is place
    np.testing.assert_allclose(output, exact, atol=tolerance)
    np.testing.assert_allclose(again, exact, atol=tolerance)
    for got, want in zip(gradients, reference.attention_backward(output.astype(np.float64), kept)):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, want, atol=10 * tolerance)


def test_what_is_said_of_wide_heads_is_true_of_the_gpu(generator, monkeypatch):
    """float64 on Turing has less room than the other types."""
    monkeypatch.setattr(flash, "_said", [])
    q = generator.standard_normal((1, 1, 3, 100))
    with running_on(Device(np, None, 75, 4)), pytest.warns(UserWarning, match=r"\(it goes up to 96\)"):
        gpu.attention(q, q, q)


def test_every_source_is_in_the_package():
    names = {file.name for file in (*compiling.FOLDER.glob("*.cu"), *compiling.FOLDER.glob("*.cuh"))}
    included = {
        line.split('"')[1]
        for name in names
        for line in (compiling.FOLDER / name).read_text(encoding="utf-8").splitlines()
        if line.startswith('#include "')
    }
    assert {name for name in names if name.endswith(".cu")} == set(compiling.FILES)
    assert {name for name in names if name.endswith(".cuh")} == included
    assert '"gpu/*.cu", "gpu/*.cuh"' in (ROOT / "setup.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", sorted(compiling.FILES))
def test_a_source_needs_no_other_file(file):
    text = compiling.source(file)
    assert "#include" not in text
    assert "#pragma once" not in text
    assert f'#line 2 "{file}"' not in text
    assert 'line 1 "types.cuh"' in text
