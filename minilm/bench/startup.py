"""How long `import minilm` takes, and what it loads.

Each time is that of a whole fresh process, from its start to its end, the median of --runs of them; the processes take
turns, so that a busy moment hits all alike. "above bare" is the time above that of a Python that does nothing. "import"
is the time of the import statement alone, read inside the process.

Then the first call of a kernel is timed: in a process that has to compile it (once after an installation, or when a source file
changed), in processes that find it in the cache, and for the second call in the same process.

Afterwards one process lists every module that `import minilm` brought in beyond the standard library, NumPy with all
that NumPy loads, and minilm's own two packages. There must be none: exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from minilm.bench import machine

IMPORT = "import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
KERNELS = {
    "attention": "x = np.ones((1, 4, 64, 32), np.float32); call = lambda: k.attention(x, x, x)",
    "linear": "x = np.ones((64, 64), np.float32); call = lambda: k.linear(x, x)",
    "layer_norm": "x = np.ones((64, 64), np.float32); call = lambda: k.layer_norm(x)",
}
CALLS = """
import json, time
import numpy as np
import minilm_kernels as k
{prepare}
def seconds():
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
print(json.dumps([seconds(), seconds()]))
"""
NEW_MODULES = """
import json, sys
import {first}
known = set(sys.modules)
import {second}
new = {{name.partition(".")[0] for name in set(sys.modules) - known}} - {{"numpy", "minilm", "minilm_kernels"}}
print(json.dumps(sorted(new - sys.stdlib_module_names)))
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if `import minilm` loads what it should not."""
    argv = list(sys.argv[1:] if argv is None else argv)
    options = make_parser().parse_args(argv)
    programs = {"python": "print(0)", "numpy": "", "minilm": ""}
    if not options.no_torch and run_python("import torch").returncode == 0:
        programs["torch"] = ""
    programs = {name: text or IMPORT.format(module=name) for name, text in programs.items()}
    whole: dict[str, list[float]] = {name: [] for name in programs}
    inside: dict[str, list[float]] = {name: [] for name in programs}
    for program in programs.values():
        run_python(program)  # once unmeasured: the disk's cache and the compiled modules
    for _ in range(options.runs):
        for name, program in programs.items():
            start = time.perf_counter()
            inside[name].append(float(run_python(program).stdout))
            whole[name].append(time.perf_counter() - start)
    bare = statistics.median(whole["python"])
    rows = [["seconds, medians", "process", "above bare", "import"]]
    for name in programs:
        process = statistics.median(whole[name])
        label = "python, nothing imported" if name == "python" else f"import {name}"
        rows.append([label, f"{process:.3f}", f"{process - bare:.3f}", f"{statistics.median(inside[name]):.3f}"])
    print(machine.headline())
    print(machine.table(rows))
    calls = {} if options.no_kernels else time_first_calls()
    if calls:
        print(machine.table([["seconds", "compiling", "from the cache", "second call"], *kernel_rows(calls)]))
    extra = extra_modules()
    print(f"loaded beyond NumPy and the standard library: {', '.join(extra) if extra else 'nothing'}")
    machine.write_json(
        options.json, "startup", argv, {"process": whole, "import": inside, "kernels": calls, "extra_modules": extra}
    )
    return 1 if extra else 0


def make_parser() -> argparse.ArgumentParser:
    options = machine.parser("startup", __doc__ or "")
    options.add_argument("--runs", type=machine.positive, default=20, help="processes of each kind (default: 20)")
    options.add_argument("--no-torch", action="store_true", help="leave `import torch` out")
    options.add_argument("--no-kernels", action="store_true", help="leave the first calls of kernels out")
    return options


def time_first_calls(runs: int = 5) -> dict[str, dict[str, list[float]]]:
    """Seconds of the first and second call of each kernel: once with an empty cache, then `runs` times with what is in it."""
    results = {}
    for name, prepare in KERNELS.items():
        with tempfile.TemporaryDirectory(prefix="minilm-cache-") as cache:
            environment = machine.environment() | {"MINILM_CACHE_DIR": cache, "MINILM_KERNELS": "numba"}
            times = [json.loads(run_python(CALLS.format(prepare=prepare), environment).stdout) for _ in range(runs + 1)]
        results[name] = {
            "compiling": [times[0][0]],
            "from the cache": [first for first, _ in times[1:]],
            "second call": [second for _, second in times[1:]],
        }
    return results


def kernel_rows(calls: dict[str, dict[str, list[float]]]) -> list[list[str]]:
    return [
        [f"first call of {name}", *(f"{statistics.median(t):.5f}" for t in times.values())]
        for name, times in calls.items()
    ]


def run_python(program: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    environment = environment or machine.environment()
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)


def extra_modules(module: str = "minilm") -> list[str]:
    """Top-level modules that importing `module` loads beyond the standard library, NumPy's own and minilm's."""
    done = run_python(NEW_MODULES.format(first="numpy, numpy.random", second=module))
    if done.returncode:
        raise RuntimeError(f"`import {module}` failed in a fresh process:\n{done.stderr}")
    return json.loads(done.stdout)
