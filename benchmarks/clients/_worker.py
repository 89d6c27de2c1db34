"""What every contender's program does: read a job, do it, print what it cost."""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal

import msgspec

__all__ = ["Cost", "Job", "Meter", "resident_kib", "serve"]


class Job(msgspec.Struct, frozen=True):
    """One measurement.

    Attributes:
        workload: Its kind: ``events``, ``actions`` and so on.
        url: The server.
        actor_id: The actor to use, for those who do not look it up.
        count: How many operations.
        size: Bytes of one payload.
        encoding: bare, cbor or json.
        fan: Subscribers, or calls in flight.
        first: What the first calls are of, which are not measured; empty: the same as the others.
    """

    workload: str
    url: str
    actor_id: str = "a1"
    key: str = "k"
    count: int = 1
    size: int = 60
    encoding: Literal["bare", "cbor", "json"] = "bare"
    fan: int = 1
    first: str = ""


class Cost(msgspec.Struct):
    """What a job cost: CPU and wall seconds of the whole process, or KiB for memory."""

    operations: int
    cpu: float = 0.0
    wall: float = 0.0
    kib: float | None = None


class Meter:
    """Measures the process inside its block."""

    def __init__(self, operations: int) -> None:
        self.cost = Cost(operations)

    def __enter__(self) -> Meter:
        gc.collect()
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cost.cpu = time.process_time() - self._cpu
        self.cost.wall = time.perf_counter() - self._wall


def resident_kib() -> float:
    """Resident memory of this process."""
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 1024


def serve(do: Callable[[Job], Cost]) -> None:
    """Do jobs from standard input until it ends; one line in, one line out."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    for line in sys.stdin:
        answer: Any
        try:
            answer = msgspec.to_builtins(do(msgspec.json.decode(line, type=Job)))
        except BaseException:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)
