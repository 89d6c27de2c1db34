"""What importing a module costs in a fresh interpreter, after others were imported.

The arguments are the module and those others.
"""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.clients._worker import Cost, Job, serve

_PROGRAM = """
import json, sys, time
for name in sys.argv[2:]: __import__(name)
wall, cpu = time.perf_counter(), time.process_time()
__import__(sys.argv[1])
print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall]))
"""


def _do(job: Job) -> Cost:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *sys.argv[1:]], check=True, capture_output=True
    )
    cpu, wall = json.loads(done.stdout)
    return Cost(1, cpu=cpu, wall=wall)


if __name__ == "__main__":
    serve(_do)
