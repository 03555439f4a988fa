"""NVIDIA's compiler takes every kernel for every architecture, and what it makes of it stays within recorded bounds.

Registers and spills (numbers that did not fit into registers, in bytes) are the largest over a kernel's templates and all
architectures. They drift a little between compilers, so the bounds leave some room; a bound that is far too high is no bound.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import NamedTuple

import pytest
from gpu.every_plan import ARCHITECTURES, every_plan
from gpu.resource_bounds import BOUNDS, REGISTERS_MORE, SPILLS_MORE

from minilm_kernels.gpu import compile as compiling
from minilm_kernels.gpu import nvrtc, plan


class Resources(NamedTuple):
    registers: int
    spilled: int  # bytes
    shared: int  # static, bytes


def compiler(major: int) -> nvrtc.Nvrtc:
    found = nvrtc.find(major)
    if found is None:
        pytest.skip(f"NVRTC of CUDA {major} is not installed: pip install -r tests/gpu/requirements.txt")
    return found


def resources(compiled: nvrtc.Compiled) -> dict[str, Resources]:
    """By expression, from the report of --ptxas-options=-v."""
    expressions = {name: expression for expression, name in compiled.names.items()}
    found = {}
    for part in re.split(r"(?=Compiling entry function)", compiled.log)[1:]:
        name = re.search(r"entry function '(\w+)'", part)
        registers, spilled = re.search(r"Used (\d+) registers", part), re.search(r"(\d+) bytes spill stores", part)
        shared = re.search(r"(\d+) bytes smem", part)
        assert name, part
        assert registers, part
        assert spilled, part
        found[expressions[name[1]]] = Resources(int(registers[1]), int(spilled[1]), int(shared[1]) if shared else 0)
    return found


def compile_plans(version: nvrtc.Nvrtc, capability: int, wanted: list[plan.Plan]) -> dict[str, Resources]:
    by_file = defaultdict(list)
    for p in wanted:
        by_file[compiling.FILE_OF[p.kernel]].append(p.expression)
    found: dict[str, Resources] = {}
    for file, expressions in by_file.items():
        options = (*compiling.OPTIONS, "--ptxas-options=-v")
        compiled = version.compile(compiling.source(file), expressions, f"sm_{capability}", options)
        assert "warning" not in compiled.log.lower(), compiled.log
        found |= resources(compiled)
    return found


def within_bounds(found: dict[str, Resources]) -> None:
    for expression, used in found.items():
        kernel, dtype = re.match(r"(\w+)<(\w+)", expression).groups()
        registers, spilled = BOUNDS[f"{kernel} {dtype}"]
        assert used.registers <= min(registers + REGISTERS_MORE, 255), f"{expression} uses {used}"
        assert used.spilled <= spilled + SPILLS_MORE, f"{expression} uses {used}"
        assert used.shared == 0, f"{expression}: all shared memory is asked for at the launch; {used}"


@pytest.mark.parametrize("capability", [75, 90])
def test_one_of_each_row_kernel_compiles(capability):
    """What is quick to compile, in every run; the rest below."""
    wanted = {p.kernel: p for p in every_plan(capability).values() if not p.kernel.startswith(("attention", "tensor"))}
    version = nvrtc.find() or compiler(12)
    found = compile_plans(version, capability, list(wanted.values()))
    assert len(found) == len(wanted) >= 20
    within_bounds(found)


@pytest.mark.slow
@pytest.mark.parametrize("capability", ARCHITECTURES)
def test_every_kernel_compiles(capability):
    """With CUDA 12, which most drivers take."""
    plans = every_plan(capability)
    found = compile_plans(compiler(12), capability, list(plans.values()))
    assert found.keys() == plans.keys()
    within_bounds(found)


@pytest.mark.slow
@pytest.mark.parametrize("capability", ARCHITECTURES)
def test_one_template_of_every_kernel_and_dtype_compiles_with_cuda_13(capability):
    """The largest head_dim of each."""
    chosen = {(p.kernel, p.arguments[0]): p for p in every_plan(capability).values()}
    within_bounds(compile_plans(compiler(13), capability, list(chosen.values())))


@pytest.mark.slow
def test_a_kernel_fits_into_the_registers_of_a_processor():
    """All threads of a block at once."""
    for name, (registers, _) in BOUNDS.items():
        threads = 128 if name.startswith("tensor") else plan.THREADS
        assert threads * min(registers + REGISTERS_MORE, 255) <= plan.limits(80).registers


def test_an_error_says_what_the_compiler_said():
    version = nvrtc.find() or compiler(12)
    with pytest.raises(RuntimeError, match="expected"):
        version.compile("__global__ void f(int* x) { x[0] = }", (), "compute_80")
