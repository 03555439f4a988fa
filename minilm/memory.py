"""Keeping the memory of freed arrays for the next ones."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
ONE_GIGABYTE = 1 << 30


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory instead of handing it back to the system; tells whether it agreed.

    A training step makes and frees the same large arrays over and over. By default glibc gives arrays above a limit
    back at once, and the system then has to find, clear and map every page anew: a fifth of the time of a small model's
    step. Afterwards the process keeps up to a gigabyte that it has used before; its peak does not change.
    Elsewhere than on Linux with glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, ONE_GIGABYTE) and mallopt(M_TRIM_THRESHOLD, ONE_GIGABYTE))
