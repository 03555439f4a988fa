"""One process per run folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minilm.errors import InputError


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold `folder` (made if missing) for this process; the system lets go when the process ends, however it ends.

    Raises InputError if another process trains there, or if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a")
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}; choose another folder with --out") from error
    with file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows has no flock
            pass
        except OSError as error:
            raise InputError(
                f"another process is training in {folder}; wait for it, or choose another --out"
            ) from error
        yield
