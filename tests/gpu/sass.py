"""A tiny evaluator of SASS, the instructions of the hardware, for straight kernels of one warp.

It knows just enough to run what NVIDIA's assembler makes of a kernel that loads matrices, multiplies them on tensor cores, and
stores the result. Where each lane loads from and stores to is read off that program: NVIDIA's, not ours.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

import numpy as np

LANES = np.arange(32, dtype=np.uint64)
FIRST_PARAMETER = {"sm_75": 0x160, "sm_80": 0x160, "sm_86": 0x160, "sm_89": 0x160, "sm_90": 0x210}
PREDICATE = re.compile(r"!?U?P[T\d]$")


def nvdisasm() -> str | None:
    """The disassembler: on the path, or from the wheel nvidia-cuda-nvdisasm."""
    found = shutil.which("nvdisasm")
    if found is None:
        place = Path(sysconfig.get_paths()["purelib"]) / "nvidia"
        found = next((str(p) for p in place.glob("**/bin/nvdisasm")), None)
    return found


def disassemble(cubin: bytes) -> list[tuple[str, list[str]]]:
    """The instructions of a program with one kernel, up to EXIT: name and operands."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        text = subprocess.run(
            [nvdisasm() or "nvdisasm", "-c", str(path)], capture_output=True, text=True, check=True
        ).stdout
    result = []
    for m in re.finditer(r"/\*[0-9a-f]{4}\*/\s+([^;/]+);", text):
        if m[1].startswith(("@!PT ", "@!UPT ")):  # never executed
            continue
        name, _, rest = m[1].strip().partition(" ")
        result.append((name, [o.strip().replace(".reuse", "") for o in rest.split(",")] if rest else []))
        if name == "EXIT":
            return result
    raise ValueError("the program has no EXIT")


