"""Reading safetensors: a header in JSON that says where each tensor lies, and then the numbers.

    8 bytes   n, the length of the header (little endian)
    n bytes   {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {...}}
    the rest  the tensors, one after the other, without gaps

Read by hand and not with the safetensors package: that one's NumPy side knows no bfloat16, a sharded folder must be checked
as a whole before anything is loaded, and the format is these three lines.    [https://github.com/huggingface/safetensors]

All headers are checked when the weights are opened; a tensor is read when it is asked for, so that no more than one is in
memory beside the model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from minilm.errors import InputError
from minilm.hub.config import read_json

HEADER_LIMIT = 100_000_000  # bytes, as in the safetensors package
INDEX_LIMIT = 256 << 20
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
RESTORE = "download or save the file again"

# dtype in the file → how NumPy reads it. bfloat16 is the upper half of a float32.
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "|u1",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: `start` and `stop` in bytes from the file's beginning."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    def read(self, name: str) -> np.ndarray:
        """The tensor; bfloat16 as float32, which holds it exactly, everything else in its own dtype.

        Raises InputError if the file can no longer be read, or has become shorter.
        """
        values = np.empty(self.shape, DTYPES[self.dtype])
        try:
            with self.path.open("rb") as file:
                file.seek(self.start)
                count = file.readinto(values.reshape(-1).view(np.uint8).data) if values.size else 0
        except OSError as error:
            raise InputError(f"cannot read {name} from {self.path}: {error.strerror or error}") from error
        if count != self.stop - self.start:
            raise InputError(f"{self.path} ended inside {name}: it has become shorter since it was opened; {RESTORE}")
        if self.dtype == "BF16":
            return from_bfloat16(values)
        return values.astype(bool) if self.dtype == "BOOL" else values


class Weights:
    """The tensors of a model, in one file or several: their shapes and dtypes at once, their numbers on demand."""

    def __init__(self, entries: dict[str, Entry]):
        self.entries = entries
        self.shapes = {name: entry.shape for name, entry in entries.items()}
        self.dtypes = {name: entry.dtype for name, entry in entries.items()}

    def read(self, name: str) -> np.ndarray:
        """One tensor, as Entry.read gives it."""
        return self.entries[name].read(name)


def open_weights(folder: Path) -> Weights:
    """The weights of a model folder: model.safetensors, or the files that model.safetensors.index.json names.

    Raises InputError if there are none, or only pickles, or if a file is damaged or missing.
    """
    if (folder / SINGLE).exists():
        return Weights(read_header(folder / SINGLE))
    if (folder / INDEX).exists():
        return Weights(read_index(folder / INDEX))
    refuse_pickles(folder)
    raise InputError(f"{folder} has neither {SINGLE} nor {INDEX}; give a folder that save_pretrained wrote")


def refuse_pickles(folder: Path) -> None:
    """Raise InputError if the folder has its weights as a pickle, which can run any code when it is opened."""
    for pattern in ("pytorch_model*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt"):
        for path in sorted(folder.glob(pattern)):
            raise InputError(
                f"{folder} has its weights in {path.name}, a pickle, and minilm opens none, because a pickle can run any "
                f"code; convert it once where PyTorch is installed: {conversion(path)}"
            )


def conversion(path: Path) -> str:
    """What to type to have a pickle's tensors as safetensors; weights_only=True lets PyTorch refuse code."""
    if "-of-" in path.name:
        return (
            f"python -c \"from transformers import AutoModelForPreTraining as A; A.from_pretrained(r'{path.parent}')"
            ".save_pretrained('converted')\""
        )
    return (
        'python -c "import torch, safetensors.torch as s; s.save_file({k: v.clone() for k, v in '
        f"torch.load(r'{path}', weights_only=True).items()}}, r'{path.parent / SINGLE}', {{'format': 'pt'}})\""
    )


def read_index(path: Path) -> dict[str, Entry]:
    """All tensors of a sharded model. The index and the files must agree on which tensor is where."""
    weight_map = read_json(path, INDEX_LIMIT).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(f, str) for f in weight_map.values()):
        raise InputError(f"{path} has no weight_map from tensors to file names; {RESTORE}")
    shards = sorted(set(weight_map.values()))
    strange = [name for name in shards if Path(name).name != name or "\\" in name or "\0" in name or not name]
    if strange:
        raise InputError(f"{path} names {strange[0]!r}, which is no file of its own folder; {RESTORE}")
    absent = [name for name in shards if not (path.parent / name).is_file()]
    if absent:
        raise InputError(
            f"{path.parent} lacks {', '.join(absent[:5])} of the {len(shards)} files in {path.name}; {RESTORE}"
        )
    entries: dict[str, Entry] = {}
    for shard in shards:
        for name, entry in read_header(path.parent / shard).items():
            if name in entries:
                raise InputError(f"{name} is in {entries[name].path.name} and in {shard}; {RESTORE}")
            if weight_map.get(name) != shard:
                where = f"in {weight_map[name]}" if name in weight_map else "nowhere"
                raise InputError(f"{name} is in {shard}, and {path.name} says that it is {where}; {RESTORE}")
            entries[name] = entry
    missing = [name for name in weight_map if name not in entries]
    if missing:
        raise InputError(
            f"{weight_map[missing[0]]} lacks {', '.join(missing[:5])}, which {path.name} promises; {RESTORE}"
        )
    return entries


