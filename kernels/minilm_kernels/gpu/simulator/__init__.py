"""Runs the PTX that NVRTC makes of a CUDA kernel, on the CPU, in NumPy, and says what a GPU would not have forgiven.

To read it, in this order:

    types, numbers      PTX's types; bfloat16, directed rounding, the fused multiply-add
    parser              PTX text → instructions
    program, decoder    instructions → steps (Python functions) in basic blocks
    registers           few places for many registers
    opcodes/            what each opcode does, by family
    machine             blocks of threads: registers, divergence, barriers
    memory, races       global, shared and local memory; every access checked
    counters            what a launch did: instructions, bytes, sectors, bank conflicts
    launch              arguments → buffers; the grid's blocks, some at a time

`minilm_kernels.gpu.simulate` wraps it in the interface of cupy.RawModule.
"""

from minilm_kernels.gpu.simulator.counters import Counters
from minilm_kernels.gpu.simulator.errors import (
    Divergence,
    Endless,
    LaunchError,
    Misaligned,
    OutOfBounds,
    Race,
    SimulationError,
    Uninitialized,
    UnknownInstruction,
)
from minilm_kernels.gpu.simulator.launch import launch, uninitialized, unwritten
from minilm_kernels.gpu.simulator.memory import Checks
from minilm_kernels.gpu.simulator.parser import parse
from minilm_kernels.gpu.simulator.program import Program

__all__ = [
    "Checks", "Counters", "Divergence", "Endless", "LaunchError", "Misaligned", "OutOfBounds", "Program", "Race",
    "SimulationError", "Uninitialized", "UnknownInstruction", "launch", "parse", "uninitialized", "unwritten",
]  # fmt: skip
