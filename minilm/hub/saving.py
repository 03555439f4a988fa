"""Writing a model folder: config.json and safetensors, in one file or in shards with an index; all of it or nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minilm.devices import to_host
from minilm.errors import InputError
from minilm.files import sync
from minilm.hub.weights import DTYPES, INDEX, SINGLE, to_bfloat16

Named = tuple[str, np.ndarray]

FLOATS = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
NAMES = {np.dtype(form): name for name, form in DTYPES.items() if name not in ("BF16", "BOOL")} | {
    np.dtype(bool): "BOOL"
}
CHUNK = 1 << 20  # numbers that are converted at a time
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")


def save_model_folder(
    folder: Path, documents: Mapping[str, Any], tensors: Sequence[Named], dtype: str | None, max_shard_size: int | str
) -> None:
    """Write the documents (file name → JSON, config.json among them) and the tensors into `folder`, over what may be there.

    Everything goes into a folder of another name inside it first; then the files are renamed, one after the other, and
    weight files of the model before that are not written again are removed.
    Raises InputError for an unknown dtype or size, a value that float16 cannot hold, or a disk that cannot be written.
    """
    if dtype is not None and dtype not in FLOATS:
        raise InputError(f"dtype is {dtype!r}; choose one of {', '.join(FLOATS)}")
    shards = shard(tensors, dtype, parse_size(max_shard_size))
    temporary = folder / f".tmp-save-{os.getpid()}"
    try:
        temporary.mkdir(parents=True)
        texts = dict(documents)
        if len(shards) == 1:
            write_safetensors(temporary / SINGLE, shards[0], dtype)
        else:
            weight_map = {}
            for i, part in enumerate(shards, 1):
                file_name = f"model-{i:05}-of-{len(shards):05}.safetensors"
                write_safetensors(temporary / file_name, part, dtype)
                weight_map.update({name: file_name for name, _ in part})
            total = sum(byte_size(array, dtype) for _, array in tensors)
            texts[INDEX] = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        for name, values in texts.items():
            text = json.dumps(values, indent=2, ensure_ascii=False, sort_keys=True, allow_nan=False) + "\n"
            (temporary / name).write_text(text, encoding="utf-8", newline="\n")
            sync(temporary / name)
        move_into(temporary, folder)
    except (OSError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot save the model in {folder}: {reason}; what was there is unchanged") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def move_into(temporary: Path, folder: Path) -> None:
    """Rename all files of `temporary` into `folder`, and remove the weight files there that belong to no new one."""
    written = {path.name for path in temporary.iterdir()}
    for name in sorted(written, reverse=True):  # shards and index before config.json
        os.replace(temporary / name, folder / name)
    for path in folder.iterdir():
        if path.name not in written and (path.name in (SINGLE, INDEX) or SHARD.fullmatch(path.name)):
            path.unlink()
    sync(folder)


def shard(tensors: Sequence[Named], dtype: str | None, limit: int) -> list[list[Named]]:
    """The tensors in order, in lists of at most `limit` bytes; a larger tensor has a list of its own."""
    shards: list[list[Named]] = [[]]
    size = 0
    for name, array in tensors:
        added = byte_size(array, dtype)
        if shards[-1] and size + added > limit:
            shards.append([])
            size = 0
        shards[-1].append((name, array))
        size += added
    return shards


def write_safetensors(path: Path, tensors: Sequence[Named], dtype: str | None = None) -> None:
    """One safetensors file, whose floating-point tensors are converted to `dtype`, piece by piece."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # transformers asks for this line
    end = 0
    # the wider numbers first, as the safetensors package does, so that each tensor begins at a multiple of its item size
    ordered = sorted(tensors, key=lambda item: (-item_size(item[1], dtype), item[0]))
    for name, array in ordered:
        if name in header:
            raise ValueError(f"two tensors are called {name}")
        start, end = end, end + byte_size(array, dtype)
        header[name] = {"dtype": file_dtype(array, dtype), "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, array in ordered:
            flat = np.ascontiguousarray(to_host(array)).reshape(-1)
            for start in range(0, flat.size, CHUNK):
                file.write(converted(name, flat[start : start + CHUNK], dtype).data)
        file.flush()
        os.fsync(file.fileno())


def converted(name: str, array: np.ndarray, dtype: str | None) -> np.ndarray:
    """Numbers as they stand in the file. Raises InputError if float16 would make an infinity of a number."""
    kind = file_dtype(array, dtype)
    if kind == "BF16":
        return to_bfloat16(array)
    with np.errstate(over="ignore", invalid="ignore"):
        result = array.astype("|b1" if kind == "BOOL" else DTYPES[kind], copy=False)
    if result.dtype.kind == "f" and result.dtype.itemsize < array.dtype.itemsize:
        finite = np.isfinite(array)
        if not np.isfinite(result[finite]).all():
            largest = np.abs(array[finite]).max()
            raise InputError(f"{name} has values up to {largest:.3g}, which {dtype} cannot hold; save it as bfloat16")
    return result


def file_dtype(array: np.ndarray, dtype: str | None) -> str:
    """How the file calls what the array becomes."""
    return FLOATS[dtype] if dtype is not None and array.dtype.kind == "f" else NAMES[array.dtype.newbyteorder("=")]


def item_size(array: np.ndarray, dtype: str | None) -> int:
    """Bytes of one number of an array, once it is in the file."""
    return np.dtype(DTYPES[file_dtype(array, dtype)]).itemsize


def byte_size(array: np.ndarray, dtype: str | None) -> int:
    """Bytes of an array, once it is in the file."""
    return array.size * item_size(array, dtype)


def parse_size(size: int | str) -> int:
    """A number of bytes, or text like "5GB" or "200MiB"."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(size))
    if match is None or match[2].upper() not in UNITS:
        raise InputError(f"max_shard_size is {size!r}; give bytes, or text like '5GB' or '500MB'")
    n = int(float(match[1]) * UNITS[match[2].upper()])
    if n < 1:
        raise InputError(f"max_shard_size is {size!r}; it must be at least one byte")
    return n
