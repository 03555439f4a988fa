"""From a .cu file to a kernel that can be launched: on a device through CuPy, or on whatever repeats CuPy's interface.

The kernels are templates; a launch asks for one of them by its expression, `attention_forward<float, 64, 64, 32>`, and the
first launch compiles it (modules.py keeps the program on disk). The .cuh files are put into the text here, so that a kernel
is one string and needs no folder to be found in.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from minilm_kernels.gpu import modules, nvrtc
from minilm_kernels.gpu.plan import ASKED_ABOVE, MOST_BLOCKS, Plan

Array = Any

FOLDER = Path(__file__).parent
OPTIONS = ("-std=c++17",)
NULL = np.uintp(0)  # a null pointer; CuPy would crash on None
NAMES = {"float32": "float", "float64": "double", "float16": "f16", "bfloat16": "bf16"}  # of the dtypes, in C++

# which file a kernel stands in
FILES = {
    "attention_forward.cu": ("attention_forward",),
    "attention_delta.cu": ("attention_delta",),
    "attention_query_gradient.cu": ("attention_query_gradient",),
    "attention_key_gradient.cu": ("attention_key_gradient",),
    "attention_bias_gradient.cu": ("attention_bias_gradient",),
    "attention_decode.cu": ("attention_decode_part", "attention_decode_few", "attention_decode_join"),
    "tensor_forward.cu": ("tensor_forward",),
    "tensor_query_gradient.cu": ("tensor_query_gradient",),
    "tensor_key_gradient.cu": ("tensor_key_gradient",),
    "activations.cu": ("activation", "activation_gradient", "silu_mul", "silu_mul_gradient", "linear_end"),
    "residual.cu": ("bias_residual_dropout", "rotary"),
    "norms.cu": ("norm", "norm_gradient", "norm_weight_gradient"),
    "sums.cu": ("column_sums", "add_parts", "squares", "clip_factor"),
    "update.cu": ("adamw", "scale_by", "embedding_add"),
    "loss.cu": ("count_targets", "cross_entropy", "loss_sum", "scale_rows"),
}
FILE_OF = {kernel: file for file, kernels in FILES.items() for kernel in kernels}


class Device:
    """Where kernels run: an array module, something like cupy.RawModule, and what plans must know.

    capability: 10 · major + minor; processors: how many multiprocessors. Two devices are never equal.
    """

    def __init__(self, xp: ModuleType, module: Callable[..., Any], capability: int, processors: int):
        self.xp, self.module, self.capability, self.processors = xp, module, capability, processors
        self._functions: dict[tuple[str, tuple[Any, ...]], Any] = {}

    def function(self, plan: Plan) -> Any:
        """The compiled kernel of a plan."""
        key = plan.kernel, plan.arguments
        function = self._functions.get(key)
        if function is None:
            expression = plan.expression
            module = self.module(code=source(FILE_OF[plan.kernel]), options=OPTIONS, name_expressions=(expression,))
            function = self._functions[key] = module.get_function(expression)
            if plan.shared > ASKED_ABOVE:  # the same for every launch of this expression: its tiles decide
                function.max_dynamic_shared_size_bytes = plan.shared
        return function


@functools.cache
def source(file: str) -> str:
    """The text of a .cu file with its .cuh files in the place of their #include lines."""
    lines = []
    for number, line in enumerate((FOLDER / file).read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith('#include "'):
            included = line.split('"')[1]
            lines += [f'#line 1 "{included}"', source(included), f'#line {number + 1} "{file}"']
        elif line != "#pragma once":
            lines.append(line)
        else:
            lines.append("")
    return "\n".join(lines)


_elsewhere: ContextVar[Device | None] = ContextVar("minilm_kernels.gpu", default=None)


@contextlib.contextmanager
def running_on(device: Device) -> Iterator[None]:
    """Inside `with`, NumPy arrays are taken too: their kernels run on `device`, a simulator of a GPU."""
    token = _elsewhere.set(device)
    try:
        yield
    finally:
        _elsewhere.reset(token)


def device_of(array: Array) -> Device:
    """The device that an array lives on."""
    if not isinstance(array, np.ndarray):
        return _cupy_device(array.device.id)
    device = _elsewhere.get()
    if device is None:
        raise TypeError("the cupy kernels cannot work on a numpy array; move it, or choose other kernels")
    return device


def no_device() -> str | None:
    """Why CuPy, which is installed, cannot compute here, or None."""
    import cupy

    try:
        if cupy.cuda.runtime.getDeviceCount():
            return None
        reason = "there is none"
    except cupy.cuda.runtime.CUDARuntimeError as error:  # no driver, or one older than CuPy wants
        reason = str(error)
    return f"CuPy {cupy.__version__} finds no GPU ({reason})"


@functools.cache
def _cupy_device(number: int) -> Device:
    import cupy

    device = cupy.cuda.Device(number)
    processors = device.attributes["MultiProcessorCount"]
    return Device(cupy, modules.GpuModule, int(device.compute_capability), processors)


def type_name(array: Array) -> str:
    """An array's element type in C++."""
    return _name_of(array.dtype)


@functools.cache
def _name_of(dtype: Any) -> str:
    return NAMES[dtype.name]  # NumPy works the name out, which takes longer than all the rest of a launch


def real(array: Array) -> Any:
    """The NumPy type that kernels compute in for this array's dtype."""
    return np.float64 if array.dtype == np.float64 else np.float32


def launch(device: Device, plan: Plan, *arguments: Any) -> None:
    """Start a kernel. arguments: arrays, None for a null pointer, and NumPy numbers of exactly the C type."""
    if plan.blocks == 0:
        return
    if plan.blocks > MOST_BLOCKS:
        raise ValueError(f"{plan.kernel} would need {plan.blocks} blocks; a GPU starts at most {MOST_BLOCKS}")
    values = tuple(_argument(a) for a in arguments)
    device.function(plan)((plan.blocks,), (plan.threads,), values, shared_mem=plan.shared)


def _argument(a: Any) -> Any:
    if a is None:
        return NULL
    # bfloat16, the one dtype that is not NumPy's own, is unknown to CuPy's launcher
    return a if isinstance(a, np.generic) or a.dtype.kind != "V" else a.view(np.uint16)


def compile_ptx(
    source: str, expressions: Sequence[str], arch: str = "compute_80", options: Sequence[str] = OPTIONS
) -> tuple[str, dict[str, str]]:
    """PTX text, and the kernels' names in it by expression. Raises ImportError where NVRTC is missing."""
    compiler = nvrtc.find()
    if compiler is None:
        raise ImportError(
            "NVRTC, which compiles the GPU kernels, is missing; install it: pip install nvidia-cuda-nvrtc-cu12"
        )
    compiled = compiler.compile(source, expressions, arch, options)
    return compiled.code.rstrip(b"\0").decode(), compiled.names
