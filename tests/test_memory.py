"""Freed memory is kept: after the first round an array of the same size costs no page faults."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from minilm.memory import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    print(-1); sys.exit()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        np.ones(1 << 20) + np.ones(1 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults(mode):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", SCRIPT, mode]
    return int(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks glibc")
def test_arrays_reuse_memory_that_was_freed():
    kept = faults("keep")
    if kept < 0:
        pytest.skip("this C library has no mallopt")
    assert kept < 100
    assert faults("default") > 10 * max(kept, 1)
