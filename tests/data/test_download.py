"""Downloads: from the network's bad days to a file that is whole, or an error that says what to do."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from minilm.data import cache_folder, download
from minilm.data.download import take_lock
from minilm.errors import InputError

ROOT = Path(__file__).parents[2]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def fetch(server, tmp_path):
    """Download the server's file with short patience; keywords override. `fetch.slept` lists the pauses."""

    def run(**keywords):
        arguments = {"sha256": sha256(server.content), "size": len(server.content), "progress": False}
        return download(server.url, target, **{**arguments, "sleep": run.slept.append, "timeout": 5.0, **keywords})

    target = tmp_path / "folder" / "file.txt"
    run.target, run.part, run.slept = target, target.with_name("file.txt.part"), []
    return run


def put_part(fetch, data: bytes) -> None:
    fetch.part.parent.mkdir(parents=True, exist_ok=True)
    fetch.part.write_bytes(data)


def only_the_file_is_there(fetch, server) -> bool:
    names = {path.name for path in fetch.target.parent.iterdir()}
    return names == {"file.txt", "file.txt.lock"} and fetch.target.read_bytes() == server.content


def test_a_plain_download(fetch, server):
    assert fetch() == fetch.target
    assert only_the_file_is_there(fetch, server)
    assert server.ranges == [None]
    assert fetch.slept == []


def test_a_right_file_is_not_fetched_again(fetch, server):
    fetch()
    fetch()
    assert len(server.ranges) == 1


def test_a_wrong_file_of_that_name_is_replaced(fetch, server):
    fetch.target.parent.mkdir()
    fetch.target.write_text("something else")
    fetch()
    assert only_the_file_is_there(fetch, server)


def test_a_part_is_completed_with_the_missing_bytes_only(fetch, server):
    put_part(fetch, server.content[:123_456])
    fetch()
    assert server.ranges == ["bytes=123456-"]
    assert server.sent == len(server.content) - 123_456
    assert only_the_file_is_there(fetch, server)


def test_a_connection_cut_half_way_is_resumed_by_itself(fetch, server):
    server.behaviours.extend(["cut", "cut"])
    fetch()
    assert server.ranges == [None, "bytes=200000-", "bytes=300000-"]
    assert server.sent == len(server.content)
    assert fetch.slept == [0.5, 0.5]  # bytes came every time, so the pauses do not grow
    assert only_the_file_is_there(fetch, server)


def test_a_server_that_ignores_ranges_starts_anew(fetch, server):
    put_part(fetch, b"x" * 1000)
    server.default = "no range"
    fetch()
    assert server.ranges == ["bytes=1000-"]
    assert only_the_file_is_there(fetch, server)


def test_a_server_that_sends_the_wrong_range_is_asked_for_all(fetch, server):
    server.behaviours.extend(["cut", "wrong range"])
    fetch()
    assert server.ranges == [None, "bytes=200000-", None]
    assert only_the_file_is_there(fetch, server)


def test_a_body_without_a_length(fetch, server):
    server.default = "no length"
    fetch(size=None)
    assert only_the_file_is_there(fetch, server)


def test_a_whole_part_needs_no_network(fetch, server):
    """Killed between the last byte and the rename."""
    put_part(fetch, server.content)
    fetch()
    assert server.ranges == []
    assert only_the_file_is_there(fetch, server)


def test_a_whole_part_of_unknown_size_is_recognised_by_416(fetch, server):
    put_part(fetch, server.content)
    fetch(size=None)
    assert server.ranges == [f"bytes={len(server.content)}-"]
    assert server.sent == 0
    assert only_the_file_is_there(fetch, server)


@pytest.mark.parametrize("stale", [b"y" * 1000, b"y" * 400_000, b"y" * 500_000])
def test_a_stale_part_is_thrown_away_and_all_fetched_anew(fetch, server, stale):
    """Shorter than the file, as long, and longer (the server answers 416)."""
    put_part(fetch, stale)
    fetch()
    assert server.ranges[-1] is None
    assert only_the_file_is_there(fetch, server)


def test_wrong_bytes_leave_nothing_and_name_both_checksums(fetch, server):
    wanted = "0" * 64
    with pytest.raises(InputError) as error:
        fetch(sha256=wanted)
    assert wanted in str(error.value)
    assert sha256(server.content) in str(error.value)
    assert "put the right file at" in str(error.value)
    assert not fetch.target.exists()
    assert not fetch.part.exists()
    assert len(server.ranges) == 1


def test_a_file_of_another_length_is_refused_before_it_is_fetched(fetch, server):
    with pytest.raises(InputError, match="has 400,000 bytes, expected 1,000"):
        fetch(size=1000)
    assert not fetch.target.exists()


