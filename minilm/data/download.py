"""Fetching a file once: resumable, verified, and safe to interrupt or to run twice at a time.

The bytes go to `NAME.part`. A download that was cut off (network, Ctrl-C, kill -9, full disk) leaves that file, and
the next run asks the server for the missing bytes only (`Range: bytes=N-`). When all are there the sha256 decides:
right, and the file takes its name in one rename; wrong, and it is removed. So a file that has its name is whole.

Two processes that want the same file: the first locks `NAME.lock` (an operating-system lock, which dies with its
process, so a killed download blocks nobody), the second waits and then finds the file there. Where the file system
knows no locks both write into the same part; the checksum then refuses a mixture, so the worst is a second try.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from minilm.errors import InputError
from minilm.files import sync
from minilm.optional import require

BLOCK = 1 << 18
TEMPORARY = {408, 425, 429, 500, 502, 503, 504}  # the server's answers that say: try again later


def cache_folder() -> Path:
    """The folder for what can be fetched again: MINILM_CACHE, or `minilm` in the platform's cache folder.

    That is LOCALAPPDATA on Windows, else XDG_CACHE_HOME or ~/.cache.
    """
    own = os.environ.get("MINILM_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "minilm"


def file_sha256(path: str | Path) -> str:
    """sha256 of a file's bytes, as 64 hex digits. Raises InputError if the file cannot be read."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; check its permissions") from error


def download(
    url: str,
    path: str | Path,
    *,
    sha256: str,
    size: int | None = None,
    progress: bool = True,
    timeout: float = 20.0,
    attempts: int = 4,
    backoff: float = 0.5,
    sleep: Callable[[float], None] = time.sleep,
    lock_timeout: float = 3600.0,
) -> Path:
    """Fetch `url` into `path` unless the right file is there already, and return the path.

    sha256        the file's checksum, 64 hex digits; size: its length in bytes, where known
    timeout       seconds without a byte after which a connection counts as broken
    attempts      how many broken connections in a row, without one new byte, are taken before giving up
    backoff       seconds to `sleep` after the first of them; doubles each time
    lock_timeout  seconds to wait for another process that fetches the same file

    Raises InputError: no network (the part is kept, a rerun resumes), an HTTP error, a wrong checksum or length, a full
    disk, a folder that cannot be written.
    """
    if not url.startswith(("http://", "https://")):
        raise InputError(f"cannot download {url!r}: the address must begin with http:// or https://")
    path = Path(path)
    if path.is_file() and file_sha256(path) == sha256:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path.with_name(path.name + ".lock"), "ab")  # noqa: SIM115  (closed by `locked`)
    except OSError as error:
        raise cannot_write(path, error) from error
    with locked(lock, path, lock_timeout):
        if path.is_file() and file_sha256(path) == sha256:  # the process we waited for has fetched it
            return path
        part = path.with_name(path.name + ".part")
        transfer = Transfer(url, part, size, progress, timeout, attempts, backoff, sleep)
        while True:
            resumed = length_of(part) > 0
            transfer.run()
            found = file_sha256(part)
            if found == sha256:
                break
            part.unlink()
            if not resumed:
                raise InputError(
                    f"the file at {url} is not the expected one: its sha256 is {found}, expected {sha256}; nothing was"
                    f" kept: try again later, or put the right file at {path}"
                )
            # What an earlier run left may be of another version of the file, or damaged: once more from the beginning.
        try:
            sync(part)
            os.replace(part, path)
            sync(path.parent)
        except OSError as error:
            raise cannot_write(path, error) from error
    return path


