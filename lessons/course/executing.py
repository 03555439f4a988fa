"""nbgrader's step "run the notebook", done so that a submission that hangs, dies or eats memory costs its own task only.

The kernel runs in the sandbox and is reached through Unix sockets, which need no network. A cell that runs too long or
kills its kernel gets an error; then everything starts again without that cell.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_output
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import is_grade
from traitlets import Float, Integer, Unicode

from lessons.course.sandbox import Sandbox, environment

SENTENCES = {
    "en": {
        "time": "This cell ran longer than {} seconds and was stopped.",
        "dead": "This cell ended the Python process (out of memory, os._exit, or a crash).",
        "total": "The notebook ran longer than {} seconds in all; this cell was not run.",
    },
    "zh": {
        "time": "这个单元格运行超过 {} 秒，已被终止。",
        "dead": "这个单元格使 Python 进程终止了（内存耗尽、os._exit 或崩溃）。",
        "total": "整个笔记本运行超过 {} 秒；这个单元格没有运行。",
    },
}
OUTPUT_LIMIT = 200_000  # characters of one cell
# Jupyter's exit() ends the kernel a moment later, in somebody else's cell; Python's raises SystemExit where it stands
NO_EXIT = "--InteractiveShellApp.exec_lines=['del exit, quit']"
SOCKET_FOLDER = 60  # characters: a Unix socket's whole path has room for about 100


class Client(NotebookClient):
    """nbclient, but a cell that prints without end does not fill the grader's memory."""

    printed = 0

    def process_message(self, msg: dict, cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] in ("stream", "display_data", "execute_result"):
            self.printed += len(str(msg["content"]))
            if self.printed > OUTPUT_LIMIT:
                return None
        return super().process_message(msg, cell, cell_index)


class SandboxedExecute(NbGraderPreprocessor):
    """Takes the place of nbgrader's Execute."""

    language = Unicode("en").tag(config=True)
    mode = Unicode("none").tag(config=True)
    hidden = Unicode("").tag(config=True)
    support = Unicode("", help="the folder of the teacher's copies of checks.py and the like").tag(config=True)
    memory_mb = Integer(4096).tag(config=True)
    cell_seconds = Float(30).tag(config=True)
    total_seconds = Float(300).tag(config=True)

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        ends = time.monotonic() + self.total_seconds
        failed: dict[int, Any] = {}  # cell → the error that stands in its place
        self.excused: set[int] = set()  # cells that have had a second try
        with tempfile.TemporaryDirectory(prefix="cell", dir=short_folder()) as folder:
            while not self.run(nb, Path(folder), failed, ends):
                pass
        for cell in nb.cells:
            if cell.cell_type == "code" and is_grade(cell):
                self.tidy(cell)
        return nb, resources

    def run(self, nb: Any, root: Path, failed: dict[int, Any], ends: float) -> bool:
        """Run all cells that have not failed. False if one was added to `failed`: its kernel is lost."""
        work = Path(tempfile.mkdtemp(dir=root))
        for each in Path(self.support).iterdir():
            if each.is_file() and each.suffix != ".ipynb":
                shutil.copy(each, work)
        client = Client(
            nb, km=self.kernel(work), allow_errors=True, interrupt_on_timeout=False, shutdown_kernel="immediate"
        )
        client.owns_km = True  # so that it ends the kernel, too
        try:
            with client.setup_kernel(env=environment(work), cwd=str(work), stdout=DEVNULL, stderr=DEVNULL):
                for index, cell in enumerate(nb.cells):
                    if cell.cell_type != "code":
                        continue
                    if index in failed:
                        cell.outputs = [failed[index]]
                        continue
                    left = ends - time.monotonic()
                    if left <= 0:
                        failed[index] = self.error("total", self.total_seconds)
                        cell.outputs = [failed[index]]
                        continue
                    client.timeout = max(1, min(self.cell_seconds, left))
                    if not self.run_cell(client, cell, index, failed):
                        return False
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return True

    def run_cell(self, client: Client, cell: Any, index: int, failed: dict[int, Any]) -> bool:
        """Run a cell. False if its kernel is of no use any more; then it is in `failed`, or gets a second try."""
        cell.outputs, client.printed = [], 0
        busy = cpu_seconds(client.km)
        try:
            client.execute_cell(cell, index)
        except CellTimeoutError:
            waited = cpu_seconds(client.km) - busy < client.timeout / 4  # the machine may have been busy
            if not (waited and self.once_more(index)):
                in_all = client.timeout < self.cell_seconds
                failed[index] = (
                    self.error("total", self.total_seconds) if in_all else self.error("time", self.cell_seconds)
                )
            return False
        except DeadKernelError:
            if not self.once_more(index):  # a system short of memory may have killed it
                failed[index] = self.error("dead", 0)
            return False
        for output in cell.outputs:
            if output.output_type == "error" and "MemoryError" in output.ename:
                failed[index] = output  # the memory stays taken: a traceback holds it
                return False
        return True

    def once_more(self, index: int) -> bool:
        """Whether a cell whose kernel was lost gets a second try: the first time only."""
        first = index not in self.excused
        self.excused.add(index)
        self.log.warning("cell %d lost its kernel%s", index, ", it is tried once more" if first else "")
        return first

    def kernel(self, work: Path) -> AsyncKernelManager:
        """A kernel in the sandbox; its sockets and its connection file lie in `work`."""
        sandbox = Sandbox(self.mode, Path(self.hidden), self.memory_mb)
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", NO_EXIT]
        manager = AsyncKernelManager(transport="ipc", ip=str(work / "s"), connection_file=str(work / "kernel.json"))
        manager._kernel_spec = KernelSpec(argv=sandbox.command(work, argv), display_name="Python 3", language="python")
        return manager

    def error(self, kind: str, seconds: float) -> Any:
        sentence = SENTENCES[self.language][kind].format(f"{seconds:g}")
        return new_output("error", ename="Stopped", evalue=sentence, traceback=[sentence])

    @staticmethod
    def tidy(cell: Any) -> None:
        """A test is lost by an error alone: a warning (stderr) costs nothing, and a displayed number is not a score."""
        cell.outputs = [output for output in cell.outputs if output.output_type != "execute_result"]
        for output in cell.outputs:
            if output.output_type == "stream":
                output.name = "stdout"


def cpu_seconds(manager: Any) -> float:
    """The processor time that a kernel, and what it started, has used."""
    import psutil

    total = 0.0
    try:
        first = psutil.Process(manager.provisioner.pid)
        for process in (first, *first.children(recursive=True)):
            times = process.cpu_times()
            total += times.user + times.system
    except psutil.Error:
        pass
    return total


def short_folder() -> str | None:
    """Where temporary folders have paths short enough for Unix sockets."""
    return "/tmp" if len(tempfile.gettempdir()) > SOCKET_FOLDER and Path("/tmp").is_dir() else None
