"""Run one command on some cores and write what it took: ``measure.py RESULT CORES COMMAND…``.

A process of its own, because a child's peak memory counts that of the process which started it.
"""

import json
import os
import sys
import time

result, cores, *command = sys.argv[1:]
os.sched_setaffinity(0, map(int, cores.split(",")))
started = time.perf_counter()
child = os.posix_spawnp(command[0], command, os.environ)
_, status, usage = os.wait4(child, 0)
with open(result, "w") as file:
    whole = {
        "wall": time.perf_counter() - started,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak_gb": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9,
    }
    json.dump(whole, file)
sys.exit(os.waitstatus_to_exitcode(status) and 1)