class Warp:
    """32 lanes; registers are arrays of 32-bit words in 64-bit elements."""

    def __init__(self, arch: str, buffers: list[np.ndarray], multiply) -> None:
        self.registers: dict[str, np.ndarray] = {}
        self.multiply = multiply  # multiply(a words, b words, c floats, K, bfloat16) → d floats, by lane
        self.memory = {(i + 1) << 32: buffer.view(np.uint8).reshape(-1) for i, buffer in enumerate(buffers)}
        self.constants = {FIRST_PARAMETER[arch] + 8 * i: start for i, start in enumerate(self.memory)}

    # --- operands -----------------------------------------------------------------------------------------------------

    def get(self, operand: str) -> np.ndarray:
        if operand in ("RZ", "URZ", "SRZ"):
            return np.zeros(32, np.uint64)
        if m := re.match(r"c\[0x0\]\[(0x[0-9a-f]+)\]$", operand):
            at = int(m[1], 16)
            word = self.constants.get(at & ~7, 0) >> (32 if at & 4 else 0) & 0xFFFFFFFF
            return np.full(32, word, np.uint64)
        if re.match(r"-?0x[0-9a-f]+$|-?\d+$", operand):
            return np.full(32, int(operand, 0) & 0xFFFFFFFF, np.uint64)
        if re.match(r"U?R\d+$", operand):
            return self.registers[operand]
        raise ValueError(f"operand {operand}")

    def pair(self, operand: str) -> np.ndarray:
        """A register and the next as 64 bits; a constant's 64 bits."""
        if m := re.match(r"c\[0x0\]\[(0x[0-9a-f]+)\]$", operand):
            return np.full(32, self.constants.get(int(m[1], 16), 0), np.uint64)
        if operand in ("RZ", "URZ"):
            return np.zeros(32, np.uint64)
        kind, number = re.match(r"(U?R)(\d+)$", operand).groups()
        return self.registers[operand] | self.registers[f"{kind}{int(number) + 1}"] << np.uint64(32)

    def set(self, operand: str, value: np.ndarray) -> None:
        self.registers[operand] = value & np.uint64(0xFFFFFFFF)

    def set_pair(self, operand: str, value: np.ndarray) -> None:
        kind, number = re.match(r"(U?R)(\d+)$", operand).groups()
        self.set(operand, value)
        self.set(f"{kind}{int(number) + 1}", value >> np.uint64(32))

    def following(self, operand: str, count: int) -> list[str]:
        if operand == "RZ":
            return ["RZ"] * count
        return [f"R{int(operand[1:]) + i}" for i in range(count)]

    def address(self, operand: str) -> np.ndarray:
        """[R8.64+0x100], [R8+UR4], …: a register pair and an offset. (A uniform register is the descriptor's.)"""
        m = re.search(r"\[(R\d+)(?:\.64)?(?:\+(-?0x[0-9a-f]+))?\]$", operand)
        if m is None:
            raise ValueError(f"address {operand}")
        return self.pair(m[1]) + np.uint64(int(m[2] or "0", 16) % 2**64)

    # --- instructions -------------------------------------------------------------------------------------------------

    def run(self, instructions: list[tuple[str, list[str]]]) -> None:
        for name, operands in instructions:
            head, *flags = name.split(".")
            step = getattr(self, head.lower(), None)
            if step is None:
                raise ValueError(f"SASS {name} {operands}: not known to the evaluator")
            self.predicates = [o for o in operands if PREDICATE.match(o)]
            step(flags, [o for o in operands if not PREDICATE.match(o)])

    def exit(self, flags, o):
        pass

    nop = warpsync = uldc = exit  # ULDC fetches descriptors of memory

    def s2r(self, flags, o):
        if o[1] not in ("SR_LANEID", "SR_TID.X"):
            raise ValueError(o[1])
        self.set(o[0], LANES.copy())

    def mov(self, flags, o):
        self.set(o[0], self.get(o[1]))

    def cs2r(self, flags, o):
        self.set_pair(o[0], np.zeros(32, np.uint64))

    def lop3(self, flags, o):
        a, b, c = (self.get(x) for x in o[1:4])
        table, result = int(o[4], 16), np.zeros(32, np.uint64)
        for place in range(8):
            if table >> place & 1:
                result |= (a if place & 4 else ~a) & (b if place & 2 else ~b) & (c if place & 1 else ~c)
        self.set(o[0], result)

    def shf(self, flags, o):
        low, by, high = (self.get(x) for x in o[1:4])
        by = by & np.uint64(31)
        both = low | high << np.uint64(32)
        if "L" in flags:
            self.set(o[0], (low << by) if "HI" not in flags else (both << by) >> np.uint64(32))
        else:
            self.set(o[0], high >> by if "HI" in flags else both >> by)

    def imad(self, flags, o):
        if flags[:1] == ["MOV"]:
            return self.set(o[0], self.get(o[3]))
        if flags[:1] == ["SHL"]:
            return self.set(o[0], self.get(o[1]) * self.get(o[2]))
        if "WIDE" in flags:
            return self.set_pair(o[0], self.get(o[1]) * self.get(o[2]) + self.pair(o[3]))
        return self.set(o[0], self.get(o[1]) * self.get(o[2]) + self.get(o[3]))

    def lea(self, flags, o):
        """o0 = (o1 << shift) + o2; with HI, the upper word of {o3, o1} shifted, plus o2, plus the carry of the lower."""
        shift = np.uint64(int(o[-1], 0))
        if "HI" in flags:
            both = self.get(o[1]) | self.get(o[3]) << np.uint64(32)
            carry = self.carry[self.predicates[-1]] if "X" in flags else np.uint64(0)
            return self.set(o[0], ((both << shift) >> np.uint64(32)) + self.get(o[2]) + carry)
        total = ((self.get(o[1]) << shift) & np.uint64(0xFFFFFFFF)) + self.get(o[2])
        if self.predicates:
            self.carry = getattr(self, "carry", {}) | {self.predicates[0]: total >> np.uint64(32)}
        return self.set(o[0], total)

    def iadd3(self, flags, o):
        total = self.get(o[1]) + self.get(o[2]) + self.get(o[3])
        if "X" in flags:
            total = total + self.carry[self.predicates[-2]]
        elif self.predicates:
            self.carry = getattr(self, "carry", {}) | {self.predicates[0]: total >> np.uint64(32)}
        return self.set(o[0], total)

    def ldg(self, flags, o):
        words = 4 if "128" in flags else 2 if "64" in flags else 1
        base = self.address(o[1])
        for i, register in enumerate(self.following(o[0], words)):
            self.set(register, np.array([self.word(int(a) + 4 * i)[0] for a in base], np.uint64))

    def stg(self, flags, o):
        words = 4 if "128" in flags else 2 if "64" in flags else 1
        base = self.address(o[0])
        for i, register in enumerate(self.following(o[1], words)):
            for a, value in zip(base, self.get(register)):
                self.word(int(a) + 4 * i)[0] = np.uint32(value)

    def word(self, address: int) -> np.ndarray:
        buffer = self.memory[address >> 32 << 32]
        return buffer[address & 0xFFFFFFFF :][:4].view(np.uint32)

    def hmma(self, flags, o):
        """HMMA.16816.F32[.BF16]: D, A, B, C begin at these registers."""
        K = {"16816": 16, "1688": 8}[flags[0]]
        if flags[1] != "F32":
            raise ValueError(flags)
        a = np.stack([self.get(r) for r in self.following(o[1], K // 4)], 1).astype(np.uint32)
        b = np.stack([self.get(r) for r in self.following(o[2], K // 8)], 1).astype(np.uint32)
        c = np.stack([self.get(r) for r in self.following(o[3], 4)], 1).astype(np.uint32).view(np.float32)
        d = self.multiply(a, b, c, K, "BF16" in flags)
        for i, register in enumerate(self.following(o[0], 4)):
            self.set(register, np.ascontiguousarray(d[:, i]).astype(np.float32).view(np.uint32).astype(np.uint64))