def test_an_existing_file_survives_a_failing_download(fetch, server):
    fetch.target.parent.mkdir()
    fetch.target.write_text("an older version")
    with pytest.raises(InputError):
        fetch(sha256="0" * 64)
    assert fetch.target.read_text() == "an older version"


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_said_at_once(fetch, server, status):
    server.default = status
    with pytest.raises(InputError, match=f"the server answers {status} .* put the file at .*file.txt yourself"):
        fetch()
    assert len(server.ranges) == 1


def test_a_busy_server_is_asked_again_with_growing_pauses(fetch, server):
    server.behaviours.extend([503, 429, 500])
    fetch()
    assert fetch.slept == [0.5, 1.0, 2.0]
    assert only_the_file_is_there(fetch, server)


def test_a_slow_answer_is_a_timeout_and_tried_again(fetch, server):
    server.behaviours.append("slow header")
    start = time.monotonic()
    fetch(timeout=0.2)
    assert time.monotonic() - start < 2
    assert fetch.slept == [0.5]
    assert only_the_file_is_there(fetch, server)


def test_giving_up_keeps_the_part_and_says_that_a_rerun_resumes(fetch, server):
    server.behaviours.extend(["cut", 503, 503, 503, 503])
    with pytest.raises(InputError, match=r"503 .*run the same command again \(the 200,000 bytes that came are kept"):
        fetch()
    assert fetch.part.read_bytes() == server.content[:200_000]
    assert not fetch.target.exists()
    server.behaviours.clear()
    fetch()
    assert server.ranges[-1] == "bytes=200000-"
    assert only_the_file_is_there(fetch, server)


def test_no_server_at_all(fetch, server):
    server.close()
    with pytest.raises(InputError, match=r"refused.*check the network and run the same command again"):
        fetch()
    assert len(fetch.slept) == 3


def test_progress_is_shown_where_somebody_watches(fetch, server, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    server.behaviours.extend(["cut", "no range"])  # the bar goes back to the beginning
    fetch(progress=True)
    shown = sys.stderr.getvalue()
    assert "file.txt: " in shown
    assert "/400k" in shown
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # a log file: no bar
    fetch.target.unlink()
    fetch(progress=True)
    assert sys.stderr.getvalue() == ""


def test_an_address_that_is_no_web_address(tmp_path):
    with pytest.raises(InputError, match="must begin with http"):
        download("file:///etc/passwd", tmp_path / "x", sha256="0" * 64)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, the device that is always full")
def test_a_full_disk_says_so(fetch):
    fetch.part.parent.mkdir()
    fetch.part.symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"No space left on device; free some space .*MINILM_CACHE"):
        fetch()
    assert not fetch.target.exists()


def test_a_folder_that_cannot_be_made(fetch):
    fetch.target.parent.write_text("a file where the folder should be")
    with pytest.raises(InputError, match=r"cannot write .*MINILM_CACHE"):
        fetch()


def test_two_downloads_at_once_fetch_the_bytes_once(fetch, server):
    server.default = "trickle"
    results, errors = [], []

    def run():
        try:
            results.append(fetch())
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert results == [fetch.target] * 3
    assert server.sent == len(server.content)
    assert only_the_file_is_there(fetch, server)


def test_waiting_for_another_process_has_an_end(fetch):
    fetch.target.parent.mkdir()
    with open(fetch.target.with_name("file.txt.lock"), "ab") as other:
        assert take_lock(other)
        with pytest.raises(InputError, match="another process has been downloading"):
            fetch(lock_timeout=0.2)
    fetch()  # the lock went with its holder


def test_kill_9_and_resume(fetch, server):
    """A download that is killed leaves a part and no lock; the next one asks for the rest, and the bytes are right."""
    server.default = "trickle"
    code = (
        "import sys; from minilm.data import download;"
        "download(sys.argv[1], sys.argv[2], sha256=sys.argv[3], progress=False)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])}
    child = subprocess.Popen(
        [sys.executable, "-c", code, server.url, str(fetch.target), sha256(server.content)], env=environment
    )
    try:
        deadline = time.monotonic() + 30
        while not (fetch.part.exists() and fetch.part.stat().st_size > 50_000):
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.002)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    kept = fetch.part.stat().st_size
    assert 50_000 < kept < len(server.content)
    assert fetch.part.read_bytes() == server.content[:kept]
    assert not fetch.target.exists()

    server.default = "range"
    before = len(server.ranges)
    fetch()
    assert server.ranges[before:] == [f"bytes={kept}-"]
    assert only_the_file_is_there(fetch, server)


def test_the_cache_folder_follows_the_platform(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"  # MINILM_CACHE, set by the fixture
    monkeypatch.delenv("MINILM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / "xdg" / "minilm"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "minilm"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "minilm"
