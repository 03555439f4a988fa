"""Where compiled kernels are kept: in the user's cache folder, or in MINILM_CACHE_DIR."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """The folder of all compiled kernels, of the CPU and of GPUs."""
    if given := os.environ.get("MINILM_CACHE_DIR"):
        return Path(given) / "kernels"
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "minilm" / "kernels"