class Transfer:
    """Brings the bytes of one address into a part file, through broken connections."""

    def __init__(
        self,
        url: str,
        part: Path,
        size: int | None,
        progress: bool,
        timeout: float,
        attempts: int,
        backoff: float,
        sleep: Callable[[float], None],
    ):
        self.url, self.part, self.size = url, part, size
        self.progress, self.timeout = progress, timeout
        self.attempts, self.backoff, self.sleep = attempts, backoff, sleep

    def run(self) -> None:
        """Append to the part until it is as long as the server says the file is; what is in it is not looked at."""
        failures = 0
        tqdm = require("tqdm", "showing a download's progress").tqdm
        disable = None if self.progress else True  # None: only where somebody watches, not in a log file
        with tqdm(total=self.size, unit="B", unit_scale=True, desc=self.part.stem, disable=disable, leave=False) as bar:
            while True:
                before = length_of(self.part)
                if before == self.size:  # killed between the last byte and the rename
                    return None
                try:
                    return self.connect(before, bar)
                except urllib.error.HTTPError as error:
                    error.close()
                    if error.code == 416 and before:  # nothing lies behind our last byte: see what the checksum says
                        return None
                    reason = f"the server answers {error.code} {error.reason}"
                    if error.code not in TEMPORARY:
                        raise InputError(
                            f"cannot download {self.url}: {reason}; put the file at {self.part.with_suffix('')}"
                            " yourself, or use another corpus"
                        ) from error
                except (OSError, http.client.HTTPException) as error:  # URLError, timeouts and resets are OSErrors
                    reason = str(getattr(error, "reason", None) or error) or type(error).__name__
                failures = 1 if length_of(self.part) > before else failures + 1
                if failures >= self.attempts:
                    raise self.given_up(reason)
                self.sleep(self.backoff * 2 ** (failures - 1))

    def connect(self, have: int, bar: Any) -> None:
        """One connection: ask for the bytes after the first `have`, and write what comes."""
        request = urllib.request.Request(self.url, headers={"User-Agent": "minilm"})
        if have:
            request.add_header("Range", f"bytes={have}-")
        with urllib.request.urlopen(request, timeout=self.timeout) as response:
            if response.status == 206:
                match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
                if match is None or int(match[1]) != have:
                    self.part.unlink()
                    raise ConnectionError("the server sent another part of the file than the one asked for")
                total = None if match[2] == "*" else int(match[2])
            else:  # 200: a server that knows no ranges sends everything, so we begin anew
                have = 0
                length = response.headers.get("Content-Length")
                total = int(length) if length and length.isdigit() else None
            if self.size is not None and total not in (None, self.size):
                raise InputError(
                    f"the file at {self.url} is not the expected one: it has {total:,} bytes, expected {self.size:,};"
                    f" put the right file at {self.part.with_suffix('')} yourself, or use another corpus"
                )
            total = self.size if total is None else total
            bar.total = total
            bar.update(have - bar.n)
            have = self.receive(response, have, bar)
        if total is not None and have < total:  # http.client does not tell a short body from a whole one
            raise ConnectionError(f"the connection ended after {have:,} of {total:,} bytes")

    def receive(self, response: http.client.HTTPResponse, have: int, bar: Any) -> int:
        """Write the response's body behind the first `have` bytes of the part; return how many there are now."""
        try:
            stream = open(self.part, "ab" if have else "wb", buffering=0)  # noqa: SIM115  (closed below)
        except OSError as error:
            raise cannot_write(self.part, error) from error
        with stream:
            while block := response.read1(BLOCK):
                rest = memoryview(block)
                while rest:  # a disk that is nearly full takes a part of the block
                    try:
                        written = stream.write(rest)
                    except OSError as error:
                        raise cannot_write(self.part, error) from error
                    rest = rest[written:]
                have += len(block)
                bar.update(len(block))
        return have

    def given_up(self, reason: str) -> InputError:
        have = length_of(self.part)
        resumes = f" (the {have:,} bytes that came are kept, it resumes there)" if have else ""
        return InputError(
            f"cannot download {self.url}: {reason}; check the network and run the same command again{resumes}, or put"
            f" the file at {self.part.with_suffix('')} yourself"
        )


def length_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def cannot_write(path: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot write {path}: {error.strerror or error}; free some space or choose another folder with the environment"
        " variable MINILM_CACHE, then run the same command again: it resumes with what is there"
    )


@contextmanager
def locked(lock: BinaryIO, path: Path, timeout: float) -> Iterator[None]:
    """Hold the operating system's lock on an open file; close it at the end, which frees it."""
    with lock:
        deadline = time.monotonic() + timeout
        while not take_lock(lock):
            if time.monotonic() > deadline:
                raise InputError(
                    f"another process has been downloading {path} for {timeout:.0f} s; wait for it or end it, then run"
                    " the same command again"
                )
            time.sleep(0.1)
        yield


def take_lock(lock: BinaryIO) -> bool:
    """Try to lock an open file without waiting; True also where the platform or file system has no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            lock.seek(0)
            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # flock and msvcrt, in this order, when somebody else has it
        return False
    except (ImportError, OSError):
        return True
    return True
