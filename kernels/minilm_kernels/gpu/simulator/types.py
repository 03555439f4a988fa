"""PTX's fundamental types (PTX ISA manual 5.2) as NumPy dtypes.

bfloat16 has no NumPy dtype: a .bf16 value is held as its 16 bits. A packed pair (.f16x2, .bf16x2) is held as its 32 bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PtxType:
    """A type suffix: its name, its width and the dtype that its values have in the simulator."""

    name: str
    bits: int
    dtype: np.dtype

    @property
    def bytes(self) -> int:
        return self.bits // 8

    @property
    def is_float(self) -> bool:
        return self.name in ("f16", "bf16", "f32", "f64", "f16x2", "bf16x2", "tf32")

    @property
    def is_signed(self) -> bool:
        return self.name[0] == "s"


def _types() -> dict[str, PtxType]:
    table = {"pred": PtxType("pred", 8, np.dtype(bool))}
    for bits in (8, 16, 32, 64):
        for letter, kind in (("u", "u"), ("b", "u"), ("s", "i")):
            table[f"{letter}{bits}"] = PtxType(f"{letter}{bits}", bits, np.dtype(f"{kind}{bits // 8}"))
    for name, bits, kind in (
        ("f16", 16, "f2"), ("f32", 32, "f4"), ("f64", 64, "f8"),
        ("bf16", 16, "u2"), ("f16x2", 32, "u4"), ("bf16x2", 32, "u4"), ("tf32", 32, "f4"),
    ):  # fmt: skip
        table[name] = PtxType(name, bits, np.dtype(kind))
    return table


TYPES = _types()
UNSIGNED = {bits: np.dtype(f"u{bits // 8}") for bits in (8, 16, 32, 64)}
