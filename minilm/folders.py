"""Finding the files of a model or tokenizer: in a folder, in the Hugging Face cache here, or by a download."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from minilm.errors import InputError
from minilm.optional import require

# a folder is complete when it has one file of each group
MODEL_FILES = (("config.json",), ("model.safetensors", "model.safetensors.index.json"))
TOKENIZER_FILES = (("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model"),)
DOWNLOADED = ("*.json", "*.safetensors", "*.txt", "*.model")  # no pickles, no other frameworks' weights
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", re.ASCII)

Groups = Sequence[Sequence[str]]


def find_folder(
    name_or_folder: str | Path, wanted: Groups = MODEL_FILES, revision: str = "main", local_files_only: bool = False
) -> Path:
    """The folder with a model's files.

    name_or_folder: a path; or a name such as "gpt2" or "bert-base-uncased/…" that is looked for in the cache (HF_HUB_CACHE,
    HF_HOME/hub, ~/.cache/huggingface/hub) and then downloaded, unless local_files_only or HF_HUB_OFFLINE=1.
    wanted: groups of file names, of each of which the cache must have one; a folder is taken as it is.
    revision: branch, tag or commit of the name.

    What is in the cache is used as it is: whether there is something newer is not asked.
    Raises InputError if there is no such folder, and nothing can or may be downloaded.
    """
    path = Path(name_or_folder).expanduser()
    if path.is_dir():
        return path
    name = str(name_or_folder)
    if path.exists():
        raise InputError(f"{path} is a file; give the folder that it is in")
    if not REPOSITORY.fullmatch(name) or ".." in name or path.is_absolute():
        raise InputError(f"there is no folder {name}; give a model folder, or a name like gpt2 or owner/name")
    cached = cached_snapshot(name, revision)
    if cached is not None and complete(cached, wanted):
        return cached
    why = "not in the Hugging Face cache" if cached is None else "in the Hugging Face cache without its model files"
    where = f"{name} is no folder here, and {why} ({cache_folder()})"
    if local_files_only or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        raise InputError(f"{where}; downloads are switched off, so give a folder")
    if importlib.util.find_spec("huggingface_hub") is None:
        raise InputError(f"{where}; give a folder, or install what downloads it: pip install huggingface_hub")
    return download(name, revision, where)


def download(name: str, revision: str, where: str) -> Path:
    """Fetch a model's files into the cache with huggingface_hub."""
    hub = require("huggingface_hub", "downloading a model")
    try:
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=list(DOWNLOADED)))
    except Exception as error:  # the library's own errors, those of its HTTP client, and of the disk
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{where}; downloading it failed ({type(error).__name__}: {reason})") from error


def complete(folder: Path, wanted: Groups) -> bool:
    return all(any((folder / name).exists() for name in group) for group in wanted)


def cached_snapshot(name: str, revision: str = "main") -> Path | None:
    """The folder of a name in the cache: models--owner--name/snapshots/<commit>, where refs/<revision> has the commit."""
    repository = cache_folder() / f"models--{name.replace('/', '--')}"
    try:
        commit = (repository / "refs" / revision).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        commit = revision
    snapshot = repository / "snapshots" / commit
    inside = re.fullmatch(r"[\w.-]+", commit, re.ASCII) and commit not in (".", "..")
    return snapshot if inside and snapshot.is_dir() else None


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where huggingface_hub keeps its downloads, from the variables that it reads."""
    if cache := environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE"):
        return Path(cache).expanduser()
    if home := environment.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "huggingface" / "hub"
