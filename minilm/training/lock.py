"""A run folder belongs to one process, and a run that never began leaves nothing in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minilm.errors import InputError


@contextmanager
def lock_folder(folder: Path) -> Iterator[list[Path]]:
    """Hold `folder` (made if missing) for this process; the system lets go when the process ends, however it ends.

    Gives what it had to make: the lock file, the folder, the folders above it, innermost first.
    Raises InputError if another process trains there, or if the folder cannot be written.
    """
    lock = folder / ".lock"
    try:
        made = [path for path in (lock, folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        file = lock.open("a")
    except OSError as error:
        remove_made(made)
        raise InputError(f"cannot write to {folder}: {error.strerror}; choose another folder with --out") from error
    with file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows has no flock
            pass
        except OSError as error:
            raise InputError(
                f"another process is training in {folder}; wait for it, or choose another folder with --out"
            ) from error
        yield made


@contextmanager
def leaving_no_trace(folder: Path, made: list[Path]) -> Iterator[None]:
    """If the block fails, take away what it put into `folder`, and what lock_folder had `made`."""
    before = {path.name for path in folder.iterdir()} | {".lock"}
    try:
        yield
    except BaseException:
        for path in folder.iterdir():
            if path.name not in before:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        remove_made(made)
        raise


def remove_made(made: list[Path]) -> None:
    """Remove these files and folders, as far as the folders are empty."""
    for path in made:
        with suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
