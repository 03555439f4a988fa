"""Where students' code runs: without network, the course folder out of sight, other files read-only, if the system can.

Bubblewrap is asked first, then unshare (both Linux). Time and memory limits hold everywhere (memory: Linux and macOS).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

LIMITS = Path(__file__).with_name("limits.py")
PROCESSES = 256  # and threads, more than the teacher has at the moment
MODES = ("auto", "bwrap", "unshare", "none")
SAYS = {
    "bwrap": "students' code runs in bubblewrap: no network, the course folder not visible, files read-only",
    "unshare": "students' code runs in namespaces (unshare): no network, the course folder not visible, files read-only",
    "none": "students' code runs WITHOUT isolation: it can use the network and read, change and delete your files; "
    "only time and memory are limited. Install bubblewrap, or grade in a container or a virtual machine",
}


@dataclass(frozen=True)
class Sandbox:
    """How to start a student's process. hidden: the folder that it must not see."""

    mode: str
    hidden: Path
    memory_mb: int

    def command(self, work: Path, argv: list[str]) -> list[str]:
        """`argv` inside: `work` is the only folder that it can write to."""
        limits = [sys.executable, str(LIMITS), str(self.memory_mb), str(PROCESSES + running())]
        limited = [*limits, *argv] if os.name == "posix" else argv
        if self.mode == "bwrap":  # as PID 1: a kernel whose parent is PID 1 takes itself for an orphan
            return [
                "bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc",
                "--tmpfs", str(self.hidden), "--bind", str(work), str(work),
                "--unshare-all", "--as-pid-1", "--die-with-parent", "--chdir", str(work), *limited,
            ]  # fmt: skip
        if self.mode == "unshare":
            here, hidden = shlex.quote(str(work)), shlex.quote(str(self.hidden))
            steps = [
                "mount --make-rprivate /",
                f"mount --bind {here} {here}",
                f"mount -t tmpfs -o size=4k,mode=755 none {hidden}",
                "mount -o remount,bind,ro /",
                "mount -t tmpfs -o size=64m none /dev/shm",
                f"cd {here}",
                f"exec {shlex.join(limited)}",
            ]
            names = ["--user", "--map-root-user", "--net", "--ipc", "--pid", "--mount"]
            return ["unshare", *names, "--fork", "--kill-child", "--mount-proc", "sh", "-c", " && ".join(steps)]
        return limited


def running() -> int:
    """The processes and threads that this user has: some systems count them together with those in the sandbox."""
    count = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if status.stat().st_uid == os.getuid():
                count += int(re.search(r"^Threads:\s*(\d+)", status.read_text(), re.MULTILINE)[1])  # type: ignore[index]
        except (OSError, TypeError):  # it has ended
            continue
    return count or 4096  # a system without /proc


def environment(work: Path) -> dict[str, str]:
    """What a student's process knows of ours: enough to find Python and its packages, nothing else."""
    kept = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV")
    own = {key: os.environ[key] for key in kept if key in os.environ}
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL", "NUMBA")}
    places = {name: str(work) for name in ("HOME", "TMPDIR", "IPYTHONDIR", "NUMBA_CACHE_DIR", "MPLCONFIGDIR")}
    return {**own, **threads, **places, "MINILM_KERNELS": "reference", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}


def sandbox(wanted: str, hidden: Path, memory_mb: int, work: Path) -> Sandbox:
    """The strongest isolation that works here, or the one that was asked for. Raises InputError if that one does not work."""
    from minilm.errors import InputError

    choices = ("bwrap", "unshare", "none") if wanted == "auto" else (wanted,)
    for mode in choices:
        made = Sandbox(mode, hidden, memory_mb)
        if mode == "none" or works(made, work):
            return made
    others = [mode for mode in MODES if mode != wanted]
    raise InputError(f"--isolation {wanted} does not work on this system; use one of {', '.join(others)}")


PROBE = """
import os, socket, sys
problems = []
try:
    os.listdir(sys.argv[1]) and problems.append("sees the course folder")
except OSError:
    pass
for folder in (sys.argv[1], os.path.dirname(sys.argv[1])):
    try:
        path = os.path.join(folder, ".lessons-course-probe")
        open(path, "w").close()
        os.remove(path)
        folder == sys.argv[1] or problems.append("writes outside")
    except OSError:
        pass
open("probe", "w").close()
names = [name for _, name in socket.if_nameindex() if name != "lo"]
names and problems.append("has a network")
sys.exit(", ".join(problems) or 0)
"""


def works(made: Sandbox, work: Path) -> bool:
    """Whether a process started like this really has no network, does not see the hidden folder and writes to `work` only."""
    if shutil.which(made.mode) is None:
        return False
    command = made.command(work, [sys.executable, "-c", PROBE, str(made.hidden)])
    try:
        return subprocess.run(command, cwd=work, env=environment(work), capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
