"""What `minilm doctor` says of GPUs, on machines of every kind."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace

import pytest

from minilm import doctor_gpu
from minilm.doctor_gpu import Driver, cupy_lines, driver_line, find_driver

CARD = Driver(12040, ["NVIDIA GeForce RTX 4070"])


def fake_cupy(monkeypatch, error=None, built=12090, capability="89"):
    """A CuPy that finds one GPU, or whose every question about one ends in `error`."""

    def count():
        if error:
            raise RuntimeError(error)
        return 1

    class Numbers:
        def __add__(self, other):
            return self

        def sum(self):
            return 6

    runtime = SimpleNamespace(getDeviceCount=count, runtimeGetVersion=lambda: built)
    device = SimpleNamespace(mem_info=(3 << 30, 12 << 30), compute_capability=capability)
    cuda = SimpleNamespace(runtime=runtime, Device=lambda i: device)
    cupy = SimpleNamespace(__version__="14.2.0", cuda=cuda, arange=lambda n: Numbers())
    monkeypatch.setitem(sys.modules, "cupy", cupy)


class Library:
    """libcuda, with so many GPUs."""

    def __init__(self, version, cards, error=0):
        self.version, self.cards, self.error = version, cards, error

    def cuDriverGetVersion(self, place):
        place._obj.value = self.version
        return 0

    def cuInit(self, flags):
        return self.error

    def cuDeviceGetCount(self, place):
        place._obj.value = len(self.cards)
        return 0

    def cuDeviceGet(self, place, i):
        place._obj.value = i
        return 0

    def cuDeviceGetName(self, text, size, device):
        text.value = self.cards[device.value].encode()
        return 0


def test_the_driver_is_asked_itself():
    assert find_driver(Library(12040, ["A", "B"])) == Driver(12040, ["A", "B"])
    assert find_driver(Library(12040, ["A"], error=100)) == Driver(12040, [])
    assert find_driver(Library(0, [])) is None


def test_a_machine_without_a_driver(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
    assert find_driver() is None
    assert "no NVIDIA driver" in driver_line(None)
    assert "sees no GPU" in driver_line(Driver(12040, []))
    assert driver_line(CARD).split()[:1] == ["ok"]
    assert "CUDA 12.4: NVIDIA GeForce RTX 4070" in driver_line(CARD)


def test_what_to_install_follows_the_driver(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert cupy_lines(CARD) == ['  missing  cupy (NVIDIA GPUs only): pip install "minilm[cuda12]"']
    assert 'pip install "minilm[cuda13]"' in cupy_lines(Driver(13010, ["A"]))[0]
    assert "whichever fits your driver" in cupy_lines(None)[0]


@pytest.mark.parametrize(("driver", "error", "built", "words"), [
    (None, "cudaErrorInsufficientDriver", 12090, ["there is no NVIDIA driver", "minilm runs on the CPU"]),
    (Driver(12040, []), "cudaErrorNoDevice", 12090, ["the driver sees none (cudaErrorNoDevice)"]),
    (CARD, "cudaErrorInsufficientDriver", 13020,
     ["for CUDA 13.2, the driver for 12.4", "pip uninstall cupy-cuda13x", '"minilm[cuda12]"', "a newer driver"]),
    (CARD, "libnvrtc.so.12: cannot open", 12090, ["a library of CUDA is missing", 'pip install "cupy-cuda12x[ctk]"']),
    (CARD, "out of memory", 12090, ["no GPU works: out of memory;"]),
])  # fmt: skip
def test_a_cupy_that_cannot_compute(monkeypatch, driver, error, built, words):
    fake_cupy(monkeypatch, error, built)
    (line,) = cupy_lines(driver)
    assert line.startswith("  broken   cupy 14.2.0 is installed but no GPU works: ")
    for word in words:
        assert word in line


def test_a_cupy_that_computes(monkeypatch):
    fake_cupy(monkeypatch)
    assert cupy_lines(CARD) == [
        "  ok       cupy 14.2.0 for CUDA 12.9: computes; minilm train --device cuda",
        "           GPU 0: compute capability 89, 3.0 of 12.0 GiB free",
    ]
    fake_cupy(monkeypatch, capability="61")
    assert "--precision float32" in cupy_lines(CARD)[-1]


def test_all_lines(monkeypatch):
    monkeypatch.setattr(doctor_gpu, "find_driver", lambda: CARD)
    fake_cupy(monkeypatch)
    assert len(doctor_gpu.gpu_lines()) == 3
