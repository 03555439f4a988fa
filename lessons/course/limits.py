"""Run a command under limits that it cannot lift: python limits.py MEMORY_MB PROCESSES COMMAND ...   (Imports nothing ours.)"""

import os
import resource
import sys

if __name__ == "__main__":
    memory = int(sys.argv[1]) << 20
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 256 << 20),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, int(sys.argv[2])),  # of this user, with threads; the system does not hold root to it
        (resource.RLIMIT_NOFILE, 1024),
    ):
        hard = resource.getrlimit(limit)[1]
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (allowed, allowed))
    os.execvp(sys.argv[3], sys.argv[3:])
