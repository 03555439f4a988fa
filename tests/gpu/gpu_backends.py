"""The GPU kernels as backends for the laws of tests/properties: run by g++, by the PTX simulator, or on a real device."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from gpu.emulated import EmulatedModule

from minilm_kernels import gpu
from minilm_kernels.gpu import nvrtc, simulate
from minilm_kernels.gpu.compile import Device, running_on


class OnHost:
    """The kernels on NumPy arrays, on a device that is no device."""

    def __init__(self, name: str, module: Callable[..., Any], capability: int = 80, xp: Any = np):
        self.name, self.size = name, "medium"
        self.device = Device(xp, module, capability, 4)

    def __getattr__(self, kernel: str) -> Callable[..., Any]:
        function = getattr(gpu, kernel)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with running_on(self.device):
                return function(*args, **kwargs)

        return call

    def __repr__(self) -> str:
        return self.name


@functools.cache
def emulated(order: int = 0, sanitize: str | None = None, capability: int = 80) -> OnHost:
    """By g++; order: of a block's threads, 0 forward, 1 backward, 2 shuffled."""
    module = functools.partial(EmulatedModule, order=order, seed=order, sanitize=sanitize)
    return OnHost(f"g++, order {order}", module, capability)


@functools.cache
def simulated(capability: int = 80) -> OnHost:
    """By the PTX simulator, which runs what NVRTC made, and checks every access. Empty arrays are unwritten memory there."""
    module = functools.partial(simulate.Module, arch=f"compute_{capability}")
    return OnHost(f"PTX for {capability / 10}", module, capability, simulate.namespace)


def no_simulator() -> str | None:
    """Why the simulator cannot compile here, or None."""
    return None if nvrtc.find() else "NVRTC is not installed: pip install -r tests/gpu/requirements.txt"
