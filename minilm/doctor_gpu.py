"""What `minilm doctor` says of GPUs: the driver, CuPy, the compiler NVRTC, and where one of them cannot be used, why."""

from __future__ import annotations

import ctypes
import importlib
import sys
from typing import Any, NamedTuple

from minilm.optional import INSTALL_HINTS

DRIVERS = {"win32": "nvcuda.dll"}  # elsewhere:
DRIVER = "libcuda.so.1"
OLDEST = 75  # the first architecture with the tensor cores that the 16-bit kernels use


class Driver(NamedTuple):
    """NVIDIA's driver: the newest CUDA that it knows, such as 12040 for 12.4, and the names of the GPUs."""

    cuda: int
    names: list[str]


def gpu_lines() -> list[str]:
    """One fact a line: ok, missing (with what to type) or broken (with the reason)."""
    driver = find_driver()
    return [driver_line(driver), *cupy_lines(driver)]


def find_driver(library: Any = None) -> Driver | None:
    """The driver, asked directly, so that CuPy need not work; None if there is none."""
    try:
        cuda = library or ctypes.CDLL(DRIVERS.get(sys.platform, DRIVER))
    except OSError:
        return None
    version, count = ctypes.c_int(), ctypes.c_int()
    if cuda.cuDriverGetVersion(ctypes.byref(version)) or not version.value:
        return None
    names = []
    if cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0:
        for i in range(count.value):
            device, text = ctypes.c_int(), ctypes.create_string_buffer(256)
            if cuda.cuDeviceGet(ctypes.byref(device), i) == 0 and cuda.cuDeviceGetName(text, 256, device) == 0:
                names.append(text.value.decode(errors="replace"))
    return Driver(version.value, names)


def driver_line(driver: Driver | None) -> str:
    if driver is None:
        return "           no NVIDIA driver, so no GPU: minilm runs on the CPU"
    if not driver.names:
        return f"  broken   NVIDIA's driver for CUDA {dotted(driver.cuda)} sees no GPU; is it shown to this container?"
    return f"  ok       NVIDIA's driver for CUDA {dotted(driver.cuda)}: {', '.join(driver.names)}"


def cupy_lines(driver: Driver | None) -> list[str]:
    """CuPy and what it needs, found out by using it: it imports well where it cannot compute."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError:
        return [f"  missing  cupy (NVIDIA GPUs only): {hint(driver)}"]
    except Exception as error:
        return [f"  broken   cupy cannot be imported: {short(error)}; {hint(driver)}"]
    try:
        devices = cupy.cuda.runtime.getDeviceCount()
        built = cupy.cuda.runtime.runtimeGetVersion()
        if int((cupy.arange(3) + 1).sum()) != 6:
            raise RuntimeError("the sum of 1, 2, 3 was not 6")
    except Exception as error:
        return [
            f"  broken   cupy {cupy.__version__} is installed but no GPU works: {reason(error, driver, cupy)}; "
            "minilm runs on the CPU"
        ]
    lines = [f"  ok       cupy {cupy.__version__} for CUDA {dotted(built)}: computes; minilm train --device cuda"]
    for i in range(devices):
        device = cupy.cuda.Device(i)
        free, total = (size / 2**30 for size in device.mem_info)
        lines.append(
            f"           GPU {i}: compute capability {device.compute_capability}, {free:.1f} of {total:.1f} GiB free"
        )
        if int(device.compute_capability) < OLDEST:
            lines.append("           it has no 16-bit kernels here: train with --precision float32")
    return lines


def reason(error: Exception, driver: Driver | None, cupy: Any) -> str:
    """Why CuPy cannot compute, and what to install."""
    text = short(error)
    if driver is None:
        return f"there is no NVIDIA driver ({text}); install one if this machine has an NVIDIA GPU"
    if not driver.names:
        return f"the driver sees none ({text})"
    built = cupy.cuda.runtime.runtimeGetVersion()
    if built // 1000 > driver.cuda // 1000:
        return (
            f"it is for CUDA {dotted(built)}, the driver for {dotted(driver.cuda)} ({text}); take the other package: "
            f'pip uninstall cupy-cuda{built // 1000}x, then pip install "minilm[cuda{driver.cuda // 1000}]", or a newer driver'
        )
    if any(word in text.lower() for word in ("nvrtc", "libcu", "cuda_fp16", "header", "cuda_path")):
        return f'a library of CUDA is missing ({text}); pip install "cupy-cuda{built // 1000}x[ctk]"'
    return text


def hint(driver: Driver | None) -> str:
    """Which of the extras fits the driver."""
    if driver is None or not 12 <= driver.cuda // 1000 <= 13:
        return INSTALL_HINTS["cupy"]
    return f'pip install "minilm[cuda{driver.cuda // 1000}]"'


def dotted(version: int) -> str:
    """12040 → 12.4."""
    return f"{version // 1000}.{version % 1000 // 10}"


def short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
