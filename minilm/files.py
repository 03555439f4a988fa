"""Writing files so that a crash, a full disk or Ctrl-C never leaves half of one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minilm.errors import InputError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, it replaces `path` in one rename.

    The data reach the disk (fsync) before the rename, so after a power cut there is the old file or the new one,
    whole. If the block fails, the temporary file is removed and `path` is as it was. A disk that is full or a folder
    that may not be written raises InputError with the system's reason.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        _remove(temporary)
        raise InputError(f"cannot write {path}: {error.strerror or error}; nothing was changed there") from error
    except BaseException:
        _remove(temporary)
        raise


def _remove(path: Path) -> None:
    with suppress(OSError):  # not there, or its folder is no folder
        path.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, all of it or none."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def sync(path: str | Path) -> None:
    """Ask the operating system to bring a file, or a folder's list of names, to the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows refuses to open a folder; there the rename itself is durable enough
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_used_folder(folder: Path, names: Iterable[str], way: str = "") -> None:
    """Raise InputError if `folder` is a file, or has one of `names` in it. way: what else can be done, such as going on."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; choose another --out, which is to become a folder")
    for name in names:
        if (folder / name).exists():
            raise InputError(f"{folder} already has {name} in it; {way}choose another --out, or move that away")


def unused_folder(name: str) -> Path:
    """runs/NAME-DATE-TIME, with a number behind it where that is taken."""
    base = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    return next(p for p in (base, *(base.with_name(f"{base.name}-{n}") for n in range(2, 100))) if not p.exists())
