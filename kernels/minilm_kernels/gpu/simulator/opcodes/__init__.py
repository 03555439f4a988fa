"""What each opcode does, by family.

Sections are those of NVIDIA's manual "Parallel Thread Execution ISA", "… Instructions: opcode"
(by name: their numbers change from version to version).

An opcode's function takes a Decoder (decoder.py) and returns a step. Most opcodes compute a result from their sources alone:
their function names the types and modifiers it knows and hands a NumPy function to Decoder.compute. What is not known is an
error that names the instruction; nothing is skipped silently.
"""

from minilm_kernels.gpu.simulator.opcodes import (
    atomics,
    compare,
    convert,
    floats,
    integers,
    logic,
    memory,
    moves,
    packed,
    synchronize,
    tensor,
    warp,
)
from minilm_kernels.gpu.simulator.opcodes.table import OPCODES, SECTIONS

__all__ = [
    "OPCODES", "SECTIONS", "atomics", "compare", "convert", "floats", "integers", "logic", "memory", "moves", "packed",
    "synchronize", "tensor", "warp",
]  # fmt: skip
