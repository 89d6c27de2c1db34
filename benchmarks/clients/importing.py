"""What importing costs in a fresh interpreter, after other modules were imported.

The arguments are a module, or a name in it (``module:name``), and those others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from benchmarks.clients._worker import Cost, Job, serve

_PROGRAM = """
import json, sys, time
for name in sys.argv[2:]: __import__(name)
module, _, name = sys.argv[1].partition(":")
wall, cpu = time.perf_counter(), time.process_time()
loaded = __import__(module)
if name: getattr(loaded, name)  # some packages load what they name when it is used
print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall]))
"""


_CACHE = tempfile.TemporaryDirectory()
"""Compiled modules, as an installed package has them."""


def _do(job: Job) -> Cost:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": _CACHE.name}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *sys.argv[1:]],
        check=True,
        capture_output=True,
        env=environment,
    )
    cpu, wall = json.loads(done.stdout)
    return Cost(1, cpu=cpu, wall=wall)


if __name__ == "__main__":
    serve(_do)