def read_header(path: Path) -> dict[str, Entry]:
    """Name → where it lies, for one file, checked against the file's size.

    Raises InputError unless the header is valid JSON without repeated names, all dtypes are known, and the tensors fill
    the rest of the file in some order, without gaps and without overlaps.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > size - 8:
                raise InputError(
                    f"{path} is cut off or no safetensors file: its header does not fit in {size} bytes; {RESTORE}"
                )
            if length > HEADER_LIMIT:
                raise InputError(
                    f"{path} has a header of {length} bytes, at most {HEADER_LIMIT} are allowed; {RESTORE}"
                )
            text = file.read(length)
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}; check the path and its permissions"
        ) from error
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=without_repeats)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the header of {path} cannot be read ({error}); {RESTORE}") from error
    if not isinstance(header, dict):
        raise InputError(f"the header of {path} is no JSON object; {RESTORE}")
    header.pop("__metadata__", None)
    entries = {name: read_entry(path, name, value, 8 + length) for name, value in header.items()}
    check_places(path, entries, 8 + length, size)
    return entries


def without_repeats(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names are all different; Python's own reader would keep the last of equal ones silently."""
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise ValueError(f"{name!r} is there twice")
        result[name] = value
    return result


def read_entry(path: Path, name: str, value: Any, base: int) -> Entry:
    """One line of the header. Raises InputError if it is not what the format says, or contradicts itself."""
    problem = f"the header of {path} says nonsense about {name!r}"
    if not isinstance(value, dict):
        raise InputError(f"{problem}: {str(value)[:80]}; {RESTORE}")
    dtype, shape, offsets = (value.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in DTYPES:
        known = ", ".join(DTYPES)
        raise InputError(
            f"{path} has {name!r} in dtype {str(dtype)[:20]}, and minilm reads {known}; convert the file first"
        )
    if not natural_numbers(shape) or len(shape) > 64:
        raise InputError(f"{problem}: shape {str(shape)[:80]}; {RESTORE}")
    if not natural_numbers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise InputError(f"{problem}: data_offsets {str(offsets)[:80]}; {RESTORE}")
    item = np.dtype(DTYPES[dtype]).itemsize
    needed = math.prod(shape) * item
    if needed != offsets[1] - offsets[0] or math.prod(n for n in shape if n) * item >= 2**63:
        raise InputError(
            f"{path} is damaged: {name!r} of shape {tuple(shape)} and dtype {dtype} needs {needed} bytes, "
            f"its data_offsets give {offsets[1] - offsets[0]}; {RESTORE}"
        )
    return Entry(path, dtype, tuple(shape), base + offsets[0], base + offsets[1])


def natural_numbers(value: Any) -> TypeGuard[list[int]]:
    """Whether a value from JSON is a list of integers from 0 on."""
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)


def check_places(path: Path, entries: dict[str, Entry], start: int, size: int) -> None:
    """Raise InputError unless the tensors fill the bytes from `start` to `size`, each byte once."""
    end, last = start, "the header"
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != end:
            how = "overlap" if entry.start < end else "have a gap between them"
            raise InputError(f"{path} is damaged: {last} and {name!r} {how}; {RESTORE}")
        end, last = entry.stop, repr(name)
    if end != size:
        state = "cut off" if end > size else "longer than its header says"
        raise InputError(f"{path} is {state}: its tensors end at byte {end}, the file at byte {size}; {RESTORE}")


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """bfloat16 bits, uint16, as float32: the same sign and exponent, and 16 zero bits behind."""
    wide = bits.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """float32 (or what converts to it) as bfloat16 bits, uint16, rounded to the nearest, ties to the even one.

    Adding half of the last place that stays, less one where that place is even, makes cutting off the rest a rounding.
    A NaN keeps its upper half, with the bit set that keeps it a NaN.
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return np.where(np.isnan(values), (bits >> 16) | 0x40, rounded).astype(np.uint16).reshape(np.shape(values))
